"""Anomaly detection in medical images that learns from normal images alone: train, evaluate, score, compare."""

import gc
import importlib.metadata
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.deferred import Deferred, Group, Places
from pipeline.errors import ConfigError
from pipeline.wiring.settings import Settings

COMMANDS: Places = {
    "run": "main_lane:run",
    "summary": "main_lane:summary",
    "score": "score:score",
    "dataset": Group(
        "Data sets from your own folders of images, without code.",
        {
            "add": "dataset:add",
            "list": "dataset:list_",
            "show": "dataset:show",
            "check": "dataset:check",
            "remove": "dataset:remove",
        },
    ),
    "download": "download:download",
    "refresh": "refresh:refresh",
    "results": "refresh:results",
    "reproduce": "reproduce:reproduce",
    "benchmark": "experiments:benchmark",
    "experiments": Group(
        "The paper's ablations: list them, show what each changes, run them.",
        {
            "list": "experiments:list_",
            "show": "experiments:show",
            "diff": "experiments:diff",
            "run": "experiments:run",
        },
    ),
    "lineage": "lineage:lineage",
    "mlflow": "main_lane:pages",
    "clean": "clean:clean",
    "doctor": "doctor:doctor",
}


class Main(Deferred):
    """All commands of ``proxyano``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(places=COMMANDS, **options)


app = typer.Typer(cls=Main, no_args_is_help=True, add_completion=False, help=__doc__)
NEEDS_NO_INSTANCE = ("doctor", "download")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"proxyano {importlib.metadata.version('proxyano')}")
        raise typer.Exit


@app.callback()
def environment(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Set the variables of ``./activate`` if it was not sourced."""
    if context.invoked_subcommand in NEEDS_NO_INSTANCE:
        return
    settings = Settings()
    if settings.home.exists() and not settings.home.is_dir():
        raise ConfigError(f"PROXYANO_HOME: expected a folder, or a place for a new one, got a file at {settings.home}")
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(settings.home / "dagster")))
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        parts = ["dagster.yaml", "postgres.yaml"] if settings.database else ["dagster.yaml"]
        here = Path(__file__).parent / "wiring"
        (home / "dagster.yaml").write_text("".join((here / part).read_text() for part in parts))


gc.freeze()  # as in pipeline.definitions

if __name__ == "__main__":
    app()
