"""The presets: ``sample`` for a first look, ``quick`` for real data on two CPU cores, ``paper`` as in the paper."""

from collections.abc import Mapping
from dataclasses import replace

from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from models.scoring import ScoreConfig
from pipeline.experiments.benchmark import Budget, Sizes, benchmark
from pipeline.experiments.preset import Baseline, Lane, Preset
from pipeline.steps.controls.pixel_classifier import ClassifierConfig
from pipeline.steps.controls.pixel_features import FeatureConfig
from pipeline.steps.controls.registry import Control
from pipeline.steps.evaluation import EvaluationConfig
from pipeline.steps.pasted import KINDS, PastedConfig
from pipeline.steps.proxies import ProxyConfig
from pipeline.steps.synthetic import LesionConfig
from pipeline.steps.tiles import TilesConfig
from pipeline.steps.training import CanvasTraining, TrainingPlan

OCT_SCORE = ScoreConfig(sigma=1.0, worst=0.01, minus_mean=True)
MRI_SCORE = ScoreConfig(sigma=2.0, worst=0.05)  # settled with test results in view (docs/decisions/0005)
FUNDUS_SCORE = ScoreConfig(signed=True, sigma=1.0, worst=0.005, mirrored=False, smooth=16.0, rare=0.15)
FUNDUS_SCORE_128 = ScoreConfig(signed=True, sigma=0.5, worst=0.005, mirrored=False, smooth=8.0, rare=0.15)
FUNDUS_SCORE_64 = ScoreConfig(signed=True, sigma=1.0, worst=0.005, mirrored=False, smooth=4.0, rare=0.15)
FUNDUS = (256, 256)

OCT_CONTROLS = (
    Control(name="pca", canvas="wide", size=(40, 64), score=OCT_SCORE, options={"components": 800, "mirrored": True}),
    Control(
        name="pca",
        canvas="tight",
        size=(32, 128),
        score=OCT_SCORE,
        options={"components": 200, "mirrored": True, "shifts": (-2, -1, 1, 2)},
    ),
    Control(name="nearest", canvas="wide", size=(40, 64), score=OCT_SCORE),
    Control(name="nearest", canvas="tight", size=(32, 128), score=OCT_SCORE),
    Control(name="brightness", canvas="wide", size=(64, 64)),
)
MRI_CLASSIFIER = ClassifierConfig(
    features=FeatureConfig(intensity=False, mirror=True, neighbours=12, place=False),
    lesions=LesionConfig(radius=(0.03, 0.35), strength=(0.05, 0.5), count=(1, 4)),
    copies=4,
)
MRI_CONTROLS = (
    Control(name="pca", canvas="head", size=(64, 64), score=MRI_SCORE, options={"components": 24, "mirrored": True}),
    Control(name="patch_neighbour", canvas="head", size=(64, 64), score=MRI_SCORE),
    Control(name="nearest", canvas="head", size=(64, 64), score=MRI_SCORE),
    Control(
        name="pixel_classifier",
        canvas="head",
        size=(64, 64),
        score=ScoreConfig(sigma=1.0, worst=0.3),
        options={"config": MRI_CLASSIFIER},
    ),
    Control(name="brightness", canvas="head", size=(64, 64)),
    Control(name="centre", canvas="head", size=(64, 64)),
)
FUNDUS_CLASSIFIER = ClassifierConfig(
    features=FeatureConfig(
        scales=(0.7, 1.5, 3.0, 6.0, 12.0, 24.0),
        curvatures=(1.0, 2.0, 4.0, 8.0),
        intensity=False,
        line_blob=True,
        place=False,
    ),
    lesions=LesionConfig(radius=(0.002, 0.08), strength=(0.04, 0.4), count=(8, 30)),
    copies=3,
    pixels=4000,
    flatten=True,
)
FUNDUS_CONTROLS = (
    Control(name="line_blob", canvas="field", size=FUNDUS, score=FUNDUS_SCORE),
    Control(name="canonical", canvas="field", size=FUNDUS, score=FUNDUS_SCORE, options={"neutral": 128}),
    Control(name="median", canvas="field", size=FUNDUS, score=FUNDUS_SCORE, options={"window": 61, "raw": True}),
    Control(name="slic", canvas="field", size=FUNDUS, score=FUNDUS_SCORE, options={"raw": True}),
    Control(name="brightness", canvas="field", size=FUNDUS),
    Control(name="darkness", canvas="field", size=FUNDUS),
    Control(name="centre", canvas="field", size=FUNDUS),
)


def _stages(steps: tuple[int, ...], **common: object) -> dict[str, TrainConfig]:
    """The stages with one optimiser and their own budgets."""
    return {f"stage{i}": TrainConfig(steps=n, **common) for i, n in enumerate(steps, start=1)}  # type: ignore[arg-type]


def _plan(canvases: Mapping[str, CanvasTraining]) -> TrainingPlan:
    return TrainingPlan(method="proxyano", canvases=canvases)


SLIM = ProxyAnoConfig(widths=(16, 32, 64), adversarial=False)  # latent at a quarter; twice as fast as SMALL
SMALL = ProxyAnoConfig(widths=(24, 48, 64), adversarial=False)  # latent at a quarter of the size
NARROW = ProxyAnoConfig(widths=(24, 48, 64, 64, 64), adversarial=False)  # at a sixteenth: lesions find less room
TINY = ProxyAnoConfig(widths=(8, 16, 16), latent_dim=16, memory_items=32, discriminator_widths=(8, 16))
PAPER = ProxyAnoConfig()
ONE_CYCLE = {"learning_rate": 2e-3, "schedule": "one_cycle", "precision": "bf16-mixed"}
SAMPLE_SHARD = 32  # tiles; several shards even in so little data, so that both cores have work
SAMPLE_BUDGET = {**ONE_CYCLE, "batch_size": 16, "evaluate_every": 20, "checkpoint_every": 20, "log_every": 10}


SAMPLE_BENCHMARK = Budget(steps=20, batch_size=8, one_cycle=ONE_CYCLE)
SAMPLE_SIZES = Sizes(
    own=TINY, width=8, widest=16, translator=(8, 12, 16), blocks=2, judge=(8, 12, 16, 16), search_steps=5
)
QUICK_BENCHMARK = Budget(steps=400, batch_size=16, one_cycle=ONE_CYCLE)
QUICK_SIZES = Sizes(
    own=SMALL, width=16, widest=64, translator=(16, 24, 32), blocks=3, judge=(16, 32, 48, 64), search_steps=40
)
QUICK_NARROW = replace(QUICK_SIZES, own=NARROW)
PAPER_BENCHMARK = Budget(steps=40000, batch_size=16, one_cycle={"learning_rate": 1e-3})
PAPER_SIZES = Sizes(
    own=PAPER,
    width=64,
    widest=512,
    translator=(64, 128, 256),
    blocks=9,
    judge=(64, 128, 256, 512),
    search_steps=500,
)


def _tiny(size: tuple[int, int] = (64, 64)) -> CanvasTraining:
    return CanvasTraining(size=size, model=TINY, stages=_stages((60, 40), **SAMPLE_BUDGET))


def _small(
    size: tuple[int, int], steps: tuple[int, int], model: ProxyAnoConfig = SMALL, **budget: object
) -> CanvasTraining:
    return CanvasTraining(size=size, model=model, stages=_stages(steps, **{**ONE_CYCLE, **budget}))


def _second(
    canvases: Mapping[str, tuple[int, int]], steps: int, sizes: Sizes, **budget: object
) -> dict[str, TrainingPlan]:
    """The denoising auto-encoder at the lane's own sizes."""
    model = sizes.model("denoising")
    plans = {
        name: CanvasTraining(size=size, model=model, stages=_stages((steps,), **{**ONE_CYCLE, **budget}))
        for name, size in canvases.items()
    }
    return {"denoising": TrainingPlan(method="denoising", canvases=plans)}


def _full() -> CanvasTraining:
    return CanvasTraining(
        size=(256, 256), model=PAPER, stages=_stages((20000, 20000), batch_size=16, learning_rate=1e-3, patience=20)
    )


def _pasted(radius: tuple[float, float], strength: float) -> LesionConfig:
    """One lesion of every kind there is, of medium contrast from ``strength`` to its double."""
    return LesionConfig(radius=radius, strength=(strength, 2 * strength), kinds=KINDS)


OCT_CANVASES = {"wide": (64, 64), "tight": (32, 128)}
OCT_EVALUATION = EvaluationConfig(
    scores={"wide": OCT_SCORE, "tight": OCT_SCORE},
    controls=OCT_CONTROLS,
    committee={"method": 1.0, "denoising": 1.0, "pca": 1.0},
    pasted=PastedConfig(lesions=_pasted((0.04, 0.12), 0.15)),
)
MRI_EVALUATION = EvaluationConfig(
    scores={"head": MRI_SCORE},
    controls=MRI_CONTROLS,
    committee={"method": 1.0, "denoising": 1.0, "pca": 1.0, "patch_neighbour": 1.0, "pixel_classifier": 1.0},
    flip_average=True,
    pasted=PastedConfig(lesions=_pasted((0.06, 0.15), 0.15)),
)


def _fundus(score: ScoreConfig, classifier: tuple[int, int] = FUNDUS) -> EvaluationConfig:
    """The score is in px of the training size; the controls run at full size, the pixel classifier at its own."""
    options = {"config": FUNDUS_CLASSIFIER, "raw": True}
    learned = Control(
        name="pixel_classifier",
        canvas="field",
        size=classifier,
        score=replace(FUNDUS_SCORE, signed=False),
        options=options,
    )
    return EvaluationConfig(
        scores={"field": score},
        controls=(learned, *FUNDUS_CONTROLS),
        committee={"pixel_classifier": 1.0, "line_blob": 0.5},
        pasted=PastedConfig(lesions=_pasted((0.01, 0.04), 0.08), flatten=True),
    )


PLAIN_CONTROLS = (
    Control(name="pca", canvas="image", size=(64, 64), score=MRI_SCORE, options={"components": 128, "mirrored": True}),
    Control(name="nearest", canvas="image", size=(64, 64), score=MRI_SCORE),
    Control(name="brightness", canvas="image", size=(64, 64)),
)
PLAIN_EVALUATION = EvaluationConfig(scores={"image": MRI_SCORE}, controls=PLAIN_CONTROLS)


def _plain(baselines: Mapping[str, Baseline], shard: int = 128) -> Lane:
    """The benchmark with the canonical form off: what the form gives, and what the method."""
    return Lane(
        tiles=TilesConfig(form="plain", shard=shard),
        training=_plan({"image": _full()}),
        evaluation=PLAIN_EVALUATION,
        baselines=baselines,
        controls_with="proxyano",
    )


PRESETS: dict[str, Preset] = {
    "sample": Preset(
        name="sample",
        reason="the built-in sample in minutes: every step is real, the budget is far too small to learn much",
        lanes={
            "brain_mri": Lane(
                tiles=TilesConfig(form="inner_head", shard=SAMPLE_SHARD),
                training=_plan({"head": _tiny()}),
                members=_second({"head": (64, 64)}, 40, SAMPLE_SIZES, **SAMPLE_BUDGET),
                evaluation=MRI_EVALUATION,
                baselines=benchmark({"head": (64, 64)}, SAMPLE_BENCHMARK, SAMPLE_SIZES),
            ),
            "oct": Lane(
                tiles=TilesConfig(form="bruch_membrane", shard=SAMPLE_SHARD),
                training=_plan({"wide": _tiny(), "tight": _tiny()}),
                members=_second(OCT_CANVASES, 40, SAMPLE_SIZES, **SAMPLE_BUDGET),
                evaluation=OCT_EVALUATION,
                baselines=benchmark(OCT_CANVASES, SAMPLE_BENCHMARK, SAMPLE_SIZES),
            ),
            "idrid": Lane(
                tiles=TilesConfig(form="flat_field", shard=SAMPLE_SHARD),
                training=_plan({"field": _tiny()}),
                members=_second({"field": (64, 64)}, 40, SAMPLE_SIZES, **SAMPLE_BUDGET),
                evaluation=_fundus(FUNDUS_SCORE_64, (64, 64)),
                baselines=benchmark({"field": (64, 64)}, SAMPLE_BENCHMARK, SAMPLE_SIZES),
            ),
        },
        form_off={"oct": _plain(benchmark({"image": (64, 64)}, SAMPLE_BENCHMARK, SAMPLE_SIZES), SAMPLE_SHARD)},
    ),
    "quick": Preset(
        name="quick",
        reason="real data on two CPU cores within the hour: canonical forms, 64 px training, no adversarial loss",
        lanes={
            "brain_mri": Lane(
                tiles=TilesConfig(form="inner_head"),
                training=_plan({"head": _small((64, 64), (500, 400), NARROW)}),
                members=_second({"head": (64, 64)}, 1600, QUICK_NARROW, batch_size=16, weight_average=0.998),
                evaluation=MRI_EVALUATION,
                baselines=benchmark({"head": (64, 64)}, QUICK_BENCHMARK, QUICK_NARROW),
            ),
            "oct": Lane(
                tiles=TilesConfig(form="bruch_membrane"),
                proxies=ProxyConfig(),
                training=_plan(
                    {
                        "wide": _small((64, 64), (500, 500), SLIM, weight_average=0.99),
                        "tight": _small((32, 128), (400, 400), SLIM, weight_average=0.99),
                    }
                ),
                members=_second(OCT_CANVASES, 500, replace(QUICK_SIZES, own=SLIM), batch_size=16),
                evaluation=OCT_EVALUATION,
                baselines=benchmark(OCT_CANVASES, QUICK_BENCHMARK, QUICK_SIZES, seeds=(0, 1, 2)),
            ),
            "idrid": Lane(
                tiles=TilesConfig(form="flat_field"),
                training=_plan({"field": _small((128, 128), (400, 300), NARROW, batch_size=16)}),
                members=_second({"field": (128, 128)}, 200, QUICK_NARROW, batch_size=16),
                evaluation=_fundus(FUNDUS_SCORE_128),
                baselines=benchmark({"field": (128, 128)}, QUICK_BENCHMARK, QUICK_NARROW),
            ),
        },
        form_off={"oct": _plain(benchmark({"image": (64, 64)}, QUICK_BENCHMARK, QUICK_SIZES))},
    ),
    "paper": Preset(
        name="paper",
        reason="the paper's sizes and weights, canonical forms off; meant for a GPU",
        lanes={
            "brain_mri": Lane(
                tiles=TilesConfig(form="plain"),
                training=_plan({"image": _full()}),
                members=_second({"image": (256, 256)}, 40000, PAPER_SIZES, batch_size=16, learning_rate=1e-3),
                evaluation=PLAIN_EVALUATION,
                baselines=benchmark({"image": (256, 256)}, PAPER_BENCHMARK, PAPER_SIZES, seeds=(0, 1, 2)),
            ),
            "oct": Lane(
                tiles=TilesConfig(form="plain"),
                training=_plan({"image": _full()}),
                members=_second({"image": (256, 256)}, 40000, PAPER_SIZES, batch_size=16, learning_rate=1e-3),
                evaluation=PLAIN_EVALUATION,
                baselines=benchmark({"image": (256, 256)}, PAPER_BENCHMARK, PAPER_SIZES, seeds=(0, 1, 2)),
            ),
            "idrid": Lane(
                tiles=TilesConfig(form="field_of_view"),
                training=_plan({"field": _full()}),
                members=_second({"field": (256, 256)}, 40000, PAPER_SIZES, batch_size=16, learning_rate=1e-3),
                evaluation=_fundus(FUNDUS_SCORE),
                baselines=benchmark({"field": (256, 256)}, PAPER_BENCHMARK, PAPER_SIZES, seeds=(0, 1, 2)),
            ),
        },
    ),
}
