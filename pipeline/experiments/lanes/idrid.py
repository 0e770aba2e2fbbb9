"""IDRiD: every value of the lane.

Nine tiles cover a fundus; the network sees each at half its size, and scores are computed at full size. ``QUICK``
trains on real images, ``SAMPLE`` on drawn ones.
"""

from dataclasses import replace

from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from models.scoring import ScoreConfig
from models.synthetic_anomalies import LesionConfig
from pipeline.detectors.controls.pixel_classifier import ClassifierConfig, FeatureConfig
from pipeline.detectors.controls.registry import Control
from pipeline.evaluation.evaluate import EvaluationConfig
from pipeline.evaluation.nulls import NULLS
from pipeline.evaluation.pasted_lesions import KINDS, PastedConfig
from pipeline.experiments.benchmark import QUICK_BUDGET, QUICK_DEEP, SAMPLE_BUDGET, SAMPLE_SIZES, benchmark
from pipeline.experiments.lane import SAMPLE_SHARD, Lane, cheaper, plan
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.tiles.tiles import TilesConfig

MODEL = ProxyAnoConfig(
    contrast=4.0,  # flat-field tiles use a tenth of the value range
    widths=(16, 32, 64),  # stage 1: latent at a quarter of the side
    reconstruction_widths=(8, 16, 32, 64, 64),  # few channels at full resolution, where memory traffic is the limit
    reconstruction_skips=True,
    adversarial=False,
    patch_on="image",  # stage 1 sees the lesion too, as it does when a real one is scored
    patch_count=(1, 5),
    makers=("patch", "blob", "ring", "dots", "noise"),
    maker_radius=(0.012, 0.15),
    maker_strength=(0.15, 0.9),
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
    "stage1": replace(STAGE, steps=1800),
    # last weights: validation has normals only, and repairing costs them a little
    "stage2": replace(STAGE, steps=1200, keep_best=False),
}

PLAIN = ScoreConfig(signed=True, sigma=1.0, worst=0.005, mirrored=False, smooth=16.0, rare=0.15, severity=0.2)
SCORE = replace(PLAIN, fine=True, lines=(9, 17, 33, 66), smooth=32.0, map_sigma=2.0)
CLASSIFIER_SCORE = replace(PLAIN, signed=False, floor=0.3, smooth=32.0, severity=0.3)
FULL = (256, 256)  # px of a tile
CLASSIFIER = ClassifierConfig(
    features=FeatureConfig(
        scales=(0.7, 1.5, 3.0, 6.0, 12.0, 24.0),
        curvatures=(1.0, 2.0, 4.0, 8.0),
        intensity=False,
        line_blob=True,
        place=False,
    ),
    lesions=LesionConfig(radius=(0.002, 0.08), strength=(0.04, 0.4), count=(8, 30)),
    copies=5,
    pixels=4500,
    flatten=True,
)
OPTIONS = {"config": CLASSIFIER, "raw": True}
LEARNED = Control(name="pixel_classifier", canvas="field", size=FULL, score=CLASSIFIER_SCORE, options=OPTIONS)
FIXED = (
    Control(name="line_blob", canvas="field", size=FULL, score=SCORE, options={"neutral": 128}),
    Control(name="canonical", canvas="field", size=FULL, score=PLAIN, options={"neutral": 128}),
    Control(name="median", canvas="field", size=FULL, score=PLAIN, options={"window": 61, "raw": True}),
    Control(name="slic", canvas="field", size=FULL, score=PLAIN, options={"raw": True}),
    Control(name="brightness", canvas="field", size=FULL),
    Control(name="darkness", canvas="field", size=FULL),
    Control(name="centre", canvas="field", size=FULL),
)

QUICK = Lane(
    tiles=TilesConfig(form="flat_field"),
    proxies=ProxyConfig(compactness=0.25, sizes={"field": (128, 128)}),
    training=plan("proxyano", {"field": (128, 128)}, MODEL, STAGES),
    members={},  # a denoising auto-encoder had a pixel AUROC of .71
    evaluation=EvaluationConfig(
        scores={"field": SCORE},
        controls=(LEARNED, *FIXED),
        nulls=NULLS,
        committee={"pixel_classifier": 1.0},  # line-blob maps beside it find fewer pasted lesions
        pasted=PastedConfig(
            lesions=LesionConfig(radius=(0.01, 0.04), strength=(0.08, 0.16), kinds=KINDS), flatten=True
        ),
    ),
    baselines=benchmark({"field": (128, 128)}, QUICK_BUDGET, QUICK_DEEP),
)

SAMPLE_MODEL = replace(
    MODEL,
    contrast=3.0,
    widths=(16, 32),  # latent at half the size: tiles have 32 px
    reconstruction_widths=(16, 32, 32),
    latent_dim=16,
    memory_decay=0.95,
    patch_count=(1, 1),
    makers=("patch", "blob", "ring", "noise"),
    maker_radius=(0.04, 0.2),
    maker_strength=(0.15, 0.8),
)
SAMPLE_STAGE = replace(STAGE, learning_rate=4e-3)
SAMPLE_FIELD = {"stage1": replace(SAMPLE_STAGE, steps=640), "stage2": replace(SAMPLE_STAGE, steps=420, keep_best=False)}
SAMPLE = replace(
    QUICK,
    tiles=TilesConfig(form="flat_field", shard=SAMPLE_SHARD),
    proxies=ProxyConfig(segments=1400, compactness=0.25, sizes={"field": (32, 32)}),
    training=plan("proxyano", {"field": (32, 32)}, SAMPLE_MODEL, SAMPLE_FIELD),
    evaluation=cheaper(
        replace(QUICK.evaluation, controls=(replace(LEARNED, size=(64, 64)), *FIXED), nulls=("median", "slic"))
    ),
    baselines=benchmark({"field": (64, 64)}, SAMPLE_BUDGET, SAMPLE_SIZES),
)
