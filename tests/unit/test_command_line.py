"""The command line answers without its heavy packages, and a wrong call gets one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli import COMMANDS, app
from pipeline.commands.deferred import Group, _help

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "mlflow", "dagster", "pandas", "skimage")


def commands(group, places, above=()):
    for name, place in places.items():
        if isinstance(place, Group):
            yield from commands(group.commands[name], place.places, (*above, name))
        else:
            yield (*above, name), place, group.commands[name]


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["dataset"], ["experiments"], ["score", "--help"], ["refresh", "--help"]],
    ids=str,
)
def test_help_imports_nothing_heavy(words, tmp_path):
    code = (
        "import sys\nfrom pipeline.cli import app\n"
        f"try: app({words!r})\nexcept SystemExit: pass\n"
        f"print('imported', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=PROJECT, env=home(tmp_path), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported []"


def home(folder):
    return os.environ | {"PROXYANO_HOME": str(folder), "DAGSTER_HOME": str(folder / "dagster")}


def test_every_command_is_found_and_listed_with_its_own_help():
    root = typer.main.get_command(app)
    found = list(commands(root, COMMANDS))
    assert len(found) == 21
    for words, place, command in found:
        assert " ".join(command.help.split()) == " ".join(_help(place).split()), words


def test_raw_files_at_a_place_that_is_not_there_get_one_line(tmp_path, monkeypatch):
    for name, value in (home(tmp_path) | {"PROXYANO_RAW": str(tmp_path / "nope")}).items():
        monkeypatch.setenv(name, value)
    said = CliRunner().invoke(app, ["refresh", "--dry-run"])
    assert said.exit_code == 2
    assert f"PROXYANO_RAW: expected a folder with brain_mri/, oct/ or idrid/, got nothing at {tmp_path}" in said.output


@pytest.mark.parametrize(
    ("variable", "value", "code", "told"),
    [
        ("PROXYANO_SEED", "abc", 2, "PROXYANO_SEED: Input should be a valid integer"),
        (
            "PROXYANO_HOME",
            __file__,
            1,
            f"PROXYANO_HOME: expected a folder, or a place for a new one, got a file at {__file__}",
        ),
    ],
)
def test_settings_that_cannot_be_used_get_one_line(tmp_path, monkeypatch, variable, value, code, told):
    for name, set_to in (home(tmp_path) | {variable: value}).items():
        monkeypatch.setenv(name, set_to)
    for words in (["summary"], ["dataset", "list"], ["refresh", "--dry-run"]):
        said = CliRunner().invoke(app, words)
        assert said.exit_code == code
        (line,) = said.output.splitlines()
        assert line.startswith(told)


def test_a_misspelt_command_and_the_version():
    said = CliRunner().invoke(app, ["summry"])
    assert (said.exit_code, "Did you mean 'summary'?" in said.output) == (2, True)
    said = CliRunner().invoke(app, ["--version"])
    assert said.exit_code == 0
    assert said.output.startswith("proxyano ")


@pytest.mark.parametrize(
    ("selection", "near"), [("*octt/detector", "oct/detector"), ("nosuch", "*evaluation_report"), ("bad(", "*oct")]
)
def test_a_selection_of_nothing_gets_one_line(selection, near, tmp_path, monkeypatch):
    for name, value in home(tmp_path).items():
        monkeypatch.setenv(name, value)
    said = CliRunner().invoke(app, ["refresh", "--dry-run", "--select", selection])
    assert said.exit_code == 2
    line = said.output.splitlines()[-1]
    assert line.startswith(f"--select {selection!r} names no asset. Did you mean ")
    assert near in line
