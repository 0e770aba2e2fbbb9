"""A lane without a canonical form: what the ``paper`` preset trains on, and the benchmark with the form off."""

from collections.abc import Iterable

from models.methods.auto_encoders import DenoisingConfig
from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from models.scoring import ScoreConfig
from pipeline.detectors.controls.registry import Control
from pipeline.evaluation.evaluate import EvaluationConfig
from pipeline.evaluation.nulls import NULLS
from pipeline.experiments.ablations import DECIDING, ablations
from pipeline.experiments.benchmark import ONE_CYCLE, PAPER_BUDGET, PAPER_SIZES, Budget, Sizes, benchmark
from pipeline.experiments.lane import SEEDS, Lane, plan
from pipeline.tiles.tiles import TilesConfig

SCORE = ScoreConfig(sigma=2.0, worst=0.05)  # settled with test results in view (docs/decisions/0005)
EVALUATION = EvaluationConfig(
    scores={"image": SCORE},
    controls=(
        Control(name="pca", canvas="image", size=(64, 64), score=SCORE, options={"components": 128, "mirrored": True}),
        Control(name="nearest", canvas="image", size=(64, 64), score=SCORE),
        Control(name="brightness", canvas="image", size=(64, 64)),
    ),
    nulls=NULLS,
)


def form_off(
    runs: tuple[Budget, Sizes], rows: tuple[Budget, Sizes], *, shard: int = 128, seeds: tuple[int, ...] = (0,)
) -> Lane:
    """Benchmark ``runs`` and deciding ablation ``rows`` on whole images: what the form gives, and what the method."""
    canvases, (budget, sizes) = {"image": (64, 64)}, runs
    return Lane(
        tiles=TilesConfig(form="plain", shard=shard),
        training=plan("proxyano", canvases, sizes.own, budget.stages("proxyano")),
        evaluation=EVALUATION,
        baselines=benchmark(canvases, *runs),
        ablations=ablations(canvases, *rows, names=DECIDING, seeds=seeds),
        controls_with="proxyano",
    )


def paper(
    form: str = "plain", canvas: str = "image", evaluation: EvaluationConfig = EVALUATION, names: Iterable[str] = ()
) -> Lane:
    """The paper's sizes, weights and rates; one canvas a tile; ``names``: its ablations."""
    canvases = {canvas: (256, 256)}
    stage = TrainConfig(steps=20000, batch_size=16, learning_rate=1e-3, patience=20)
    denoising = TrainConfig(**{**ONE_CYCLE, "steps": 40000, "batch_size": 16, "learning_rate": 1e-3})  # type: ignore[arg-type]
    return Lane(
        tiles=TilesConfig(form=form),
        training=plan("proxyano", canvases, ProxyAnoConfig(), {"stage1": stage, "stage2": stage}),
        members={"denoising": plan("denoising", canvases, DenoisingConfig(latent_dim=64), {"stage1": denoising})},
        evaluation=evaluation,
        baselines=benchmark(canvases, PAPER_BUDGET, PAPER_SIZES, seeds=SEEDS),
        ablations=ablations(canvases, PAPER_BUDGET, PAPER_SIZES, names=names, seeds=SEEDS),
    )
