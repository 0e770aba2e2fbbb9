"""``proxyano run``, ``summary`` and ``mlflow``: the main lane, its newest table and its runs."""

import filecmp
import json
import os
import signal
import subprocess
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.wiring.settings import Settings

console = Console()


def run() -> None:
    """Make what is missing or outdated, and print the summary."""
    from pipeline.commands.refresh import refresh

    refresh()
    summary()


def summary() -> None:
    """Print the newest report's summary table."""
    settings = Settings()
    store = settings.store
    report = store.current("evaluation_report")
    console.print(f"Report made at {store.marker(report)['created']}", highlight=False)
    warning = str(report.meta.get("banner", ""))
    if warning:
        console.print(f"[bold red]{escape(warning)}[/]", highlight=False)
    from pipeline.reports.evaluation.tables import summary_table  # takes half a second, after the first lines

    console.print(summary_table(json.loads((report.path / "report.json").read_text()), drawn=bool(warning)))
    kept = report.path / "index.html"
    page = settings.home / "reports" / "evaluation_report" / kept.name  # where people bookmark this home's newest
    same = page.is_file() and filecmp.cmp(page, kept, shallow=False)
    console.print(f"Page: {page if same else kept}", soft_wrap=True)


def pages(
    port: Annotated[int, typer.Option(help="Port of the pages")] = 5000,
    host: Annotated[str, typer.Option(help="Network interface; 0.0.0.0 lets other machines in")] = "127.0.0.1",
    allowed_hosts: Annotated[
        str, typer.Option(help="Comma-separated host names for other machines [default: MLflow's]")
    ] = "",
) -> None:
    """Serve the MLflow pages over the runs of this home; ends on Ctrl-C and SIGTERM with all its processes."""
    from pipeline.wiring.tracking import open_tracker

    settings = Settings()
    for name, page in sorted(open_tracker(settings).pages().items()):  # in a moved home this corrects places, too
        console.print(f"{name}: http://{host}:{port}{page}", soft_wrap=True, highlight=False)
    command = [sys.executable, "-m", "mlflow", "ui", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--allowed-hosts", allowed_hosts] if allowed_hosts else []
    store = dict.fromkeys(("MLFLOW_BACKEND_STORE_URI", "MLFLOW_REGISTRY_STORE_URI"), settings.tracking_uri)
    environment = os.environ | store | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # not as words: `ps` shows those
    server = subprocess.Popen(command, env=environment, start_new_session=True)  # a group, to be ended as one
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(server.pid, signal.SIGTERM))
    try:
        raise typer.Exit(server.wait())
    except KeyboardInterrupt:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        raise
