"""What commands print with: a console that gives pipes whole lines, and errors of one sentence."""

from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape


def console_of(width: int = 200) -> Console:
    """The terminal; for a pipe or a file, lines of up to ``width`` characters."""
    console = Console()
    return console if console.is_terminal else Console(width=width)


def stop(message: object, code: int = 2) -> NoReturn:
    """Print an error on stderr and exit; control characters of names in it are escaped."""
    from pipeline.data.walk import shown  # takes a second, with the readers

    text = "\n".join(map(shown, str(message).splitlines()))
    Console(stderr=True).print(f"[red]{escape(text)}[/]", soft_wrap=True, highlight=False)
    raise typer.Exit(code)
