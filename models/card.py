"""The model card's table: each field of a configuration, its value, whether the paper states it, and why."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.method import MethodConfig


def stated(why: str) -> Mapping[str, str]:
    """Metadata of a field whose default the paper states."""
    return MappingProxyType({"paper": "stated", "why": why})


def left_open(why: str) -> Mapping[str, str]:
    """Metadata of a field the paper leaves open."""
    return MappingProxyType({"paper": "left open", "why": why})


def ablation(why: str) -> Mapping[str, str]:
    """Metadata of a field that takes a part of the method away.

    The JSON of a configuration leaves it out while it has its default, which is the method without that field: hashes
    and checkpoints from before there was one stay what they are.
    """
    return MappingProxyType({"paper": "ablation", "why": why, "default": "left out"})


def model_card(config: "MethodConfig") -> str:
    """Markdown table with a row for each field; a value that departs from the default is marked."""
    rows = ["| choice | value | default | paper | why |", "|---|---|---|---|---|"]
    for field in fields(config):
        value = getattr(config, field.name)
        shown = f"`{value}`" if value == field.default else f"**`{value}`**"
        paper, why = field.metadata.get("paper", "left open"), field.metadata.get("why", "")
        rows.append(f"| {field.name} | {shown} | `{field.default}` | {paper} | {why.replace('|', '∣')} |")
    return "\n".join(rows) + "\n"
