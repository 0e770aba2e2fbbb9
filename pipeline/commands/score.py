"""``proxyano score``: new images through a trained detector."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from pipeline import load_detector
from pipeline.commands.terminal import stop
from pipeline.errors import ConfigError, ProxyAnoError

USUAL = 0.05
"""Default false-alarm rate. Raised when there are too few normals to estimate it."""
SOME_UNUSABLE = 3
"""Exit code if some files could not be scored; 1 if none could, 2 for a wrong call."""


def score(
    paths: Annotated[list[Path], typer.Argument(help="Images, volumes, or folders of them")],
    dataset: Annotated[str, typer.Option(help="Whose detector: brain_mri, oct, idrid or an own data set")] = "",
    detector: Annotated[Path | None, typer.Option(help="A detector's folder instead of the current one")] = None,
    out: Annotated[Path, typer.Option(help="Folder for tables and overlays")] = Path("scores"),
    rate: Annotated[
        float | None,
        typer.Option(
            "--false-alarm-rate", min=0, max=1, help="Share of normals that may be called abnormal [default: .05]"
        ),
    ] = None,
    formats: Annotated[list[str], typer.Option("--format", help="csv, json, parquet; may be given again")] = ["csv"],  # noqa: B006
    overlays: Annotated[bool, typer.Option(help="A picture of each image with its heat map")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps")] = "auto",
) -> None:
    """Score images: how abnormal, how rare among normal images, where. Exit 3 if some could not be scored."""
    from pipeline.data.read.frames import find_files
    from pipeline.detectors.folder.output import FORMATS, ScoreFolder
    from pipeline.detectors.folder.stream import stream

    try:
        if unknown := sorted(set(formats) - set(FORMATS)):
            raise ConfigError(f"--format: expected some of {', '.join(FORMATS)}, got {', '.join(unknown)}")
        if detector is None and not dataset:
            raise ConfigError("expected --dataset NAME or --detector FOLDER, got neither")
        chosen = load_detector(detector or dataset, device=device)
        asked = max(USUAL, chosen.images.least) if rate is None else rate
        chosen.images.threshold(asked)
        files = list(find_files(paths))
        if not files:
            raise ConfigError(f"no image file in {', '.join(map(str, paths))}; name files or another folder")
        folder = ScoreFolder(out, chosen, asked, overlays=overlays)
    except (ProxyAnoError, FileNotFoundError) as error:
        stop(error)
    begun = {path for path, _ in folder.done}
    left = [path for path in files if str(path) not in begun]
    if begun:
        typer.echo(f"{len(files) - len(left)} of {len(files)} files were scored before the cut; going on", err=True)
    shown = tqdm(total=len(left), desc=f"score {chosen.dataset}", unit="file", file=sys.stderr, disable=not left)
    with shown, folder:
        for scored in stream(chosen, left, ended=lambda path: shown.update(1)):
            folder.add(scored)
            if scored.finding is None:
                shown.write(f"{scored.path}: {scored.reason}", file=sys.stderr)
    made = folder.finish(formats)
    _tell(folder.counts, asked, made)
    unusable = folder.counts.get("unusable", 0)
    if unusable:
        raise typer.Exit(1 if unusable == sum(folder.counts.values()) else SOME_UNUSABLE)


def _tell(counts: dict[str, int], rate: float, made: list[Path]) -> None:
    table = Table("decision", title=f"at a false-alarm rate of {rate:.3g}")
    table.add_column("images", justify="right")
    for decision, count in sorted(counts.items()):
        table.add_row(decision, str(count))
    console = Console()
    console.print(table)
    for path in made:
        console.print(str(path), soft_wrap=True, highlight=False)
