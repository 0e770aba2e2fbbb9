"""``proxyano clean``: remove versions nobody needs and what killed runs left; only says what, unless told to."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.errors import ProxyAnoError
from pipeline.store.clean import LOCK_FILES, Plan
from pipeline.store.clean import clean as clean_store
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings


def clean(
    keep: Annotated[int, typer.Option(min=1, help="Versions to keep of each asset, the current one included")] = 2,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this nothing is touched")] = False,
) -> None:
    """Say what may go from the store: old versions, leftovers of killed runs. What registered models need stays."""
    from mlflow.exceptions import MlflowException  # takes seconds to import, as the tracker does

    from pipeline.wiring.tracking import Tracker

    settings = Settings()
    tracker = Tracker(uri=settings.tracking_uri, page=settings.mlflow_page, artifacts=settings.home / "mlruns")
    try:
        registered = tracker.registered()
        plan = clean_store(Store(settings.stores), keep=keep, registered=registered, delete=delete)
    except (MlflowException, ProxyAnoError) as error:
        Console(stderr=True).print(f"[red]Nothing more was removed: {escape(str(error))}[/]", soft_wrap=True)
        raise typer.Exit(1) from None
    _tell(plan, registered=len(registered), deleted=delete)


def _tell(plan: Plan, *, registered: int, deleted: bool) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    for item in plan.skipped:
        console.print(f"[yellow]{item.asset}: left alone, {escape(item.why)}[/]", highlight=False, soft_wrap=True)
    if registered:
        console.print(f"Registered models refer to {registered} versions; they stay, with all they were made from.")
    if not plan.removals:
        console.print("Nothing to remove.")
        return
    table = Table("asset", "what", "why", title="Removed" if deleted else "Could go")
    table.add_column("size", justify="right")
    locks = [removal for removal in plan.removals if removal.what == LOCK_FILES]
    for removal in plan.removals:
        if removal.what == LOCK_FILES:
            continue
        many = f" ({len(removal.paths)})" if len(removal.paths) > 1 else ""
        table.add_row(removal.asset, removal.what + many, removal.why, size(removal.size))
    if locks:
        files = sum(len(removal.paths) for removal in locks)
        what, freed = f"{LOCK_FILES} ({files})", sum(removal.size for removal in locks)
        table.add_row(f"{len(locks)} assets", what, locks[0].why, size(freed))
    console.print(table)
    ending = "" if deleted else " Nothing was touched; --delete removes it."
    console.print(f"{size(plan.size)} in all.{ending}")


def size(count: int) -> str:
    """Bytes in the unit that suits them."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
