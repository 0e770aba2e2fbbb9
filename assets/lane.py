"""One data set's lane under the current preset: asset keys, names in the store and code versions of its stages."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import dagster as dg

from pipeline.data.datasets import Dataset
from pipeline.evaluation.audit import reviewed
from pipeline.experiments.lane import Baseline, Lane
from pipeline.forms import FORMS
from pipeline.store.versions import Version, fingerprint
from pipeline.tiles.proxy_kinds import TITLES

OWNERS = ["team:proxyano"]
SEEDED = ("stage1", "stage2", "members", "detector", "evaluation")  # stages whose result depends on PROXYANO_SEED
BENCHMARK = ("baselines", "baseline_evaluations")  # stages with a partition for each run of the benchmark
ABLATIONS = "ablations"  # stage with a partition for each ablation experiment
VERSION = dg.PythonObjectDagsterType(Version, name="Version", description="One published version in the store.")


@dataclass(frozen=True, kw_only=True)
class LaneAssets:
    """A data set with its configuration from the current preset."""

    dataset: Dataset
    lane: Lane
    preset: str
    seed: int
    scheduler: str | None = None  # address of a dask scheduler
    source: str = ""  # data set whose images the lane uses; empty: its own

    @property
    def raw_name(self) -> str:
        """The data set whose raw files and images the lane uses."""
        return self.source or self.dataset.name

    @property
    def proxy(self) -> str:
        """The kind of proxy and its parameters, for people."""
        config = self.lane.proxies
        values = [f"{name} {value}" for name, value in config.to_json().items() if name != "kind"]
        return ", ".join([TITLES[config.kind], *values])

    def key(self, stage: str) -> dg.AssetKey:
        """``<dataset>/<stage>``."""
        return dg.AssetKey([self.raw_name if stage in ("download", "images") else self.dataset.name, stage])

    def runs(self, stage: str) -> Mapping[str, Baseline]:
        """Runs of a partitioned stage by name; empty for other stages."""
        if stage == ABLATIONS:
            return self.lane.ablations
        return self.lane.baselines if stage in BENCHMARK else {}

    def stored(self, stage: str, name: str = "") -> str:
        """The store's name of a stage, or of one run of a partitioned stage."""
        asset = self.key(stage).to_user_string()
        return f"{asset}/{name}" if name in self.runs(stage) else asset

    def code_version(self, stage: str, name: str = "") -> str:
        """Code version of a stage, or of one run: from the preset, the data set, the form and the seed."""
        if name:
            return self.lane.baseline_version(stage, name)
        version = self.lane.code_version(stage)
        if stage == "images":
            return f"{version}-{fingerprint(*self.dataset.decides)}"
        if stage == "tiles":
            return f"{version}-{FORMS[self.lane.tiles.form].version}"
        if stage == "detector":
            return f"{version}-{FORMS[self.lane.tiles.form].version}-seed{self.seed}"
        if stage == "evaluation":
            return f"{version}-seed{self.seed}-{fingerprint(reviewed(self.raw_name))}"
        if stage in SEEDED:
            return f"{version}-seed{self.seed}"
        return version


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested configuration as ``{"dotted.name": plain value}``, for MLflow parameters."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    elif isinstance(value, list | tuple) and any(is_dataclass(part) or isinstance(part, dict) for part in value):
        value = {str(number): part for number, part in enumerate(value)}
    if not isinstance(value, Mapping):
        return {prefix or "value": value}
    joined: dict[str, Any] = {}
    for name, part in value.items():
        joined |= flat(part, f"{prefix}.{name}" if prefix else str(name))
    return joined
