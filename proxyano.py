"""ProxyAno for a user's own code: ``from proxyano import fit_detector, load_detector``."""

from typing import TYPE_CHECKING

from pipeline import load_detector
from pipeline.fit import fit_detector

if TYPE_CHECKING:
    from typer import Typer

__all__ = ["fit_detector", "load_detector"]


def __getattr__(name: str) -> "Typer":
    """The command line ``app``, imported when it is asked for."""
    if name != "app":
        raise AttributeError(f"proxyano has no {name!r}; it offers {', '.join(__all__)}")
    from pipeline.cli import app

    return app
