"""Every line of shell in the README and the documents: run here, run by a named test, or held against the real tool.

A new line needs no entry where it can be checked: options and arguments of `proxyano` and `dagster`, targets of make,
modules, files and selections are looked up. A line of another kind fails until `ELSEWHERE` names what covers it.
"""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typer
from dagster._cli import create_dagster_cli

from pipeline.cli import app
from pipeline.definitions import defs
from pipeline.wiring.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```sh\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
OTHERS = {"OMP_NUM_THREADS", "DAGSTER_HOME", "PROXYANO_TEST_RAW"}  # variables that are no settings of the project

RUN = [
    "proxyano refresh --dry-run",
    "proxyano refresh --select '*oct/stage2'",
    "proxyano run",
    "proxyano summary",
    "proxyano benchmark --dry-run",
    "proxyano lineage oct/evaluation",
    "proxyano clean",
]
"""Run here, in one process, on a finished home: they take seconds and change nothing there."""
CURL = (
    "curl -s http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' "
    """-d '{"dataframe_records": [{"image": "$(base64 -w0 scan.png)"}], "params": {"false_alarm_rate": 0.05}}'"""
)
ELSEWHERE = {
    "dagster dev": ("test_dagster_pages.py", "test_a_lane_is_made_by_a_click_and_its_pictures_are_seen"),
    "proxyano mlflow": ("test_shell.py", "test_the_mlflow_pages_are_served"),
    "proxyano refresh": ("test_refresh.py", "test_nothing_is_stale_after_the_whole_lane_nor_after_a_touch"),
    "proxyano lineage evaluation_report --verify": (
        "test_lineage_command.py",
        "test_the_untouched_chain_goes_down_to_the_raw_files_and_matches",
    ),
    "proxyano clean --delete": (
        "test_lineage_command.py",
        "test_clean_says_what_could_go_and_takes_nothing_that_the_report_stands_on",
    ),
    "dagster asset materialize --select '*evaluation_report'": (
        "test_main_lane.py",
        "test_again_gives_the_same_versions_and_opens_no_run",
    ),
    "dagster asset materialize --select evaluation_report": (
        "test_main_lane.py",
        "test_the_report_alone_says_in_one_sentence_what_to_run_first",
    ),
    ". ./activate": ("test_shell.py", "test_activate_sets_what_every_command_needs"),
    "mlflow models serve -m models:/proxyano-oct@champion --env-manager local --port 5001": (
        "test_score.py",
        "test_the_served_model_answers_what_the_command_says",
    ),
    "docker compose -f deploy/compose.yaml up --build": (  # its form alone: there is no Docker where tests run
        "../unit/test_deployment.py",
        "test_the_compose_file_has_the_form_of_the_specification",
    ),
    CURL: ("test_score.py", "test_the_served_model_answers_what_the_command_says"),
}
"""Line → the test that runs it, by its file in this folder and its name."""


@dataclass(frozen=True)
class Line:
    """One simple command, with its variables filled in where a loop gives them."""

    page: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """As a person would write it."""
        return shlex.join(self.words)

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def lines_of(page: Path) -> list[Line]:
    """The commands of a page's shell blocks, each once."""
    found: dict[Line, None] = {}
    for block in FENCE.finditer(page.read_text(encoding="utf-8")):
        for words in commands(block["body"]):
            found[Line(page.relative_to(PROJECT).as_posix(), words)] = None
    return list(found)


def commands(body: str) -> list[tuple[str, ...]]:
    """Simple commands of a script; the variable of a loop stands for its first value."""
    lexer = shlex.shlex(body.replace("\\\n", " ").replace("\n", "\n;\n"), posix=True, punctuation_chars=";&|")
    lexer.whitespace_split, lexer.commenters = True, "#"
    every: list[list[str]] = [[]]
    for word in lexer:
        every.append([]) if word and set(word) <= set(";&|") else every[-1].append(word)
    loops, found = {}, []
    for words in every:
        if words[:1] == ["for"]:
            loops[words[1]] = words[3]
            continue
        kept = words[1:] if words[:1] == ["do"] else words
        for name, value in loops.items():
            kept = [word.replace(f"${name}", value) for word in kept]
        if kept and kept != ["done"]:
            found.append(tuple(kept))
    return found


LINES = [line for page in PAGES for line in lines_of(page)]
OWN = {line.words[3] for line in LINES if line.words[:3] == ("proxyano", "dataset", "add")}


def known_variables(words: list[str]) -> None:
    settings = {str(field.validation_alias) for field in Settings.model_fields.values()} | OTHERS
    assert {word.partition("=")[0] for word in words} <= settings


def a_command_of(group: Any, name: str, words: list[str]) -> list[str]:
    """Sub-command, options and number of arguments as the tool itself reads them; returns the arguments."""
    context, command = None, group
    while hasattr(command, "commands"):
        assert words, f"{name} alone only prints its help"
        assert words[0] in command.commands, f"{name} has no {words[0]!r}, only {sorted(command.commands)}"
        name, command = f"{name} {words[0]}", command.commands[words[0]]
        words = words[1:]
    context = command.context_class(command, info_name=name)
    values, rest, _ = command.make_parser(context).parse_args(list(words))
    assert not rest, f"{name} takes no {rest}"
    needed = [each.name for each in command.params if each.required]
    assert [missing for missing in needed if values.get(missing) in (None, ())] == []
    return [str(value) for value in values.values() if isinstance(value, str)]


def a_dagster_command(words: list[str]) -> None:
    a_command_of(create_dagster_cli(), "dagster", words)
    graph = defs.resolve_asset_graph()
    if any(re.search(rf"\b{name}/", word) for name in OWN for word in words):
        return  # a reader's own data set: no asset of it exists here
    options = dict(pairwise(words))
    keys = dg.AssetSelection.from_coercible(options["--select"].split(",")).resolve(graph)
    assert keys, options["--select"]
    if "--partition" in options:
        for key in keys:
            assert options["--partition"] in graph.get(key).partitions_def.get_partition_keys()


def a_python_line(words: list[str]) -> None:
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]), words[1]
    else:
        assert words[0] == "-c"
        compile(words[1], "a line of the documents", "exec")


def a_target_of_make(words: list[str]) -> None:
    plain = [word for word in words if "=" not in word]
    text = (PROJECT / "Makefile").read_text()
    assert plain
    assert [word for word in plain if not re.search(rf"^{word}:", text, re.MULTILINE)] == []


def files_that_exist(words: list[str]) -> None:
    assert [word for word in words if not word.startswith("-") and not (PROJECT / word).exists()] == []


KINDS = {
    "export": known_variables,
    "proxyano": lambda words: a_command_of(typer.main.get_command(app), "proxyano", words),
    "dagster": a_dagster_command,
    "make": a_target_of_make,
    "python": a_python_line,
    "pytest": files_that_exist,
}


@pytest.mark.parametrize("line", LINES, ids=str)
def test_a_documented_line_is_what_the_tool_takes(line):
    words = list(line.words)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        known_variables([words.pop(0)])
    if line.text in ELSEWHERE:
        return
    assert words[0] in KINDS, f"no way to check {line.text!r}: name the test that runs it in ELSEWHERE"
    KINDS[words[0]](words[1:])


def test_the_tables_name_lines_and_tests_that_exist():
    documented = {line.text for line in LINES}
    assert [line for line in (*RUN, *ELSEWHERE) if shlex.join(shlex.split(line)) not in documented] == []
    for file, name in ELSEWHERE.values():
        assert " " in name or f"def {name}(" in (Path(__file__).parent / file).read_text(), name


@pytest.mark.parametrize(
    "wrong",
    [
        "proxyano refresh --dry",
        "proxyano refreh",
        "proxyano lineage",
        "dagster asset materialize --select oct/nothing",
        "dagster asset materialize --select oct/baselines --partition vea",
        "make tests",
        "python -m benchmarks.quallity",
        "export PROXYANO_RAWW=/path",
        "pytest tests/unit/test_sotre.py",
        "rm -rf /",
    ],
)
def test_a_wrong_line_is_found(wrong):
    with pytest.raises(BaseException):  # noqa: B017, PT011 (the tools' own errors and assertions)
        test_a_documented_line_is_what_the_tool_takes(Line("none", tuple(shlex.split(wrong))))


@pytest.mark.slow
def test_the_cheap_lines_run_on_a_finished_home(undisturbed):
    code = "\n".join(
        [
            "import sys, json, shlex",
            "from pipeline.cli import app",
            "for line in json.loads(sys.argv[1]):",
            "    done = app(shlex.split(line)[1:], standalone_mode=False)",
            "    print(f'<{line}: {done or 0}>', flush=True)",
        ]
    )
    command = [sys.executable, "-c", code, json.dumps(RUN)]
    done = subprocess.run(
        command, cwd=PROJECT, env=undisturbed.environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line for line in RUN if f"<{line}: 0>" not in done.stdout] == []
    assert "nothing to do" in done.stdout
