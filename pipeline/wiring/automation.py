"""Automation, off until it is switched on in the pages: a sensor on the raw folders, conditions on the lanes."""

import warnings

import dagster as dg

from pipeline.wiring.resources import RawResource, observations
from pipeline.wiring.runs import close_dead

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
    if not found:
        return dg.SkipReason("no raw folder has changed")
    return dg.SensorResult(asset_events=found)


def _lanes() -> dg.AutomationConditionSensorDefinition:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # sources in a selection are beta in the locked version
        everything = dg.AssetSelection.all(include_sources=True)
    return dg.AutomationConditionSensorDefinition(
        name="lanes",
        target=everything,
        description="Makes the assets below changed raw data or changed code, and nothing else.",
        default_status=dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=15,
    )


SENSORS = [raw_folders, _lanes()]
