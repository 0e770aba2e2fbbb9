"""OCT: every value of the lane.

A scan has two canvases: ``wide``, all layers at half the width, and ``tight``, the layers next to Bruch's membrane at
full width. ``QUICK`` trains on real scans, ``SAMPLE`` on drawn ones, ``FORM_OFF`` without the canonical form.
"""

from dataclasses import replace

from models.methods.proxyano_config import ProxyAnoConfig
from models.methods.segmentation import SegmentationConfig
from models.schedule import TrainConfig
from models.scoring import ScoreConfig
from models.synthetic_anomalies import LesionConfig
from pipeline.detectors.controls.registry import Control
from pipeline.evaluation.evaluate import EvaluationConfig
from pipeline.evaluation.nulls import NULLS
from pipeline.evaluation.pasted_lesions import KINDS, PastedConfig
from pipeline.experiments.ablations import ablations
from pipeline.experiments.benchmark import QUICK_BUDGET, QUICK_SIZES, QUICK_SLIM, SAMPLE_BUDGET, SAMPLE_SIZES, benchmark
from pipeline.experiments.lane import SAMPLE_SHARD, SEEDS, Lane, cheaper, plan
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.tiles.tiles import TilesConfig
from pipeline.training import CanvasTraining, TrainingPlan

MODEL = ProxyAnoConfig(
    widths=(16, 32, 64),  # stage 1: latent at a quarter of the side
    reconstruction_widths=(8, 16, 32, 64, 64),  # few channels at full resolution, where memory traffic is the limit
    reconstruction_skips=True,
    adversarial=False,
    patch_on="image",  # stage 1 sees the lesion too, as it does when a real one is scored
    patch_count=(1, 2),
    makers=("patch", "blob", "ring", "dots", "noise", "bump"),
    maker_radius=(0.03, 0.25),
    maker_strength=(0.08, 0.7),
    local_mean_over="patch",
)
STAGE = TrainConfig(
    batch_size=16,
    learning_rate=2e-3,
    schedule="one_cycle",
    precision="bf16-mixed",
    gradient_clip=0.5,  # ten times the usual norm late in stage 1
)
STAGES = {
    "stage1": replace(STAGE, steps=1000),
    # last weights: validation has normals only, and repairing costs them a little
    "stage2": replace(STAGE, steps=800, keep_best=False),
}
SEGMENTATION = SegmentationConfig(
    widths=(16, 32, 64, 64), makers=("blob", "ring", "dots", "noise", "bump"), maker_strength=(0.03, 0.5)
)
SEGMENTATION_STAGE = TrainConfig(
    steps=1000,
    batch_size=32,
    learning_rate=2e-3,
    schedule="one_cycle",
    precision="bf16-mixed",
    weight_average=0.99,
    keep_best=False,  # anomalies are drawn without end: the averaged last weights are the best ones
)
SMALL = {"wide": (64, 64), "tight": (32, 128)}  # of members, benchmark and ablations

AT_64 = ScoreConfig(sigma=1.0, worst=0.01, minus_mean=True)  # of controls and members, which train at 64 px
SCORE = replace(AT_64, sigma=2.0)  # ProxyAno trains at 128 px
WIDE_PCA = {"components": 800, "mirrored": True}
TIGHT_PCA = {"components": 200, "mirrored": True, "shifts": (-2, -1, 1, 2)}
CONTROLS = (
    Control(name="pca", canvas="wide", size=(40, 64), score=AT_64, options=WIDE_PCA),
    Control(name="pca", canvas="tight", size=(32, 128), score=AT_64, options=TIGHT_PCA),
    Control(name="nearest", canvas="wide", size=(40, 64), score=AT_64),
    Control(name="nearest", canvas="tight", size=(32, 128), score=AT_64),
    Control(name="brightness", canvas="wide", size=(64, 64)),
)

QUICK = Lane(
    tiles=TilesConfig(form="bruch_membrane"),
    proxies=ProxyConfig(compactness=0.25, sizes={"wide": (128, 128), "tight": (64, 256)}),
    training=plan("proxyano", {"wide": (128, 128), "tight": (64, 256)}, MODEL, STAGES),
    members={"segmentation": plan("segmentation", SMALL, SEGMENTATION, {"stage1": SEGMENTATION_STAGE})},
    evaluation=EvaluationConfig(
        scores={"wide": SCORE, "tight": SCORE},
        flip_average=True,
        controls=CONTROLS,
        nulls=NULLS,
        member_scores={"segmentation": AT_64},
        committee={"segmentation": 1.0, "pca": 1.0},
        pasted=PastedConfig(lesions=LesionConfig(radius=(0.04, 0.12), strength=(0.15, 0.3), kinds=KINDS)),
    ),
    pretrained=(
        Control(
            name="feature_neighbour",
            canvas="wide",
            size=(256, 256),
            score=ScoreConfig(sigma=4.0, worst=0.01, minus_mean=True),
            options={"blocks": (6, 10)},
        ),
    ),
    baselines=benchmark(SMALL, QUICK_BUDGET, QUICK_SIZES, seeds=SEEDS),
    ablations=ablations(SMALL, QUICK_BUDGET, QUICK_SLIM, seeds=SEEDS),
)

SAMPLE_MODEL = replace(
    MODEL,
    widths=(8, 16, 32),
    reconstruction_widths=(8, 16, 32, 32),
    latent_dim=16,
    memory_decay=0.95,
    patch_count=(1, 1),
    maker_radius=(0.05, 0.3),
    maker_strength=(0.15, 0.8),
)
SAMPLE_STAGE = replace(STAGE, batch_size=8, learning_rate=4e-3)
SAMPLE_WIDE = {"stage1": replace(SAMPLE_STAGE, steps=180), "stage2": replace(SAMPLE_STAGE, steps=120, keep_best=False)}
SAMPLE_TIGHT = {"stage1": replace(SAMPLE_STAGE, steps=150), "stage2": replace(SAMPLE_STAGE, steps=80, keep_best=False)}
SAMPLE_SEGMENTATION = replace(SEGMENTATION, widths=(8, 16, 16))
SAMPLE_SEGMENTATION_STAGE = replace(
    SEGMENTATION_STAGE, steps=40, batch_size=16, evaluate_every=20, checkpoint_every=20, log_every=10
)
SAMPLE = replace(
    QUICK,
    tiles=TilesConfig(form="bruch_membrane", shard=SAMPLE_SHARD),
    proxies=ProxyConfig(segments=1200, compactness=0.25, sizes=SMALL),
    training=TrainingPlan(
        method="proxyano",
        canvases={
            "wide": CanvasTraining(size=(64, 64), model=SAMPLE_MODEL, stages=SAMPLE_WIDE),
            "tight": CanvasTraining(size=(32, 128), model=SAMPLE_MODEL, stages=SAMPLE_TIGHT),
        },
    ),
    members={"segmentation": plan("segmentation", SMALL, SAMPLE_SEGMENTATION, {"stage1": SAMPLE_SEGMENTATION_STAGE})},
    evaluation=cheaper(replace(QUICK.evaluation, scores={"wide": AT_64, "tight": AT_64})),
    baselines=benchmark(SMALL, SAMPLE_BUDGET, SAMPLE_SIZES),
    ablations=ablations(SMALL, SAMPLE_BUDGET, SAMPLE_SIZES),
)
