"""What the benchmark says, in plain words; the first paragraph names whatever speaks against ProxyAno."""

from collections.abc import Sequence

from pipeline.evaluation.records import Record, find, kind
from pipeline.reports.benchmark.runs import OWN, DataSet, Measured
from pipeline.reports.kit.verdict import listed, number, title

SURE = 0.05
"""Largest corrected p at which two methods count as different."""


def opening(every: Sequence[DataSet]) -> str:
    """The report's first paragraph: a few sentences on each data set."""
    if not any(data.measured for data in every):
        return "No method has been run yet."
    return " ".join(sentence for data in every for sentence in sentences(data))


def sentences(data: DataSet) -> list[str]:
    """Who beats ProxyAno on a data set, whether a control beats them all, and what was not run."""
    where = f"{data.title}, {data.level} level"
    ranked = ranking(data)
    if not ranked:
        return [f"{where}: no method has been run."]
    said = [f"{where}: {_standing(data, ranked)}"]
    control = best_control(data)
    best, value = ranked[0]
    if control is None:
        said.append("No control was run beside them, so this says little.")
    elif float(control["value"]) > value:
        said.append(
            f"A simple control beats them all: {title(control['method'])} has {number(float(control['value']))}, the "
            f"best learned method at this budget ({best.run.label}) {number(value)}."
        )
    else:
        said.append(f"The best control, {title(control['method'])}, has {number(float(control['value']))}.")
    if data.not_run:
        said.append(f"Not run: {listed([run.label for run in data.not_run])}.")
    return said


def ranking(data: DataSet) -> list[tuple[Measured, float]]:
    """The first run of every method with its AUROC, the best first."""
    found = [
        (runs[0], value) for runs in data.measured.values() if (value := runs[0].value(data.level, "auroc")) is not None
    ]
    return sorted(found, key=lambda pair: -pair[1])


def best_control(data: DataSet) -> Record | None:
    """The control with the highest AUROC."""
    rows = find(list(data.beside), level=data.level, metric="auroc", subset="all")
    return max((r for r in rows if kind(r["method"]) == "control"), key=lambda r: float(r["value"]), default=None)


def _standing(data: DataSet, ranked: Sequence[tuple[Measured, float]]) -> str:
    own = next((value for measured, value in ranked if measured.run.method == OWN), None)
    if own is None:
        best, value = ranked[0]
        return f"ProxyAno was not run; the best of the others is {best.run.label} with AUROC {number(value)}."
    if len(ranked) == 1:
        return f"ProxyAno has AUROC {number(own)}; no other method was run beside it."
    place = 1 + sum(value > own for _, value in ranked)
    text = f"ProxyAno has AUROC {number(own)}, place {place} of {len(ranked)} methods at one budget of steps"
    above = [(m, value) for m, value in ranked if value > own]
    surely = [f"{m.run.label} ({number(value)})" for m, value in above if _sure(data, m)]
    hardly = [f"{m.run.label} ({number(value)})" for m, value in above if not _sure(data, m)]
    below = [m for m, value in ranked if value <= own and m.run.method != OWN]
    worse = sum(_sure(data, m) for m in below)
    parts = []
    if surely:
        parts.append(f"{listed(surely)} {'beats' if len(surely) == 1 else 'beat'} it")
    if hardly:
        parts.append(f"{listed(hardly)} {'is' if len(hardly) == 1 else 'are'} above it, but not clearly")
    if below:
        parts.append(f"it clearly beats {worse} of the {len(below)} below it")
    return f"{text}: {'; '.join(parts)}."


def _sure(data: DataSet, measured: Measured) -> bool:
    difference = data.differences.get(measured.run.method)
    return difference is not None and difference.p <= SURE
