"""Writes the page of the command line from the command line itself, so that the two cannot differ."""

from typing import Any
from unittest.mock import patch

import typer
from typer.cli import get_docs_for_click
from typer.core import TyperCommand

from pipeline.cli import app

PLACE = "<!-- commands -->"


def _first_paragraph(command: Any, limit: int = 0) -> str:
    """The help of a command in a list, which click would cut at 45 characters."""
    return " ".join((command.short_help or command.help or "").partition("\n\n")[0].split())


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the help of every command where the page asks for it."""
    if PLACE not in markdown:
        return markdown
    command = typer.main.get_command(app)
    base = next(
        kind for kind in TyperCommand.__mro__ if "get_short_help_str" in vars(kind)
    )  # click, or typer's own copy
    with patch.object(base, "get_short_help_str", _first_paragraph):
        text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="proxyano")
    return markdown.replace(PLACE, text.partition("**Usage**")[1] + text.partition("**Usage**")[2])
