"""Brain MRI: every value of the lane.

``QUICK`` trains on real slices, ``SAMPLE`` on drawn ones. Scores, controls and committee were chosen by lesions pasted
on validation normals; what was settled with test results in view is listed in docs/decisions/0005.
"""

from dataclasses import replace

from models.methods.auto_encoders import DenoisingConfig
from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from models.scoring import ScoreConfig
from models.synthetic_anomalies import LesionConfig
from pipeline.detectors.controls.pixel_classifier import ClassifierConfig, FeatureConfig
from pipeline.detectors.controls.registry import Control
from pipeline.evaluation.evaluate import EvaluationConfig
from pipeline.evaluation.nulls import NULLS
from pipeline.evaluation.pasted_lesions import KINDS, PastedConfig
from pipeline.experiments.ablations import BOTH_SCORES, ablations
from pipeline.experiments.benchmark import QUICK_BUDGET, QUICK_DEEP, SAMPLE_BUDGET, SAMPLE_SIZES, benchmark
from pipeline.experiments.lane import SAMPLE_SHARD, SEEDS, Lane, cheaper, plan
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.tiles.tiles import TilesConfig

MODEL = ProxyAnoConfig(
    widths=(16, 32, 64),  # stage 1: latent at a quarter of the side
    reconstruction_widths=(8, 16, 32, 64, 64),  # few channels at full resolution, where memory traffic is the limit
    reconstruction_skips=True,
    adversarial=False,
    patch_on="image",  # stage 1 sees the lesion too, as it does when a real one is scored
    patch_count=(1, 2),
    makers=("patch", "mass", "blob", "ring", "noise", "dots"),
    maker_radius=(0.04, 0.3),
    maker_strength=(0.1, 0.8),
    local_mean_over="patch",
)
STAGE = TrainConfig(
    batch_size=16,
    learning_rate=2e-3,
    schedule="one_cycle",
    precision="bf16-mixed",
    gradient_clip=0.5,  # ten times the usual norm late in stage 1: one odd batch undoes hundreds of steps otherwise
    move=0.05,
    tone=0.1,
)
STAGES = {
    "stage1": replace(STAGE, steps=2000),
    # last weights: validation has normals only, and repairing costs them a little
    "stage2": replace(STAGE, steps=1400, keep_best=False),
}
DENOISING = DenoisingConfig(widths=(16, 32, 48, 64, 64), latent_dim=64)
DENOISING_STAGE = TrainConfig(
    steps=1600,
    batch_size=16,
    learning_rate=2e-3,
    schedule="one_cycle",
    precision="bf16-mixed",
    move=0.08,  # a few hundred slices of all planes and contrasts: varied, they cover more
    tone=0.15,
    weight_average=0.99,
    keep_best=False,  # validation normals hold mislabelled images
)

AT_64 = ScoreConfig(sigma=2.0, worst=0.05, similar=12)  # of controls and members, which train at 64 px
AT_64_BESIDE = replace(AT_64, beside=12, own_mirror=True)
SCORE = replace(AT_64_BESIDE, sigma=4.0)  # ProxyAno trains at 128 px
CLASSIFIER = ClassifierConfig(
    features=FeatureConfig(intensity=False, mirror=True, neighbours=12, place=False),
    lesions=LesionConfig(radius=(0.02, 0.4), strength=(0.08, 0.9), count=(1, 3)),
    copies=4,
)
CLASSIFIER_SCORE = ScoreConfig(sigma=1.0, worst=0.3)
CONTROLS = (
    Control(name="pca", canvas="head", size=(64, 64), score=AT_64_BESIDE, options={"components": 24, "mirrored": True}),
    Control(name="patch_neighbour", canvas="head", size=(64, 64), score=AT_64, options={"own_mirror": 3}),
    Control(name="nearest", canvas="head", size=(64, 64), score=AT_64),
    Control(
        name="pixel_classifier", canvas="head", size=(64, 64), score=CLASSIFIER_SCORE, options={"config": CLASSIFIER}
    ),
    Control(name="brightness", canvas="head", size=(64, 64)),
    Control(name="centre", canvas="head", size=(64, 64)),
)

QUICK = Lane(
    tiles=TilesConfig(form="inner_head"),
    proxies=ProxyConfig(compactness=0.25, sizes={"head": (128, 128)}),
    training=plan("proxyano", {"head": (128, 128)}, MODEL, STAGES),
    members={"denoising": plan("denoising", {"head": (64, 64)}, DENOISING, {"stage1": DENOISING_STAGE})},
    evaluation=EvaluationConfig(
        scores={"head": SCORE},
        flip_average=True,
        controls=CONTROLS,
        nulls=NULLS,
        member_scores={"denoising": AT_64},
        committee={"denoising": 1.0, "patch_neighbour": 1.0, "pixel_classifier": 0.5},
        pasted=PastedConfig(lesions=LesionConfig(radius=(0.06, 0.15), strength=(0.25, 0.5), kinds=KINDS)),
    ),
    pretrained=(
        Control(name="feature_neighbour", canvas="head", size=(256, 256), score=ScoreConfig(sigma=8.0, worst=0.02)),
    ),
    baselines=benchmark({"head": (64, 64)}, QUICK_BUDGET, QUICK_DEEP),
    ablations=ablations({"head": (64, 64)}, QUICK_BUDGET, QUICK_DEEP, names=BOTH_SCORES, seeds=SEEDS),
)

SAMPLE_MODEL = replace(
    MODEL,
    widths=(8, 16, 32),
    reconstruction_widths=(8, 16, 32, 32),
    latent_dim=16,
    memory_decay=0.95,
    patch_count=(1, 1),
    maker_radius=(0.05, 0.3),
)
SAMPLE_STAGE = replace(STAGE, batch_size=8, learning_rate=3e-3, move=0.03, tone=0.0)
SAMPLE_HEAD = {"stage1": replace(SAMPLE_STAGE, steps=400), "stage2": replace(SAMPLE_STAGE, steps=240, keep_best=False)}
SAMPLE_DENOISING = DenoisingConfig(widths=(8, 16, 16), latent_dim=16)
SAMPLE_DENOISING_STAGE = TrainConfig(
    steps=150,
    batch_size=16,
    learning_rate=2e-3,
    schedule="one_cycle",
    precision="bf16-mixed",
    evaluate_every=20,
    checkpoint_every=20,
    log_every=10,
)
SAMPLE = replace(
    QUICK,
    tiles=TilesConfig(form="inner_head", shard=SAMPLE_SHARD),
    proxies=ProxyConfig(segments=1200, compactness=0.25, sizes={"head": (64, 64)}),
    training=plan("proxyano", {"head": (64, 64)}, SAMPLE_MODEL, SAMPLE_HEAD),
    members={"denoising": plan("denoising", {"head": (64, 64)}, SAMPLE_DENOISING, {"stage1": SAMPLE_DENOISING_STAGE})},
    evaluation=cheaper(replace(QUICK.evaluation, scores={"head": AT_64_BESIDE})),
    baselines=benchmark({"head": (64, 64)}, SAMPLE_BUDGET, SAMPLE_SIZES),
    ablations=ablations({"head": (64, 64)}, SAMPLE_BUDGET, SAMPLE_SIZES, names=BOTH_SCORES),
)
