"""The presets: ``sample`` for a first look, ``quick`` for real data on two CPU cores, ``paper`` as in the paper."""

from collections.abc import Mapping
from dataclasses import replace

from models.methods.proxyano_config import ProxyAnoConfig
from models.methods.segmentation import SegmentationConfig
from models.schedule import TrainConfig
from pipeline.experiments.ablations import BOTH_SCORES, DECIDING, ablations
from pipeline.experiments.benchmark import Budget, Sizes, benchmark
from pipeline.experiments.evaluations import (
    MRI_EVALUATION,
    OCT_EVALUATION,
    PLAIN_EVALUATION,
    at_training_size,
    fundus_evaluation,
    on_sample,
)
from pipeline.experiments.preset import Lane, OwnBudget, Preset
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.tiles.tiles import TilesConfig
from pipeline.training import CanvasTraining, TrainingPlan


def _stages(steps: tuple[int, ...], **common: object) -> dict[str, TrainConfig]:
    """The stages with one optimiser and their own budgets."""
    return {f"stage{i}": TrainConfig(steps=n, **common) for i, n in enumerate(steps, start=1)}  # type: ignore[arg-type]


def _plan(canvases: Mapping[str, CanvasTraining]) -> TrainingPlan:
    return TrainingPlan(method="proxyano", canvases=canvases)


SLIM = ProxyAnoConfig(widths=(16, 32, 64), adversarial=False)  # latent at a quarter; twice as fast as SMALL
SMALL = ProxyAnoConfig(widths=(24, 48, 64), adversarial=False)  # latent at a quarter of the size
SLIM_NARROW = ProxyAnoConfig(widths=(16, 32, 48, 64, 64), adversarial=False)
NARROW = ProxyAnoConfig(widths=(24, 48, 64, 64, 64), adversarial=False)  # at a sixteenth: lesions find less room
TINY = ProxyAnoConfig(widths=(8, 16, 16), latent_dim=16, memory_items=32, discriminator_widths=(8, 16))
PAPER = ProxyAnoConfig()
REPAIRING = ProxyAnoConfig(
    widths=(16, 32, 64),  # stage 1: latent at a quarter of the side
    reconstruction_widths=(8, 16, 32, 64, 64),  # few channels at full resolution, which memory traffic limits
    reconstruction_skips=True,
    adversarial=False,
    patch_on="image",  # a lesion passes stage 1, as it does when a real one is scored
    patch_count=(1, 2),
    local_mean_over="patch",
)
"""ProxyAno as it learns on a CPU: stage 2 restores the image from the predicted proxy of an altered one."""
REPAIRS_MRI = replace(
    REPAIRING,
    makers=("patch", "mass", "blob", "ring", "noise", "dots"),
    maker_radius=(0.04, 0.3),
    maker_strength=(0.1, 0.8),
)
REPAIRS_OCT = replace(
    REPAIRING,
    makers=("patch", "blob", "ring", "dots", "noise", "bump"),
    maker_radius=(0.03, 0.25),
    maker_strength=(0.08, 0.7),
)
REPAIRS_FUNDUS = replace(
    REPAIRING,
    contrast=4.0,
    makers=("patch", "blob", "ring", "dots", "noise"),
    maker_radius=(0.012, 0.15),
    maker_strength=(0.15, 0.9),
    patch_count=(1, 5),
)
REPAIRS_OWN = replace(
    REPAIRING,
    makers=("patch", "mass", "blob", "ring", "noise", "dots"),
    maker_radius=(0.03, 0.25),
    maker_strength=(0.1, 0.8),
)
"""Of data that nobody here has seen: all kinds of lesions, in a wide range of sizes."""
ONE_CYCLE = {"learning_rate": 2e-3, "schedule": "one_cycle", "precision": "bf16-mixed"}
VARIED = {"move": 0.08, "tone": 0.15, "weight_average": 0.99}
"""A few hundred slices of all planes and contrasts stand for more when they are moved and toned a little."""
SETTLED = {"weight_average": 0.99, "keep_best": False}
"""Anomalies are drawn without end: the averaged last weights are the best ones."""
CONVERGING = {**ONE_CYCLE, "batch_size": 16, "evaluate_every": 100, "gradient_clip": 0.5}
"""No averaged weights: they part the encoder from the items of the memory that belong to it.

The gradient is clipped at ten times its usual norm late in stage 1: one odd batch undoes hundreds of steps otherwise.
"""
LAST = {"keep_best": False}
"""Stage 2 ends with its last weights: validation has normals only, and repairing costs them a little."""
LAYERED = ("blob", "ring", "dots", "noise", "bump")
SEEDS = (0, 1, 2)  # of rows that a statement of the reports rests on
SAMPLE_SHARD = 32  # tiles; several shards even in so little data, so that both cores have work
SAMPLE_BUDGET = {**ONE_CYCLE, "batch_size": 16, "evaluate_every": 20, "checkpoint_every": 20, "log_every": 10}


LITTLE = {"widths": (8, 16, 32), "reconstruction_widths": (8, 16, 32, 32)}
DRAWN_HEAD = {**LITTLE, "makers": REPAIRS_MRI.makers, "maker_radius": (0.05, 0.3), "maker_strength": (0.1, 0.8)}
DRAWN_OCT = {**LITTLE, "makers": REPAIRS_OCT.makers, "maker_radius": (0.05, 0.3), "maker_strength": (0.15, 0.8)}
DRAWN_FUNDUS = {
    "widths": (16, 32),  # latent at half the size: tiles have 32 px
    "reconstruction_widths": (16, 32, 32),
    "contrast": 3.0,
    "makers": ("patch", "blob", "ring", "noise"),
    "maker_radius": (0.04, 0.2),
    "maker_strength": (0.15, 0.8),
}
SAMPLE_BENCHMARK = Budget(steps=20, batch_size=8, one_cycle=ONE_CYCLE)
SAMPLE_SIZES = Sizes(
    own=TINY, width=8, widest=16, translator=(8, 12, 16), blocks=2, judge=(8, 12, 16, 16), search_steps=5
)
QUICK_BENCHMARK = Budget(steps=400, batch_size=16, one_cycle=ONE_CYCLE)
QUICK_SIZES = Sizes(
    own=SMALL, width=16, widest=64, translator=(16, 24, 32), blocks=3, judge=(16, 32, 48, 64), search_steps=40
)
QUICK_SLIM = replace(QUICK_SIZES, own=SLIM)
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


def _drawn(
    size: tuple[int, int], steps: tuple[int, int], model: Mapping[str, object], **budget: object
) -> CanvasTraining:
    """ProxyAno on drawings: as small as shows what it does."""
    common = {"evaluate_every": 100, "batch_size": 8, "learning_rate": 4e-3, **budget}
    return _repairing(size, steps, replace(REPAIRING, latent_dim=16, memory_decay=0.95, **model), **common)  # type: ignore[arg-type]


def _repairing(
    size: tuple[int, int], steps: tuple[int, int], model: ProxyAnoConfig, **budget: object
) -> CanvasTraining:
    """Stage 1 keeps the weights that validated best, stage 2 its last ones."""
    first, second = steps
    stages = {
        "stage1": TrainConfig(steps=first, **{**CONVERGING, **budget}),  # type: ignore[arg-type]
        "stage2": TrainConfig(steps=second, **{**CONVERGING, **LAST, **budget}),  # type: ignore[arg-type]
    }
    return CanvasTraining(size=size, model=model, stages=stages)


def _proxies(canvases: Mapping[str, CanvasTraining]) -> ProxyConfig:
    """Superpixels at the training sizes. With few of them, compactness .25 explains most of the image."""
    return ProxyConfig(compactness=0.25, sizes={canvas: plan.size for canvas, plan in canvases.items()})


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


def _segmentation(
    canvases: Mapping[str, tuple[int, int]], steps: int, widths: tuple[int, ...], **budget: object
) -> dict[str, TrainingPlan]:
    """A network that marks synthetic anomalies, layers that bulge among them."""
    stage = TrainConfig(steps=steps, **{**ONE_CYCLE, **SETTLED, **budget})  # type: ignore[arg-type]
    model = SegmentationConfig(widths=widths, makers=LAYERED, maker_strength=(0.03, 0.5))
    plans = {name: CanvasTraining(size=size, model=model, stages={"stage1": stage}) for name, size in canvases.items()}
    return {"segmentation": TrainingPlan(method="segmentation", canvases=plans)}


def _of_paper() -> CanvasTraining:
    return CanvasTraining(
        size=(256, 256), model=PAPER, stages=_stages((20000, 20000), batch_size=16, learning_rate=1e-3, patience=20)
    )


def _own(
    sizes: Sizes,
    model: ProxyAnoConfig,
    side: int,
    steps: tuple[int, int, int],
    training: Mapping[str, object],
    shard: int = 128,
) -> OwnBudget:
    """The budget of the user's own data sets."""
    return OwnBudget(
        model=model,
        member=sizes.model("denoising"),
        side=side,
        steps=steps,
        training=training,
        shard=shard,
    )


OCT_CANVASES = {"wide": (64, 64), "tight": (32, 128)}


def _bare(budget: Budget, sizes: Sizes, slim: Sizes, shard: int = 128, seeds: tuple[int, ...] = (0,)) -> Lane:
    """Benchmark and, ``slim``, deciding ablations with the form off: what the form gives, and what the method."""
    canvases = {"image": (64, 64)}
    return Lane(
        tiles=TilesConfig(form="plain", shard=shard),
        training=_plan({"image": CanvasTraining(size=(64, 64), model=sizes.own, stages=budget.stages("proxyano"))}),
        evaluation=PLAIN_EVALUATION,
        baselines=benchmark(canvases, budget, sizes),
        ablations=ablations(canvases, budget, slim, names=DECIDING, seeds=seeds),
        controls_with="proxyano",
    )


MRI_SAMPLE = {"head": _drawn((64, 64), (400, 240), DRAWN_HEAD, learning_rate=3e-3, move=0.03)}
OCT_SAMPLE = {
    "wide": _drawn((64, 64), (160, 100), DRAWN_OCT),
    "tight": _drawn((32, 128), (150, 80), DRAWN_OCT),
}
FUNDUS_SAMPLE = {"field": _drawn((32, 32), (560, 360), DRAWN_FUNDUS, batch_size=16)}
MRI_QUICK = {"head": _repairing((128, 128), (2800, 1800), REPAIRS_MRI, move=0.05, tone=0.1)}
OCT_QUICK = {
    "wide": _repairing((128, 128), (1200, 800), REPAIRS_OCT),
    "tight": _repairing((64, 256), (1200, 800), REPAIRS_OCT),
}
FUNDUS_QUICK = {"field": _repairing((128, 128), (1800, 1100), REPAIRS_FUNDUS)}
MRI_LONG = {**VARIED, "batch_size": 16, "keep_best": False}  # the last weights: validation normals hold abnormal images

QUICK_LANES: Mapping[str, Lane] = {
    "brain_mri": Lane(
        tiles=TilesConfig(form="inner_head"),
        proxies=_proxies(MRI_QUICK),
        training=_plan(MRI_QUICK),
        members=_second({"head": (64, 64)}, 1600, replace(QUICK_NARROW, own=SLIM_NARROW), **MRI_LONG),
        evaluation=at_training_size(MRI_EVALUATION, 2),
        baselines=benchmark({"head": (64, 64)}, QUICK_BENCHMARK, QUICK_NARROW),
        ablations=ablations({"head": (64, 64)}, QUICK_BENCHMARK, QUICK_NARROW, names=BOTH_SCORES, seeds=SEEDS),
    ),
    "oct": Lane(
        tiles=TilesConfig(form="bruch_membrane"),
        proxies=_proxies(OCT_QUICK),
        training=_plan(OCT_QUICK),
        members=_segmentation(OCT_CANVASES, 1000, (16, 32, 64, 64)),
        evaluation=at_training_size(OCT_EVALUATION, 2),
        baselines=benchmark(OCT_CANVASES, QUICK_BENCHMARK, QUICK_SIZES, seeds=SEEDS),
        ablations=ablations(OCT_CANVASES, QUICK_BENCHMARK, QUICK_SLIM, seeds=SEEDS),
    ),
    "idrid": Lane(
        tiles=TilesConfig(form="flat_field"),
        proxies=_proxies(FUNDUS_QUICK),
        training=_plan(FUNDUS_QUICK),
        members=_second({"field": (128, 128)}, 200, QUICK_NARROW, batch_size=16),
        evaluation=fundus_evaluation(),
        baselines=benchmark({"field": (128, 128)}, QUICK_BENCHMARK, QUICK_NARROW),
    ),
}
LONG = 6  # factor on the steps of quick's ablations: a claim that fails there may need more training
LONG_BENCHMARK = replace(QUICK_BENCHMARK, steps=LONG * QUICK_BENCHMARK.steps)
PATIENCE = 15
"""Evaluations on normal validation that bring nothing, before the learning rate falls to zero."""
MOST_STEPS = {"stage1": 12000, "stage2": 9000}


def _converged(plan: CanvasTraining) -> CanvasTraining:
    """The same networks with the adversarial loss, trained until validation says that they have converged."""
    judged = {"adversarial": True, "generator_loss": "non_saturating", "discriminator_widths": (16, 32, 64, 64)}
    model = ProxyAnoConfig.from_json(plan.model.to_json() | judged)
    stages = {
        name: replace(stage, steps=MOST_STEPS[name], schedule="plateau", patience=PATIENCE)
        for name, stage in plan.stages.items()
    }
    return replace(plan, model=model, stages=stages)


def _full() -> dict[str, Lane]:
    """The lanes of quick, ProxyAno trained until it converges; ablations at the long budget."""
    rows = {
        "brain_mri": ablations({"head": (64, 64)}, LONG_BENCHMARK, QUICK_NARROW, names=BOTH_SCORES, seeds=SEEDS),
        "oct": ablations(OCT_CANVASES, LONG_BENCHMARK, QUICK_SLIM, seeds=SEEDS),
    }
    lanes = {}
    for name, lane in QUICK_LANES.items():
        canvases = {canvas: _converged(plan) for canvas, plan in lane.training.canvases.items()}
        lanes[name] = replace(lane, training=_plan(canvases), ablations=rows.get(name, {}))
    return lanes


PRESETS: dict[str, Preset] = {
    "sample": Preset(
        name="sample",
        reason="the built-in sample in minutes: drawings that small networks learn to reconstruct and to repair",
        lanes={
            "brain_mri": Lane(
                tiles=TilesConfig(form="inner_head", shard=SAMPLE_SHARD),
                proxies=_proxies(MRI_SAMPLE),
                training=_plan(MRI_SAMPLE),
                members=_second({"head": (64, 64)}, 150, SAMPLE_SIZES, **SAMPLE_BUDGET),
                evaluation=on_sample(MRI_EVALUATION),
                baselines=benchmark({"head": (64, 64)}, SAMPLE_BENCHMARK, SAMPLE_SIZES),
                ablations=ablations({"head": (64, 64)}, SAMPLE_BENCHMARK, SAMPLE_SIZES, names=BOTH_SCORES),
            ),
            "oct": Lane(
                tiles=TilesConfig(form="bruch_membrane", shard=SAMPLE_SHARD),
                proxies=_proxies(OCT_SAMPLE),
                training=_plan(OCT_SAMPLE),
                members=_segmentation(OCT_CANVASES, 40, (8, 16, 16), **SAMPLE_BUDGET),
                evaluation=on_sample(OCT_EVALUATION),
                baselines=benchmark(OCT_CANVASES, SAMPLE_BENCHMARK, SAMPLE_SIZES),
                ablations=ablations(OCT_CANVASES, SAMPLE_BENCHMARK, SAMPLE_SIZES),
            ),
            "idrid": Lane(
                tiles=TilesConfig(form="flat_field", shard=SAMPLE_SHARD),
                proxies=_proxies(FUNDUS_SAMPLE),
                training=_plan(FUNDUS_SAMPLE),
                members=_second({"field": (32, 32)}, 300, SAMPLE_SIZES, **SAMPLE_BUDGET),
                evaluation=on_sample(fundus_evaluation((64, 64))),
                baselines=benchmark({"field": (64, 64)}, SAMPLE_BENCHMARK, SAMPLE_SIZES),
            ),
        },
        own=_own(SAMPLE_SIZES, TINY, 64, (60, 40, 40), {**ONE_CYCLE, "batch_size": 16}, SAMPLE_SHARD),
        form_off={"oct": _bare(SAMPLE_BENCHMARK, SAMPLE_SIZES, SAMPLE_SIZES, SAMPLE_SHARD)},
    ),
    "quick": Preset(
        name="quick",
        reason="real data on two CPU cores: canonical forms, 128 px training, no adversarial loss",
        lanes=QUICK_LANES,
        own=_own(QUICK_SLIM, REPAIRS_OWN, 128, (1600, 1100, 500), CONVERGING),
        form_off={"oct": _bare(QUICK_BENCHMARK, QUICK_SIZES, QUICK_SLIM, seeds=SEEDS)},
    ),
    "full": Preset(
        name="full",
        reason="quick's lanes trained until validation says that they converged, adversarial loss on",
        lanes=_full(),
        own=_own(QUICK_SLIM, REPAIRS_OWN, 128, (5000, 3500, 1000), CONVERGING),
        form_off={
            "oct": replace(
                _bare(QUICK_BENCHMARK, QUICK_SIZES, QUICK_SLIM),
                ablations=ablations({"image": (64, 64)}, LONG_BENCHMARK, QUICK_SLIM, names=DECIDING, seeds=SEEDS),
            )
        },
    ),
    "paper": Preset(
        name="paper",
        reason="the paper's sizes and weights, canonical forms off; meant for a GPU",
        own=_own(PAPER_SIZES, PAPER, 256, (20000, 20000, 40000), {"batch_size": 16, "learning_rate": 1e-3}),
        lanes={
            "brain_mri": Lane(
                tiles=TilesConfig(form="plain"),
                training=_plan({"image": _of_paper()}),
                members=_second({"image": (256, 256)}, 40000, PAPER_SIZES, batch_size=16, learning_rate=1e-3),
                evaluation=PLAIN_EVALUATION,
                baselines=benchmark({"image": (256, 256)}, PAPER_BENCHMARK, PAPER_SIZES, seeds=SEEDS),
                ablations=ablations(
                    {"image": (256, 256)}, PAPER_BENCHMARK, PAPER_SIZES, names=BOTH_SCORES, seeds=SEEDS
                ),
            ),
            "oct": Lane(
                tiles=TilesConfig(form="plain"),
                training=_plan({"image": _of_paper()}),
                members=_second({"image": (256, 256)}, 40000, PAPER_SIZES, batch_size=16, learning_rate=1e-3),
                evaluation=PLAIN_EVALUATION,
                baselines=benchmark({"image": (256, 256)}, PAPER_BENCHMARK, PAPER_SIZES, seeds=SEEDS),
                ablations=ablations({"image": (256, 256)}, PAPER_BENCHMARK, PAPER_SIZES, seeds=SEEDS),
            ),
            "idrid": Lane(
                tiles=TilesConfig(form="field_of_view"),
                training=_plan({"field": _of_paper()}),
                members=_second({"field": (256, 256)}, 40000, PAPER_SIZES, batch_size=16, learning_rate=1e-3),
                evaluation=fundus_evaluation(),
                baselines=benchmark({"field": (256, 256)}, PAPER_BENCHMARK, PAPER_SIZES, seeds=SEEDS),
            ),
        },
    ),
}
