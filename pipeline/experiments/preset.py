"""What a preset fixes for one lane: a frozen configuration a stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.steps.evaluation import EvaluationConfig
from pipeline.steps.proxies import ProxyConfig
from pipeline.steps.splits import ImagesConfig
from pipeline.steps.store import fingerprint
from pipeline.steps.tiles import TilesConfig
from pipeline.steps.training import TrainingPlan

STEP_VERSIONS: Mapping[str, str] = {
    "images": "1",
    "tiles": "1",
    "proxies": "1",
    "stage1": "1",
    "stage2": "1",
    "evaluation": "1",
}
"""Raised by hand when a step's code changes its result; with the configuration's hash it is the code version."""


@dataclass(frozen=True, kw_only=True)
class Lane:
    """All choices of one data set's lane."""

    images: ImagesConfig = field(default_factory=ImagesConfig)
    tiles: TilesConfig
    proxies: ProxyConfig = field(default_factory=ProxyConfig)
    training: TrainingPlan
    evaluation: EvaluationConfig

    def of_stage(self, stage: str) -> object:
        """The part of the configuration that a stage depends on."""
        if stage in ("stage1", "stage2"):
            return self.training.of_stage(stage)
        return getattr(self, stage)

    def code_version(self, stage: str) -> str:
        """Version of the step's code and the hash of its configuration: another value makes the asset stale."""
        return f"{STEP_VERSIONS[stage]}-{fingerprint(self.of_stage(stage))}"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named set of lanes."""

    name: str
    reason: str  # what it is for
    lanes: Mapping[str, Lane]
