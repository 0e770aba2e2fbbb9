"""What ``proxyano dataset add`` guesses: classes by the names of folders, and the split by what the first files say."""

from itertools import islice
from pathlib import Path

from pipeline.data.raw import RawFolder
from pipeline.data.slices import opened
from pipeline.data.user_datasets.dataset import Own
from pipeline.data.user_datasets.description import LABEL
from pipeline.data.walk import left_out
from pipeline.errors import ConfigError, UnusableImage

NORMAL = ("normal", "normals", "healthy", "good", "no", "negative", "control", "controls")
MASKS = ("mask", "masks", "label", "labels", "seg", "segmentation", "segmentations", "ground_truth")
TRIED = 3  # files of a class that are looked at


def guess_folders(above: Path) -> tuple[Path, dict[str, Path], list[str]]:
    """Folder of normals, class → folder of all others, and names that look like masks, which are left out.

    Raises ``ConfigError`` unless one folder is named like normals and another like a class.
    """
    if not above.is_dir():
        raise ConfigError(f"FOLDER: expected a folder, got {above}")
    found = {path.name: path for path in sorted(above.iterdir()) if path.is_dir() and not left_out(path.name, "")}
    normal = [path for name, path in found.items() if name.lower() in NORMAL]
    masks = [name for name in found if name.lower() in MASKS]
    classes = {name: path for name, path in found.items() if path not in normal and name not in masks}
    wrong = [name for name in classes if not LABEL.fullmatch(name)]
    if len(normal) != 1 or not classes or wrong:
        wanted = f"expected one folder named {', '.join(NORMAL[:-1])} or {NORMAL[-1]}, and one for each class"
        got = f"got {', '.join(found) or 'none'} in {above}"
        raise ConfigError(f"FOLDER: {wanted}, {got}; or name them by --normal and --abnormal")
    return normal[0], {"abnormal" if len(classes) == 1 else name: path for name, path in classes.items()}, masks


def holds_volumes(own: Own, raw: RawFolder) -> bool:
    """Whether one of the first files of a class holds several slices, or tells a patient or series."""
    candidates = own.row.scan(raw)
    for klass in own.row.classes:
        for item in [item for item in candidates if item.klass == klass][:TRIED]:
            try:
                with opened(raw, item.path) as (_, frames):
                    first = list(islice(frames, 2))
            except UnusableImage:
                continue  # the quarantine names it
            if len(first) > 1 or any(frame.origin.subject for frame in first):
                return True
    return False
