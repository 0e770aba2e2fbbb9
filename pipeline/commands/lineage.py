"""``proxyano lineage``: from a number in the report, or from a run, to the bytes it came from."""

import json
import re
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from pipeline.commands.terminal import console_of, counted, stop
from pipeline.data.checks import Finding, raw_files
from pipeline.data.checks import verify as verify_chain
from pipeline.errors import ProxyAnoError
from pipeline.store.lineage import Chain, Node, VersionId, chain, named, unknown
from pipeline.store.provenance import RawInput
from pipeline.wiring.settings import Settings

OF = "MLflow run, asset, asset@version, version (or its first 6 digits), `report`, or a report's file or folder"


def lineage(
    of: Annotated[str, typer.Argument(help=OF)],
    verify: Annotated[bool, typer.Option("--verify", help="Hash every version and raw file behind it again")] = False,
    raw: Annotated[Path | None, typer.Option(help="Where the downloads lie now, if they were moved since")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the chain as JSON")] = False,
) -> None:
    """Print what something was made from, down to the raw files; with --verify exit 1 if anything differs."""
    settings = Settings()
    store, console = settings.store, console_of(width=1000)
    try:
        tops = named(store, of)
        if not tops and re.fullmatch(r"[0-9a-f]{32}", of):  # an MLflow run
            from pipeline.wiring.tracking import open_tracker  # MLflow takes seconds to import

            tops = open_tracker(settings).made_by(of)
        if not tops:
            raise LookupError(unknown(store, of))
    except (LookupError, ProxyAnoError) as error:
        stop(error)
    found = chain(store, tops)
    if not as_json:
        console.print(tree(found, of), highlight=False)
    archives = settings.home / "fingerprints" / "archives"
    findings = verify_chain(found, store, moved=raw, home=settings.home, cache=archives) if verify else None
    if as_json:
        checked = {} if findings is None else {"findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(found.as_json() | checked, indent=1))
    elif findings is not None:
        _tell(console, found, findings)
    if findings:
        raise typer.Exit(1)


def tree(found: Chain, of: str) -> Tree:
    """The chain as a tree; a version with several dependents is written out once."""
    written: set[VersionId] = set()
    if len(found.tops) == 1:
        return _branch(found, found.tops[0], written)
    whole = Tree(f"[bold]{escape(of)}[/] made {len(found.tops)} versions")
    for top in sorted(found.tops, key=lambda made: -found.nodes[made].depth):
        whole.add(_branch(found, top, written))
    return whole


def _branch(found: Chain, made: VersionId, written: set[VersionId]) -> Tree:
    node = found.nodes[made]
    head = f"[bold]{node.asset}[/] [cyan]{node.data_version}[/]"
    if made in written:
        return Tree(f"{head} [dim](written out above)[/]")
    written.add(made)
    branch = Tree("\n".join([head, *(f"[dim]{line}[/]" for line in _about(node))]))
    for item in node.inputs:
        branch.add(_branch(found, item, written))
    if node.raw is not None:
        branch.add(_raw(node, node.raw))
    return branch


def _about(node: Node) -> list[str]:
    if node.version is None:
        return [f"[red]{escape(node.problem)}[/]"]
    when = f"made {node.published}" + ("" if node.minutes is None else f" in {node.minutes:.2f} minutes")
    if node.provenance is None:
        return [f"{when}; its provenance was not recorded: materialize it again"]
    commit, changed, _ = node.provenance.git_commit.partition("+")
    dirty = " [yellow]with uncommitted changes[/]" if changed else ""
    preset = f"preset {node.provenance.preset}, seed {node.provenance.seed}"
    return [
        f"{when}; {preset}",
        f"code version {node.provenance.code_version}, git commit {commit}{dirty}",
        f"Dagster run {node.provenance.dagster_run}, MLflow run {node.provenance.mlflow_run}",
    ]


def _raw(node: Node, raw: RawInput) -> Tree:
    """The downloads behind a manifest, counted if the manifest can be read."""
    try:
        counts = f"{raw_files(Chain((), {node.id: node}))} files used, {node.raw_bytes / 1e6:.1f} MB of images"
    except (OSError, ValueError) as error:
        counts = f"[red]the manifest cannot be read: {escape(str(error))}[/]"
    return Tree(f"[bold]raw files[/] [cyan]{raw.fingerprint}[/]\n[dim]{escape(raw.root)}\n{counts}[/]")


def _tell(console: Console, found: Chain, findings: list[Finding]) -> None:
    line = partial(console.print, soft_wrap=True, highlight=False)
    for finding in findings:
        line(f"[red]{escape(finding.what)}[/]\n  where     {escape(finding.where)}")
        line(f"  expected  {escape(finding.expected)}\n  got       [red]{escape(finding.got)}[/]")
    versions = counted(len(found.nodes), "version")
    bad = f"[red]{counted(len(findings), 'finding')}[/] in {versions} and their raw files"
    line(bad if findings else f"[green]all {versions} and {raw_files(found)} raw files match[/]")
