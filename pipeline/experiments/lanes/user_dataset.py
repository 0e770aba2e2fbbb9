"""The lane of a data set of the user's own: one generic configuration for every canonical form.

Nothing here was chosen by labels: the data are not known when it is written, so it is plain and the same for all.
"""

from dataclasses import replace

from models.methods.auto_encoders import DenoisingConfig
from models.methods.proxyano_config import ProxyAnoConfig
from models.scoring import ScoreConfig
from models.synthetic_anomalies import LesionConfig
from pipeline.detectors.controls.registry import Control
from pipeline.detectors.standardise import OWN
from pipeline.evaluation.evaluate import EvaluationConfig
from pipeline.evaluation.nulls import NULLS
from pipeline.evaluation.pasted_lesions import KINDS, PastedConfig
from pipeline.experiments.lane import IN_COLOUR, Lane, UserDatasetBudget, in_colour, plan
from pipeline.forms import FORMS
from pipeline.forms.form import TILE
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.tiles.tiles import TilesConfig

SCORE = ScoreConfig(sigma=1.0, worst=0.02)
SIDE = 64  # px, at which the controls see a canvas, and the denoising auto-encoder at most
MEMBER = "denoising"
FLAT = "flat_field"
"""The form that takes the background out, which is done again where a lesion was pasted. What is left is faint."""
CONTRAST = 4.0  # of ProxyAno on this form: its tiles use a tenth of the value range


def user_lane(budget: UserDatasetBudget, form: str, *, size: int | None = None, steps: int | None = None) -> Lane:
    """All choices of the lane; ``size`` (px) and ``steps`` replace the preset's where the user set them."""
    gray = {colour: plain for plain, colour in IN_COLOUR.items()}.get(form, form)
    canvases = tuple(FORMS[gray].canvases)
    side, (first, second, other) = size or budget.side, (steps,) * 3 if steps else budget.steps
    model = replace(budget.model, contrast=CONTRAST) if gray == FLAT else budget.model
    stages = {"stage1": budget.stage(first), "stage2": replace(budget.stage(second), keep_best=False)}
    sizes, smaller = dict.fromkeys(canvases, (side, side)), dict.fromkeys(canvases, (min(side, SIDE),) * 2)
    at_size = sizes if TILE % side == 0 else {}  # of superpixels, as in the built-in lanes
    lane = Lane(
        tiles=TilesConfig(form=gray, shard=budget.shard),
        proxies=ProxyConfig(compactness=0.25, sizes=at_size),
        training=plan("proxyano", sizes, model, stages),
        members={MEMBER: plan(MEMBER, smaller, budget.member, {"stage1": budget.stage(other)})},
        evaluation=_evaluation(canvases, max(1.0, side / SIDE), flatten=gray == FLAT),
    )
    return lane if gray == form else in_colour(lane)


def _evaluation(canvases: tuple[str, ...], factor: float, *, flatten: bool) -> EvaluationConfig:
    """The committee is both learned methods and PCA; ProxyAno trains at ``factor`` times the size of ``SCORE``."""
    size, options = (SIDE, SIDE), {"components": 128, "mirrored": True}
    controls: list[Control] = []
    for canvas in canvases:
        controls += [
            Control(name="pca", canvas=canvas, size=size, score=SCORE, options=options),
            Control(name="nearest", canvas=canvas, size=size, score=SCORE),
            Control(name="brightness", canvas=canvas, size=size),
        ]
    lesions = LesionConfig(radius=(0.04, 0.12), strength=(0.15, 0.3), kinds=KINDS)
    return EvaluationConfig(
        scores=dict.fromkeys(canvases, SCORE.scaled(factor)),
        member_scores={MEMBER: SCORE},
        controls=tuple(controls),
        nulls=NULLS,
        committee={OWN: 1.0, MEMBER: 1.0, "pca": 1.0},
        pasted=PastedConfig(lesions=lesions, flatten=flatten),
    )


QUICK_MODEL = ProxyAnoConfig(
    widths=(16, 32, 64),
    reconstruction_widths=(8, 16, 32, 64, 64),
    reconstruction_skips=True,
    adversarial=False,
    patch_on="image",
    patch_count=(1, 2),
    makers=("patch", "mass", "blob", "ring", "noise", "dots"),  # all kinds, in a wide range of sizes
    maker_radius=(0.03, 0.25),
    maker_strength=(0.1, 0.8),
    local_mean_over="patch",
)
ONE_CYCLE = {"learning_rate": 2e-3, "schedule": "one_cycle", "precision": "bf16-mixed", "batch_size": 16}
QUICK = UserDatasetBudget(
    model=QUICK_MODEL,
    member=DenoisingConfig(widths=(16, 32, 64), latent_dim=64),
    side=128,
    steps=(1600, 1100, 500),
    training={**ONE_CYCLE, "evaluate_every": 100, "gradient_clip": 0.5},
)
FULL = replace(QUICK, steps=(5000, 3500, 1000))
SAMPLE = UserDatasetBudget(
    model=ProxyAnoConfig(widths=(8, 16, 16), latent_dim=16, memory_items=32, discriminator_widths=(8, 16)),
    member=DenoisingConfig(widths=(8, 16, 16), latent_dim=16),
    side=64,
    steps=(60, 40, 40),
    training=ONE_CYCLE,
    shard=32,
)
PAPER = UserDatasetBudget(
    model=ProxyAnoConfig(),
    member=DenoisingConfig(latent_dim=64),
    side=256,
    steps=(20000, 20000, 40000),
    training={"batch_size": 16, "learning_rate": 1e-3},
)
