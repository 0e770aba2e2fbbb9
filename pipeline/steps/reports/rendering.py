"""How pages are made: one template with its style, its script and plotly inside, so that they need no network."""

import json
import os
from pathlib import Path
from typing import Any

import plotly.offline
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

HERE = Path(__file__).parent


def _json(value: Any) -> Markup:
    """JSON safe inside a script element."""
    return Markup(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def _prose(text: str) -> Markup:
    """Markdown as HTML; raw HTML in it is shown as text."""
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def _verbatim(name: str) -> Markup:
    return Markup((HERE / name).read_text(encoding="utf-8"))


def render(template: str, **values: Any) -> str:
    """A self-contained page from a template of this folder."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"as_json": _json, "prose": _prose}
    return environment.get_template(template).render(
        css=_verbatim("page.css"),
        script=_verbatim("page.js"),
        plotly=Markup(plotly.offline.get_plotlyjs()),
        **values,
    )


def replace_file(path: Path, text: str) -> None:
    """Write beside the final place, then rename."""
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
