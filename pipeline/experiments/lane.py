"""The frozen configuration of one lane, stage by stage, and its variants."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod, sqrt
from types import ModuleType
from typing import Literal

from models.method import MethodConfig
from models.methods.proxyano_config import ProxyAnoConfig
from models.schedule import TrainConfig
from models.scoring import ScoreConfig
from pipeline import training
from pipeline.data import manifest
from pipeline.data.splits import ImagesConfig
from pipeline.detectors.controls.registry import RAW, Control
from pipeline.detectors.frozen import freeze
from pipeline.detectors.standardise import OWN
from pipeline.errors import ConfigError
from pipeline.evaluation import evaluate, robustness
from pipeline.evaluation.evaluate import EvaluationConfig
from pipeline.store.versions import fingerprint
from pipeline.tiles import normals, proxies, tiles
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.tiles.tiles import TilesConfig
from pipeline.training import CanvasTraining, TrainingPlan

STEPS: Mapping[str, ModuleType] = {  # stage → module of its step, which holds the step's ``VERSION``
    "images": manifest,
    "tiles": tiles,
    "proxies": proxies,
    "normals": normals,
    "stage1": training,
    "stage2": training,
    "members": training,
    "detector": freeze,
    "evaluation": evaluate,
    "robustness": robustness,
    "baselines": training,
    "baseline_evaluations": evaluate,
    "ablations": evaluate,
}
SEEDS = (0, 1, 2)  # of rows that support a statement of the reports
Canvases = Mapping[str, tuple[int, int]]  # name → training rows and columns
IN_COLOUR = {"flat_field": "flat_field_rgb", "field_of_view": "field_of_view_rgb"}  # form → with three channels
SAMPLE_SHARD = 32  # tiles: several shards even of so little data, so that both cores have work
SAMPLE_RESAMPLES = 200  # of the bootstrap
LEFT_OUT = ("canonical", "median", "slic")  # controls that take seconds an image; two of them are nulls too


def step_version(stage: str) -> str:
    """Code version of the step of a stage."""
    return str(STEPS[stage].VERSION)


def plan(method: str, canvases: Canvases, model: MethodConfig, stages: Mapping[str, TrainConfig]) -> TrainingPlan:
    """A method with one network configuration and the same stages on every canvas."""
    trained = {name: CanvasTraining(size=size, model=model, stages=stages) for name, size in canvases.items()}
    return TrainingPlan(method=method, canvases=trained)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One run of the benchmark: a method at the benchmark's budget, with its seed."""

    label: str  # for people
    training: TrainingPlan
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Ablation(Baseline):
    """One experiment of the ablations: a run with its own proxies, judged by one of the method's own scores."""

    proxies: ProxyConfig
    score: str  # image (Table V's first row), latent (Eq. 13), or standardised as the lane has it
    against: str = ""  # its neighbour, from which it differs in one thing; empty for the first


@dataclass(frozen=True, kw_only=True)
class Lane:
    """All choices of one data set's lane."""

    images: ImagesConfig = field(default_factory=ImagesConfig)
    tiles: TilesConfig
    proxies: ProxyConfig = field(default_factory=ProxyConfig)
    training: TrainingPlan
    members: Mapping[str, TrainingPlan] = field(default_factory=dict)  # name → other learned method of the committee
    evaluation: EvaluationConfig
    baselines: Mapping[str, Baseline] = field(default_factory=dict)  # name → run of the benchmark
    ablations: Mapping[str, Ablation] = field(default_factory=dict)  # name → experiment
    pretrained: tuple[Control, ...] = ()  # members with weights of other images; used after ``with_pretrained``
    controls_with: str = ""  # benchmark run that includes the controls; empty: the lane's own evaluation does

    def __post_init__(self) -> None:
        """Check that the members of the committee exist."""
        controls = {one.name for one in self.evaluation.controls if one.name not in RAW and not one.kind.needs_proxies}
        known = {OWN, *self.members, *controls}
        if unknown := sorted(set(self.evaluation.committee) - known):
            raise ConfigError(f"EvaluationConfig.committee: expected some of {sorted(known)}, got {unknown}")

    def of_stage(self, stage: str) -> object:
        """The part of the configuration that a stage depends on; for single runs see ``baseline_version``."""
        if stage in ("stage1", "stage2"):
            return self.training.of_stage(stage)
        if stage == "members":
            return {name: {part: plan.of_stage(part) for part in plan.stages} for name, plan in self.members.items()}
        if stage in ("normals", "robustness", "baselines", "baseline_evaluations", "ablations"):
            return {}
        if stage == "detector":
            return self.evaluation.detector(self.training.method)
        return self.proxies.to_json() if stage == "proxies" else getattr(self, stage)

    def code_version(self, stage: str) -> str:
        """Version of the step's code and hash of its configuration: a new value makes the asset stale."""
        return f"{step_version(stage)}-{fingerprint(self.of_stage(stage))}"

    def judging(self, name: str) -> EvaluationConfig:
        """Evaluation of a benchmark run: as the lane's own, with controls only for ``controls_with``."""
        if name == self.controls_with:
            return self.evaluation
        scores = self._scores_of(self.baselines[name])
        return replace(self.evaluation, scores=scores, controls=(), nulls=(), committee={}, pasted=None)

    def judging_ablation(self, name: str) -> EvaluationConfig:
        """Evaluation of an ablation: one pass over the images."""
        scores = self._scores_of(self.ablations[name])
        once = replace(self.evaluation, scores=scores, controls=(), nulls=(), committee={}, pasted=None)
        return replace(once, fidelity=False, flip_average=False)

    def _scores_of(self, row: Baseline) -> dict[str, ScoreConfig]:
        """The lane's scores for a run that trains at another size, with lengths scaled to its pixels."""
        own, lane = row.training.canvases, self.training.canvases
        factors = {canvas: sqrt(prod(own[canvas].size) / prod(lane[canvas].size)) for canvas in lane}
        return {canvas: score.scaled(factors[canvas]) for canvas, score in self.evaluation.scores.items()}

    def baseline_version(self, stage: str, name: str) -> str:
        """Code version of one run of the benchmark or the ablations; it does not depend on other runs."""
        row = self.ablations[name] if stage == "ablations" else self.baselines[name]
        plans = {stage: row.training.of_stage(stage) for stage in row.training.stages}
        own: object = self.judging(name) if stage == "baseline_evaluations" else plans
        if isinstance(row, Ablation):
            own = [plans, row.proxies.to_json(), step_version("proxies"), training.VERSION, self.judging_ablation(name)]
        return f"{step_version(stage)}-{fingerprint(own)}-seed{row.seed}"


@dataclass(frozen=True, kw_only=True)
class UserDatasetBudget:
    """Settings of a preset for user data sets."""

    model: ProxyAnoConfig
    member: MethodConfig  # the denoising auto-encoder's
    side: int  # training size of a tile, px
    steps: tuple[int, int, int]  # of stage 1, stage 2 and the denoising auto-encoder
    training: Mapping[str, object] = field(default_factory=dict)  # further fields of TrainConfig
    shard: int = 128  # tiles

    def stage(self, steps: int) -> TrainConfig:
        """Budget and optimiser of one stage."""
        every = max(1, min(100, steps // 4))
        common = {"evaluate_every": every, "checkpoint_every": every, "log_every": min(20, every), **self.training}
        return TrainConfig(steps=steps, **common)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A set of lanes."""

    reason: str  # what it is for
    lanes: Mapping[str, Lane]
    user_datasets: UserDatasetBudget
    form_off: Mapping[str, Lane] = field(default_factory=dict)  # data set → its benchmark without a canonical form


def with_split(lane: Lane, protocol: Literal["leak_free", "paper_random"], seed: int) -> Lane:
    """The lane with another split; ``paper_random`` leaks near-duplicates, and its report says so."""
    images: ImagesConfig = replace(lane.images, protocol=protocol, split_seed=seed)
    return replace(lane, images=images)


def with_pretrained(lane: Lane) -> Lane:
    """The lane with its pretrained members as controls and, weight 1 each, in its committee."""
    if not lane.pretrained:
        return lane
    controls = (*lane.evaluation.controls, *lane.pretrained)
    committee = dict(lane.evaluation.committee) | {control.name: 1.0 for control in lane.pretrained}
    return replace(lane, evaluation=replace(lane.evaluation, controls=controls, committee=committee))


def in_colour(lane: Lane) -> Lane:
    """The lane with RGB tiles if its form has a colour version; other lanes are returned unchanged."""
    if lane.tiles.form not in IN_COLOUR:
        return lane

    def three_channels(plan: TrainingPlan) -> TrainingPlan:
        models = {name: replace(canvas.model, channels=3) for name, canvas in plan.canvases.items()}
        canvases = {name: replace(canvas, model=models[name]) for name, canvas in plan.canvases.items()}
        return TrainingPlan(method=plan.method, canvases=canvases)

    return replace(
        lane,
        tiles=replace(lane.tiles, form=IN_COLOUR[lane.tiles.form]),
        training=three_channels(lane.training),
        members={name: three_channels(plan) for name, plan in lane.members.items()},
        baselines={name: replace(row, training=three_channels(row.training)) for name, row in lane.baselines.items()},
    )


def cheaper(evaluation: EvaluationConfig) -> EvaluationConfig:
    """For ``sample``, which shows the product at work; its figures say nothing about a method.

    Few resamples, one copy of each normal for pixel classifiers, half the line filters, no ``LEFT_OUT``.
    """

    def shorter(score: ScoreConfig) -> ScoreConfig:
        return replace(score, lines=score.lines[::2])

    controls = []
    for control in evaluation.controls:
        options = dict(control.options)
        if control.name == "pixel_classifier":
            options["config"] = replace(options["config"], copies=1)
        if control.name not in LEFT_OUT:
            controls.append(replace(control, score=shorter(control.score), options=options))
    scores = {canvas: shorter(score) for canvas, score in evaluation.scores.items()}
    return replace(evaluation, scores=scores, controls=tuple(controls), resamples=SAMPLE_RESAMPLES)
