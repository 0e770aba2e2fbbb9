"""Groups of commands that import a command's module when it runs: help loads neither torch nor Dagster."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from pipeline.commands.terminal import Commands

Places = Mapping[str, "str | Group"]
"""Name of a command → ``module:function`` in ``pipeline.commands``, or a group."""


@dataclass(frozen=True)
class Group:
    """Commands below one name."""

    help: str
    places: Places


class Deferred(Commands):
    """A group whose commands are imported when they are asked for; its own help reads their docstrings alone."""

    def __init__(self, *, places: Places, **options: Any) -> None:
        super().__init__(**options)
        self.places = places
        self.commands = _Imported(places)  # type: ignore[assignment]  # click reads it as any mapping

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help with the first line of each command's docstring."""
        imported = self.commands
        self.commands = {name: TyperCommand(name, help=_help(place)) for name, place in self.places.items()}
        try:
            super().format_help(ctx, formatter)
        finally:
            self.commands = imported


class _Imported(Mapping[str, Any]):
    """Commands by name, each imported on first use."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def __getitem__(self, name: str) -> Any:
        return _command(name, self._places[name])

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _command(name: str, place: "str | Group") -> Any:
    if isinstance(place, Group):
        return Deferred(name=name, places=place.places, help=place.help, no_args_is_help=True)
    return _imported(name, place)


@cache
def _imported(name: str, place: str) -> Any:
    module, _, function = place.partition(":")
    alone = typer.Typer(add_completion=False)
    alone.command(name)(getattr(import_module(f"{__package__}.{module}"), function))
    return typer.main.get_command(alone)


def _help(place: "str | Group") -> str:
    """Docstring of a command, read from its file without an import."""
    if isinstance(place, Group):
        return place.help
    module, _, function = place.partition(":")
    spec = find_spec(f"{__package__}.{module}")
    assert spec is not None, place
    assert spec.origin is not None, place
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return ast.get_docstring(found) or ""
