"""``proxyano …``: the main lane, its summary and the MLflow pages, without a Dagster server."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.commands import dataset, experiments
from pipeline.commands.clean import clean
from pipeline.commands.doctor import doctor
from pipeline.commands.download import download
from pipeline.commands.experiments import benchmark
from pipeline.commands.lineage import lineage
from pipeline.commands.refresh import refresh, results
from pipeline.commands.score import score
from pipeline.commands.terminal import Commands
from pipeline.reports.evaluation.tables import summary_table
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings

app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, help=__doc__)
console = Console()


@app.callback()
def environment(context: typer.Context) -> None:
    """Set the variables of ``./activate`` if it was not sourced."""
    if context.invoked_subcommand in (doctor.__name__, download.__name__):  # they need no instance
        return
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(Settings().home / "dagster")))
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text((Path(__file__).parent / "wiring" / "dagster.yaml").read_text())


@app.command()
def run() -> None:
    """Make what is missing or outdated, and print the summary."""
    settings = Settings()
    console.rule(f"ProxyAno · preset {settings.preset_name} · raw {settings.raw_root}")
    refresh()
    summary()


@app.command()
def summary() -> None:
    """Print the newest report's summary table."""
    settings = Settings()
    report = Store(settings.stores).current("evaluation_report")
    console.print(summary_table(json.loads((report.path / "report.json").read_text())))
    console.print(f"Page: {settings.home / 'reports' / 'evaluation_report' / 'index.html'}", soft_wrap=True)


@app.command(name="mlflow")
def pages(port: Annotated[int, typer.Option(help="Port of the pages")] = 5000) -> None:
    """Serve the MLflow pages over the runs of this home."""
    settings = Settings()
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", settings.tracking_uri]
    quick = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    raise typer.Exit(subprocess.run(command, env=os.environ | quick, check=False).returncode)


app.add_typer(dataset.app, name="dataset")
app.add_typer(experiments.app, name="experiments")
for command in (refresh, score, benchmark, results, lineage, clean, download, doctor):
    app.command()(command)
gc.freeze()  # as in pipeline.definitions

if __name__ == "__main__":
    app()
