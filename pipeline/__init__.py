"""How it runs, and what each step does; for images of your own, ``load_detector``."""

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from models.arithmetic import set_environment

if TYPE_CHECKING:
    from pipeline.detectors.frozen.detector import Detector

__all__ = ["load_detector"]

set_environment()  # every process of the project imports this package first, and torch later
if not sys.stderr.isatty():  # a log file gets a line of a progress bar every ten seconds, not ten a second
    os.environ.setdefault("TQDM_MININTERVAL", "10")
gc.set_threshold(50_000, 20, 100)  # importing makes a million lasting objects; Python's 700 takes a quarter of its time


def load_detector(source: str | Path, *, method: str = "", device: str = "auto") -> "Detector":
    """A trained detector: a data set's name for its current one under ``PROXYANO_HOME``, or a detector's folder.

    >>> detector = load_detector("oct")                 # doctest: +SKIP
    >>> image = detector.score("scan.png")              # doctest: +SKIP
    >>> image.score, image.false_alarm_rate, image.decision(), image.heat_map(), image.plot()  # doctest: +SKIP

    It scores by the lane's committee, or by the member that ``method`` names (``detector.names`` lists them).
    An image is a path, a Pillow image or an array, (H, W) or (H, W, 3) RGB; ``proxyano.read_frames`` reads files of
    several images, and the ``pixels`` of a frame that cannot be used are None.
    Raises ``NeverMaterialized`` with the command to run where the data set has no detector yet, ``StoreCorrupt``
    where a folder holds none or its hashes do not match, ``ConfigError`` for an unknown method, ``UnusableImage`` where
    the form refuses an image.
    """
    from pipeline.detectors.frozen.files import read_detector

    folder = Path(source) if isinstance(source, Path) or "/" in source else _current(source)
    found = read_detector(folder, device=device)
    return found.member(method) if method else found


def _current(source: str) -> Path:
    """Folder of a data set's current detector."""
    from pipeline.errors import NeverMaterialized
    from pipeline.wiring.settings import Settings

    store, asset = Settings().store, f"{source}/detector"
    if store.pointed(asset) is None:
        made = ", ".join(sorted(path.parent.name for path in (store.root / "current").glob("*/detector.json")))
        told = f"there is no detector of {source!r} in {store.root} (there: {made or 'none yet'})"
        raise NeverMaterialized(f"{told}; a data set's is made by: proxyano refresh --select '*{asset}'")
    return store.current(asset).path
