"""``proxyano score``: score new images with a trained detector."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from tqdm import tqdm

from pipeline import load_detector
from pipeline.commands.terminal import stop
from pipeline.errors import ConfigError, EmptyFrame, NoImage, ProxyAnoError, UnusableImage
from pipeline.wiring.settings import Settings

if TYPE_CHECKING:
    from pipeline.detectors.folder.output import ScoreFolder
    from pipeline.detectors.folder.scoring_on_workers import Cluster
    from pipeline.detectors.frozen.detector import Detector

MOST_ABNORMAL = 10  # images listed on the terminal

SOME_UNUSABLE = 3
"""Exit code if some images could not be scored; 1 if none could, 2 for a wrong call."""


def score(
    paths: Annotated[list[Path], typer.Argument(help="Images, volumes, archives, or folders of them")],
    dataset: Annotated[str, typer.Option(help="Data set of the detector: brain_mri, oct, idrid or your own")] = "",
    detector: Annotated[Path | None, typer.Option(help="A detector's folder instead of the current one")] = None,
    method: Annotated[str, typer.Option(help="Score by one member (proxyano, pca …) instead of the committee")] = "",
    out: Annotated[Path, typer.Option(help="Folder for tables and overlays of this run")] = Path("scores"),
    rate: Annotated[
        float | None,
        typer.Option(
            "--false-alarm-rate",
            min=0,
            max=1,
            help="Share of normals that may be called abnormal [default: .05, or the lowest that can be told]",
        ),
    ] = None,
    formats: Annotated[list[str], typer.Option("--format", help="csv, json or parquet; repeat for several")] = ["csv"],  # noqa: B006
    overlays: Annotated[bool, typer.Option(help="Write each image with its heat as a PNG")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps")] = "auto",
    yes: Annotated[bool, typer.Option("--yes", help="Let a detector of preset sample score other images")] = False,
) -> None:
    """Score images: how abnormal, how rare among normal images, where. Exit code 3 if some could not be scored."""
    from pipeline.data.members import find_inputs
    from pipeline.detectors.folder.output import FORMATS, ScoreFolder
    from pipeline.detectors.folder.stream import stream
    from pipeline.detectors.frozen.calibration import DEFAULT_RATE

    try:
        if unknown := sorted(set(formats) - set(FORMATS)):
            raise ConfigError(f"--format: expected some of {', '.join(FORMATS)}, got {', '.join(unknown)}")
        if detector is None and not dataset:
            raise ConfigError("expected --dataset NAME or --detector FOLDER, got neither")
        chosen = load_detector(detector or dataset, method=method, device=device)
        asked, rate = rate, chosen.images.usable_rate(rate)
        why = ""
        if asked is None:
            why = (
                " (default)"
                if rate == DEFAULT_RATE
                else f", the lowest that {len(chosen.images.normal)} normal images can tell"
            )
        passed = Counter[str]()
        files = list(find_inputs(paths, passed))
        if passed:
            typer.echo(f"passed over: {', '.join(f'{n} {kind}' for kind, n in sorted(passed.items()))}", err=True)
        if not files:
            raise ConfigError(f"no image file in {', '.join(map(str, paths))}; name files or another folder")
        _refuse_sample(chosen, paths, yes=yes)
        if detector is None:
            _tell_unmeasured(chosen)
        folder = ScoreFolder(out, chosen, rate, files, overlays=overlays)
    except (ProxyAnoError, FileNotFoundError) as error:
        stop(error)
    left = folder.left
    if len(left) < len(files):
        typer.echo(f"resuming: {len(files) - len(left)} of {len(files)} files are scored already", err=True)
    bar = tqdm(total=len(left), desc=f"score {chosen.dataset}", unit="file", file=sys.stderr, disable=not left)
    with bar:
        if (cluster := None if detector else _cluster(chosen, device)) is None:
            results = folder.add_all(stream(chosen, left, ended=lambda path: bar.update(1)))
        else:
            from pipeline.detectors.folder.scoring_on_workers import score_on_workers

            results = score_on_workers(cluster, folder, files, ended=bar.update)
        for rows in results:
            for line in rows.told:
                bar.write(line, file=sys.stderr)
    made, counts = folder.finish(formats)
    _tell(folder, counts, why, made)
    if unusable := counts.get(UnusableImage.kind, 0):
        beside = sum(counts.get(kind.kind, 0) for kind in (EmptyFrame, NoImage))  # sound files that show nothing
        raise typer.Exit(1 if unusable + beside == sum(counts.values()) else SOME_UNUSABLE)


def _cluster(detector: "Detector", device: str) -> "Cluster | None":
    """The workers at DASK_SCHEDULER_ADDRESS if they can fetch the detector from a bucket; None: score here."""
    settings = Settings()
    if settings.scheduler is None or not settings.remote:
        return None
    from pipeline.detectors.folder.scoring_on_workers import Cluster
    from pipeline.store.shared import SharedStore

    store = settings.store
    assert isinstance(store, SharedStore)
    version = store.get(f"{detector.dataset}/detector", detector.data_version)
    return Cluster(scheduler_address=settings.scheduler, store=store, version=version, device=device)


def _refuse_sample(detector: "Detector", paths: list[Path], *, yes: bool) -> None:
    """Refuse other images than the sample's to a detector of preset ``sample``, unless ``yes`` or confirmed."""
    sample = Settings().home / "sample"
    if detector.facts.get("preset") != "sample" or all(path.resolve().is_relative_to(sample) for path in paths):
        return
    text = (
        "this detector was made with preset sample, in minutes and for built-in data sets from drawn images: its "
        "scores mean nothing for real images. Make one from real data "
        f"(PROXYANO_PRESET=quick proxyano refresh --select '*{detector.dataset}/detector', with PROXYANO_RAW set)"
    )
    if not (yes or sys.stdin.isatty()):
        raise ConfigError(f"{text}, or score them anyway with --yes")
    Console(stderr=True).print(f"[bold red]warning[/]: {escape(text)}", soft_wrap=True, highlight=False)
    if not yes:
        typer.confirm("Score them anyway?", abort=True, err=True)


def _tell_unmeasured(detector: "Detector") -> None:
    """Say so where the evaluation, and so the report, is of another detector."""
    store, asset = Settings().store, f"{detector.dataset}/evaluation"
    evaluated = store.pointed(asset)
    known = None if evaluated is None else store.provenance(asset, evaluated)
    measured = "" if known is None else known.inputs.get(f"{detector.dataset}/detector", "")
    if measured and measured != detector.data_version:
        told = f"the evaluation is of detector {measured[:12]}, not of this one ({detector.data_version[:12]})"
        typer.echo(f"note: {told}; run: proxyano refresh --select '*{asset}'", err=True)


def _tell(folder: "ScoreFolder", counts: dict[str, int], why: str, made: list[Path]) -> None:
    """Counts by decision, the most abnormal images, and where the tables are."""
    from pipeline.data.walk import shown
    from pipeline.detectors.frozen.calibration import percent

    console, volumes = Console(), folder.volumes
    title = f"{folder.detector.dataset}, {folder.detector.name}, at a false-alarm rate of {folder.rate:.3g}{why}"
    console.print(title, highlight=False)
    table = Table("decision")
    table.add_column("images", justify="right")
    if volumes:
        table.add_column("volumes", justify="right")
    for decision in sorted(counts.keys() | volumes.keys()):
        table.add_row(decision, str(counts.get(decision, "")), *([str(volumes.get(decision, ""))] if volumes else []))
    console.print(table)
    scored = folder.images.dropna(subset="score")
    scored = scored.assign(score=scored["score"].astype(float), inside=scored["in_domain"].astype(bool))
    scored = scored.sort_values(["inside", "score"], ascending=False, kind="stable").head(MOST_ABNORMAL)
    if len(scored):
        most = Table("score", "normals as high", "decision", Column("image", overflow="fold"), title="Most abnormal")
        for row in scored.to_dict("records"):
            name = shown(str(row["path"])) + (f" #{row['frame']}" if int(row["frame"]) else "")
            rarity = percent(float(row["false_alarm_rate"])) if row["in_domain"] else "–"
            most.add_row(f"{row['score']:.2f}", rarity, str(row["decision"]), escape(name))
        console.print(most)
    if folder.overlays and len(scored):
        made = [*made, folder.folder / "overlays"]
    for path in made:
        console.print(escape(shown(str(path))), soft_wrap=True, highlight=False)
