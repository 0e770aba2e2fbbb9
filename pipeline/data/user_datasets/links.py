"""The raw folder of a user's data set: a folder of links to the user's folders, rebuilt when it is opened.

Everything that reads raw files (listing, hashing, lineage, verification) follows links, so it need not know that the
files are elsewhere (decision 16).
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import DatasetUnusable


def link(folder: Path, targets: Mapping[str, Path]) -> Path:
    """Make ``folder`` hold exactly one link for each target (name, may contain slashes → folder), and return it.

    Raises ``DatasetUnusable`` where a target is no folder. The targets themselves are never changed.
    """
    for name, target in targets.items():
        if not target.is_dir():
            raise DatasetUnusable(
                f"{folder.name}: {name}: expected a folder of images at {target}, got nothing there; "
                f"bring it back, or change {folder.with_suffix('.yaml')}"
            )
    if _links(folder) == {name: str(target.resolve()) for name, target in targets.items()}:
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


def _links(folder: Path) -> dict[str, str]:
    """Name → target of all links below the folder; a file that is no link has no target."""
    paths = [Path(above, name) for above, folders, files in os.walk(folder) for name in [*folders, *files]]
    links = [path for path in paths if path.is_symlink() or not path.is_dir()]
    return {path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else "" for path in links}
