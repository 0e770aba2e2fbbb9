"""The raw folder of a data set of the user's own: a folder of links, made anew from the description when it is opened.

Everything that reads raw files (listing, hashing, lineage, verification) follows links, so it needs not know that the
files lie elsewhere (decision 16).
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import DatasetUnusable


def link(folder: Path, targets: Mapping[str, Path]) -> Path:
    """Let ``folder`` hold exactly a link for each target (name, with slashes → the user's folder), and return it.

    Raises ``DatasetUnusable`` where a target is no folder. Nothing that a link points to is ever touched.
    """
    for name, target in targets.items():
        if not target.is_dir():
            raise DatasetUnusable(
                f"{folder.name}: {name}: expected a folder of images at {target}, got nothing there; "
                f"bring it back, or change {folder.with_suffix('.yaml')}"
            )
    if _held(folder) == {name: str(target.resolve()) for name, target in targets.items()}:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        fresh = Path(beside, "fresh")
        for name, target in targets.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).symlink_to(target.resolve(), target_is_directory=True)
        if folder.exists():
            folder.rename(Path(beside, "old"))
        fresh.rename(folder)
    return folder


def _held(folder: Path) -> dict[str, str]:
    """Name → target of the links that are there."""
    found = {}
    for above, names, files in os.walk(folder):
        for path in (Path(above, name) for name in [*names, *files]):
            if path.is_symlink() or not path.is_dir():
                found[path.relative_to(folder).as_posix()] = os.readlink(path) if path.is_symlink() else ""
    return found
