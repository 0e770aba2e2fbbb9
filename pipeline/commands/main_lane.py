"""``proxyano run``, ``summary`` and ``mlflow``: the main lane, its newest table and its runs."""

import json
import os
import subprocess
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings

console = Console()


def run() -> None:
    """Make what is missing or outdated, and print the summary."""
    from pipeline.commands.refresh import refresh

    refresh()
    summary()


def summary() -> None:
    """Print the newest report's summary table."""
    from pipeline.reports.evaluation.tables import summary_table

    settings = Settings()
    report = Store(settings.stores).current("evaluation_report")
    warning = str(report.meta.get("banner", ""))
    if warning:
        console.print(f"[bold red]{escape(warning)}[/]", highlight=False)
    console.print(summary_table(json.loads((report.path / "report.json").read_text()), drawn=bool(warning)))
    console.print(f"Page: {settings.home / 'reports' / 'evaluation_report' / 'index.html'}", soft_wrap=True)


def pages(port: Annotated[int, typer.Option(help="Port of the pages")] = 5000) -> None:
    """Serve the MLflow pages over the runs of this home."""
    settings = Settings()
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", settings.tracking_uri]
    quick = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    raise typer.Exit(subprocess.run(command, env=os.environ | quick, check=False).returncode)
