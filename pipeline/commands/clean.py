"""``proxyano clean``: remove old versions and leftovers of killed runs; a dry run unless ``--delete`` is given."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipeline.commands.terminal import console_of, stop
from pipeline.errors import ProxyAnoError
from pipeline.store.clean import LOCK_FILES, Plan
from pipeline.store.clean import clean as clean_store
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings


def clean(
    keep: Annotated[int, typer.Option(min=1, help="Versions to keep of each asset, the current one included")] = 2,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this nothing is touched")] = False,
) -> None:
    """List what can be removed from the store: old versions, leftovers of killed runs. Registered models stay whole."""
    from mlflow.exceptions import MlflowException  # MLflow takes seconds to import

    from pipeline.wiring.tracking import open_tracker

    settings = Settings()
    try:
        registered = open_tracker(settings).registered()
        plan = clean_store(Store(settings.stores), keep=keep, registered=registered, delete=delete)
    except (MlflowException, ProxyAnoError) as error:
        stop(f"Nothing more was removed: {error}", code=1)
    _tell(plan, registered=len(registered), deleted=delete)


def _tell(plan: Plan, *, registered: int, deleted: bool) -> None:
    console = console_of()
    for asset, why in plan.skipped.items():
        console.print(f"[yellow]{asset}: left alone, {escape(why)}[/]", highlight=False, soft_wrap=True)
    if registered:
        console.print(f"Registered models refer to {registered} versions; they stay, with all they were made from.")
    if not plan.removals:
        console.print("Nothing to remove.")
        return
    table = Table("asset", "what", "why", title="Removed" if deleted else "Could go")
    table.add_column("size", justify="right")
    locks = [removal for removal in plan.removals if removal.what == LOCK_FILES]
    for removal in (removal for removal in plan.removals if removal.what != LOCK_FILES):
        many = f" ({len(removal.paths)})" if len(removal.paths) > 1 else ""
        table.add_row(removal.asset, removal.what + many, removal.why, size(removal.size))
    if locks:
        what = f"{LOCK_FILES} ({sum(len(removal.paths) for removal in locks)})"
        freed = sum(removal.size for removal in locks)
        table.add_row(f"{len(locks)} assets", what, locks[0].why, size(freed))
    console.print(table)
    console.print(f"{size(plan.size)} in all." + ("" if deleted else " Nothing was touched; --delete removes it."))


def size(count: int) -> str:
    """Bytes in a readable unit."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
