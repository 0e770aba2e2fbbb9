"""Hands published versions from asset to asset; the current version changes when Dagster records the output."""

from pathlib import Path

import dagster as dg

from pipeline.errors import NeverMaterialized
from pipeline.store.versions import Store, Version
from pipeline.wiring.failure import one_sentence


class VersionIOManager(dg.ConfigurableIOManager):
    """Outputs and inputs are ``Version`` objects; the arrays themselves stay in the store."""

    root: str

    def handle_output(self, context: dg.OutputContext, obj: Version) -> None:
        """Make the published version the current one."""
        expected = _stored(context)
        if obj.asset != expected:
            raise dg.DagsterInvariantViolationError(f"{expected} handed over a version of {obj.asset}")
        Store(Path(self.root)).point(obj)

    def load_input(self, context: dg.InputContext) -> Version:
        """The current version of the upstream asset; if there is none, one sentence says what to run."""
        try:
            return Store(Path(self.root)).current(_stored(context))
        except NeverMaterialized as error:
            raise one_sentence(str(error)) from None


def _stored(context: dg.OutputContext | dg.InputContext) -> str:
    """The store's name of an asset, or of one of its partitions."""
    asset = context.asset_key.to_user_string()
    return f"{asset}/{context.asset_partition_key}" if context.has_asset_partitions else asset
