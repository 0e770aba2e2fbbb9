"""Metadata of configuration fields: whether the paper states the value, why it has it, and its range.

The model card is made of it.
"""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def stated(why: str, **limits: Any) -> Mapping[str, Any]:
    """Metadata of a field whose default the paper states; for `limits` see `check`."""
    return MappingProxyType({"paper": "stated", "why": why, **limits})


def left_open(why: str, **limits: Any) -> Mapping[str, Any]:
    """Metadata of a field that the paper leaves open; for `limits` see `check`."""
    return MappingProxyType({"paper": "left open", "why": why, **limits})


def ablation(why: str, **limits: Any) -> Mapping[str, Any]:
    """Metadata of a field that removes a part of the method; for `limits` see `check`."""
    return MappingProxyType({"paper": "ablation", "why": why, **limits})


def check(config: "DataclassInstance") -> None:
    """ValueError where a field breaks its limits: `least` and `most` of every number in it, `choices` of its word."""
    for field in fields(config):
        value, limits = getattr(config, field.name), field.metadata
        numbers = value if isinstance(value, tuple) else (value,)
        name = f"{type(config).__name__}.{field.name}"
        if "least" in limits and not (numbers and min(numbers) >= limits["least"]):
            raise ValueError(f"{name} is at least {limits['least']}, got {value}")
        if "most" in limits and not max(numbers) <= limits["most"]:
            raise ValueError(f"{name} is at most {limits['most']}, got {value}")
        if "choices" in limits and value not in limits["choices"]:
            raise ValueError(f"{name} is one of {', '.join(limits['choices'])}, got {value!r}")


def model_card(config: "DataclassInstance") -> str:
    """Markdown table with a row for each field; a value that differs from the default is bold."""
    rows = ["| choice | value | default | paper | why |", "|---|---|---|---|---|"]
    for field in fields(config):
        value = getattr(config, field.name)
        shown = f"`{value}`" if value == field.default else f"**`{value}`**"
        paper, why = field.metadata["paper"], field.metadata["why"].replace("|", "∣")
        rows.append(f"| {field.name} | {shown} | `{field.default}` | {paper} | {why} |")
    return "\n".join(rows) + "\n"
