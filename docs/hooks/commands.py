"""Writes the page of the command line from the command line itself, so that the two cannot differ."""

from typing import Any

import typer
from typer.cli import get_docs_for_click

from pipeline.cli import app

PLACE = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the help of every command where the page asks for it."""
    if PLACE not in markdown:
        return markdown
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="proxyano")
    return markdown.replace(PLACE, text.partition("**Usage**")[1] + text.partition("**Usage**")[2])
