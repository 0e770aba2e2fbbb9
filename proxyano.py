"""ProxyAno for a user's own code: ``from proxyano import fit_detector, load_detector, read_frames``."""

from typing import TYPE_CHECKING, Any

from pipeline import load_detector
from pipeline.fit import fit_detector

if TYPE_CHECKING:
    from pipeline.data.decode import read_frames

__all__ = ["fit_detector", "load_detector", "read_frames"]


def __getattr__(name: str) -> Any:
    """``read_frames``, and the command line ``app``: imported when they are asked for."""
    if name == "app":
        from pipeline.cli import app

        return app
    if name == "read_frames":
        from pipeline.data.decode import read_frames

        return read_frames
    raise AttributeError(f"proxyano has no {name!r}; it offers {', '.join(__all__)}")
