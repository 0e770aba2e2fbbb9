"""``proxyano …``: the main lane, its summary and the MLflow pages, without a Dagster server."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, cast

import dagster as dg
import typer
from rich.console import Console

from pipeline.steps.reports.tables import summary_table
from pipeline.wiring.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console()


def report_folder(settings: Settings) -> Path:
    """Where ``evaluation_report`` stands."""
    return settings.home / "reports" / "evaluation_report"


@app.command()
def run(
    select: Annotated[str, typer.Option(help="Dagster asset selection to materialize")] = "*evaluation_report",
) -> None:
    """Materialize the main lane (or a selection) and print the summary."""
    settings = Settings()
    _environment(settings)
    started = time.monotonic()
    console.rule(f"ProxyAno · preset {settings.preset_name} · raw {settings.raw_root}")
    logging.getLogger("dagster").setLevel(logging.WARNING)
    from pipeline.definitions import defs  # reads the environment that was just completed

    with dg.DagsterInstance.get() as instance:
        result = dg.materialize(
            cast(list[dg.AssetsDefinition | dg.AssetSpec | dg.SourceAsset], list(defs.assets or [])),
            resources=dict(defs.resources or {}),
            instance=instance,
            selection=select,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        )
    minutes = (time.monotonic() - started) / 60
    if not result.success:
        console.print(f"[red]Failed after {minutes:.1f} minutes.[/] What was made stays; the same command goes on.")
        raise typer.Exit(1)
    summary()
    console.print(f"{minutes:.1f} minutes. Page: {report_folder(settings) / 'index.html'}")


@app.command()
def summary() -> None:
    """Print the newest report's summary table."""
    path = report_folder(Settings()) / "report.json"
    if not path.is_file():
        console.print(f"No report at {path}; run: dagster asset materialize --select '*evaluation_report'")
        raise typer.Exit(1)
    console.print(summary_table(json.loads(path.read_text())))


@app.command(name="mlflow")
def pages(port: Annotated[int, typer.Option(help="Port of the pages")] = 5000) -> None:
    """Serve the MLflow pages over the runs of this home."""
    settings = Settings()
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", settings.tracking_uri]
    quick = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    raise typer.Exit(subprocess.run(command, env=os.environ | quick, check=False).returncode)


def _environment(settings: Settings) -> None:
    """What ``./activate`` sets, for a shell where it was not sourced."""
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(settings.home / "dagster")))
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text((Path(__file__).parent / "wiring" / "dagster.yaml").read_text())


if __name__ == "__main__":
    app()
