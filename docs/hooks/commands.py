"""Writes the page of the command line from the command line itself, so that the two cannot differ."""

from typing import Any

import typer
from typer.cli import get_docs_for_click

from pipeline.cli import app

PLACE = "<!-- commands -->"


def _untruncated(command: Any) -> None:
    """Give every command below this one its whole first line, which lists would cut at 45 characters."""
    for below in getattr(command, "commands", {}).values():
        below.short_help = below.short_help or (below.help or "").partition("\n\n")[0]
        _untruncated(below)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the help of every command where the page asks for it."""
    if PLACE not in markdown:
        return markdown
    command = typer.main.get_command(app)
    _untruncated(command)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="proxyano")
    return markdown.replace(PLACE, text.partition("**Usage**")[1] + text.partition("**Usage**")[2])
