"""What other machines have made in a shared store, told to Dagster's instance here, so that nothing is made twice."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from pipeline.store.versions import Store


def adopt(definitions: dg.Definitions, instance: dg.DagsterInstance, store: Store, keys: Sequence[dg.AssetKey]) -> None:
    """Report the current version of each asset that Dagster does not know, with the provenance of the store.

    Whether it is up to date is Dagster's to say, by the same rules as for what was made here.
    """
    graph = definitions.resolve_asset_graph()
    for key in keys:
        asset = key.to_user_string()
        current = store.pointed(asset)
        made = None if current is None else store.provenance(asset, current)
        if current is None or made is None:
            continue
        inputs = {dg.AssetKey(name.split("/")): version for name, version in made.inputs.items()}
        if made.raw is not None:
            inputs[dg.AssetKey([made.raw.dataset, "download"])] = made.raw.fingerprint
        parents = graph.get(key).parent_keys
        tags = {DATA_VERSION_TAG: current, CODE_VERSION_TAG: made.code_version}
        tags |= {get_input_data_version_tag(each): inputs[each] for each in parents & inputs.keys()}
        event = instance.get_latest_materialization_event(key)
        known = (event.asset_materialization.tags if event and event.asset_materialization else None) or {}
        if tags.items() <= known.items():
            continue
        for parent in parents - inputs.keys():  # a dependency in order only, which no version is loaded of
            tags[get_input_data_version_tag(parent)] = store.pointed(parent.to_user_string()) or ""
        tags |= {get_input_event_pointer_tag(parent): NULL_EVENT_POINTER for parent in parents}
        told = f"made on another machine: git commit {made.git_commit}, Dagster run {made.dagster_run}"
        instance.report_runless_asset_event(dg.AssetMaterialization(key, description=told, tags=tags))
