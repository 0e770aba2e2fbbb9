"""One data set's lane: what its assets share, so that each asset file holds only what that stage adds."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import dagster as dg

from assets.materialize import materialize
from pipeline.data.datasets import Dataset
from pipeline.evaluation.audit import reviewed
from pipeline.experiments.lane import Lane
from pipeline.forms import FORMS
from pipeline.store.versions import Version, fingerprint
from pipeline.wiring.automation import WHEN_CHANGED
from pipeline.wiring.runs import REFRESH
from pipeline.wiring.tracking import Origin

OWNERS = ["team:proxyano"]
SEEDED = ("stage1", "stage2", "members", "evaluation")  # stages whose result depends on PROXYANO_SEED
VERSION = dg.PythonObjectDagsterType(Version, name="Version", description="One published version in the store.")


@dataclass(frozen=True, kw_only=True)
class LaneAssets:
    """A data set with the preset in force."""

    dataset: Dataset
    lane: Lane
    preset: str
    seed: int
    scheduler: str | None = None
    source: str = ""  # data set whose images these are, where it is another than the lane's name

    @property
    def raw_name(self) -> str:
        """The data set whose raw files and images the lane uses."""
        return self.source or self.dataset.name

    def key(self, stage: str) -> dg.AssetKey:
        """``<dataset>/<stage>``."""
        return dg.AssetKey([self.raw_name if stage in ("download", "images") else self.dataset.name, stage])

    def code_version(self, stage: str) -> str:
        """Code version of a stage: the preset's, and what the data set, the form and the seed fix."""
        version = self.lane.code_version(stage)
        if stage == "images":
            return f"{version}-{fingerprint(*self.dataset.decides)}"
        if stage in ("tiles", "detector"):
            return f"{version}-{FORMS[self.lane.tiles.form].version}"
        if stage == "evaluation":
            return f"{version}-seed{self.seed}-{fingerprint(reviewed(self.raw_name))}"
        if stage in SEEDED:
            return f"{version}-seed{self.seed}"
        return version

    def baseline(self, stage: str, name: str) -> str:
        """The store's name for one run of the benchmark or the ablations."""
        return f"{self.key(stage).to_user_string()}/{name}"

    def into(self, stage: str) -> dg.AssetIn:
        """Input from an earlier stage of the lane."""
        return dg.AssetIn(key=self.key(stage), input_manager_key="versions")

    def declare(self, stage: str, *, kinds: set[str], checks: Sequence[str] = (), **more: Any) -> dict[str, Any]:
        """Arguments of ``dg.asset`` that every stage has."""
        key = self.key(stage)
        return {
            "key": key,
            "group_name": self.dataset.name,
            "owners": OWNERS,
            "kinds": kinds,
            "io_manager_key": "versions",
            "dagster_type": VERSION,
            "code_version": self.code_version(stage),
            "automation_condition": None if self.source else WHEN_CHANGED,  # what only the benchmark needs waits for it
            "pool": "_".join(key.path),
            "check_specs": [dg.AssetCheckSpec(name=name, asset=key) for name in checks],
            **more,
        }

    def run(self, context: dg.AssetExecutionContext, stage: str, *, name: str = "", **how: Any) -> dg.MaterializeResult:
        """Materialize one stage, or one run of the benchmark or the ablations by its ``name``, tracked."""
        row = self.lane.named(stage, name) if name else None
        origin = Origin(
            dataset=self.dataset.name,
            stage=stage,
            asset=self.baseline(stage, name) if name else self.key(stage).to_user_string(),
            dagster_run=context.run.run_id,
            refresh=context.run.tags.get(REFRESH, ""),
            code_version=self.lane.baseline_version(stage, name) if name else self.code_version(stage),
            preset=self.preset,
            seed=row.seed if row else self.seed,
            method=row.training.method if row else self.lane.training.method if stage in SEEDED else "",
            entry=name,
        )
        how.setdefault("parameters", flat(self.lane.of_stage(stage)) | {"preset": self.preset, "seed": self.seed})
        return materialize(context, origin=origin, **how)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A configuration as dotted names and plain values, for parameters people compare."""
    if is_dataclass(value) and not isinstance(value, type):
        return flat({item.name: getattr(value, item.name) for item in fields(value)}, prefix)
    if isinstance(value, dict) or hasattr(value, "items"):
        joined: dict[str, Any] = {}
        for name, part in value.items():
            joined |= flat(part, f"{prefix}.{name}" if prefix else str(name))
        return joined
    if isinstance(value, list | tuple) and any(is_dataclass(part) or isinstance(part, dict) for part in value):
        return flat({str(number): part for number, part in enumerate(value)}, prefix)
    return {prefix or "value": value}
