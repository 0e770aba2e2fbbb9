"""Render a page with its style, script and plotly inside, so that it needs no network."""

import json
from pathlib import Path
from typing import Any

import plotly.offline
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

TEMPLATES = Path(__file__).parent.parent / "templates"


def _json(value: Any) -> Markup:
    """JSON that is safe inside a script element."""
    return Markup(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def _prose(text: str) -> Markup:
    """Markdown as HTML with headings below the page's h3; raw HTML is shown as text."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + 3)}"
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))


def _verbatim(*names: str) -> Markup:
    return Markup("\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names))


def render(template: str, *more: str, **values: Any) -> str:
    """A self-contained page from a template; ``more`` names styles and scripts besides those of every page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"as_json": _json, "prose": _prose}
    return environment.get_template(template).render(
        css=_verbatim("page.css", *(name for name in more if name.endswith(".css"))),
        script=_verbatim("page.js", *(name for name in more if name.endswith(".js"))),
        plotly=Markup(plotly.offline.get_plotlyjs()),
        **values,
    )
