"""What starts runs: jobs, and two sensors that are off until you enable them in Dagster."""

import warnings
from typing import Any

import dagster as dg

from pipeline.wiring.resources import RawResource, observations
from pipeline.wiring.runs import close_dead

PREPARED, TRAINED, EVALUATED = (
    ("images", "tiles", "proxies", "normals"),
    ("stage1", "stage2", "members"),
    ("detector", "evaluation"),
)
JOBS = {
    "main_lane": ((*PREPARED, *TRAINED, *EVALUATED), "Everything from raw files to the report, for every data set."),
    "prepare": (PREPARED, "Raw files to tiles and proxies, for every data set."),
    "train": (TRAINED, "The method and its committee's members, for every data set."),
    "evaluate": (EVALUATED, "Detectors and evaluations of every data set, and the report."),
}
"""Job → its stages in every lane, and its description."""


def jobs(datasets: list[str]) -> list[Any]:
    """The jobs over all data sets; ``main_lane`` and ``evaluate`` make the report too."""
    made = []
    for name, (stages, description) in JOBS.items():
        keys = [dg.AssetKey([dataset, stage]) for dataset in datasets for stage in stages]
        keys += [dg.AssetKey("evaluation_report")] if EVALUATED[-1] in stages else []
        made.append(dg.define_asset_job(name, selection=dg.AssetSelection.assets(*keys), description=description))
    return made


_DUE = (
    (
        dg.AutomationCondition.missing().newly_true()
        | dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
        | dg.AutomationCondition.code_version_changed()
    )
    .since_last_handled()  # type: ignore[misc]
    .with_label("content or code above has changed")
)
WHEN_CHANGED = (
    _DUE
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.any_deps_match(_DUE | dg.AutomationCondition.will_be_requested())
    & ~dg.AutomationCondition.in_progress()
).with_label("when its data or code has changed")
"""Run an asset once after its data or code changed, and not before everything above it has settled.

Every stage depends directly on what it reads, so waiting for dependencies that are due themselves is enough for an
asset below a diamond to run once.
"""


@dg.sensor(
    name="raw_folders",
    description="Looks at the raw folders and records when their content has changed; it starts nothing itself.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.STOPPED,
)
def raw_folders(context: dg.SensorEvaluationContext, raw: RawResource) -> dg.SensorResult | dg.SkipReason:
    """Observe the raw folders that have changed; closes killed runs as well."""
    close_dead(context.instance)
    found = observations(context.instance, raw)
    return dg.SensorResult(asset_events=found) if found else dg.SkipReason("no raw folder has changed")


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # sources in a selection are beta in the locked version
    _lanes = dg.AutomationConditionSensorDefinition(
        name="lanes",
        target=dg.AssetSelection.all(include_sources=True),
        description="Makes the assets below changed raw data or changed code, and nothing else.",
        default_status=dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=15,
    )
SENSORS = [raw_folders, _lanes]
