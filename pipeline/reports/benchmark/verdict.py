"""What the benchmark says of each data set; whatever speaks against ProxyAno comes first."""

from collections.abc import Sequence

from pipeline.reports.benchmark.runs import OWN, DataSet
from pipeline.reports.kit.runs import SURE, Run
from pipeline.reports.kit.scores import best
from pipeline.reports.kit.words import listed, number, title


def opening(every: Sequence[DataSet]) -> str:
    """The report's first paragraph: a few sentences on each data set."""
    if not any(data.measured for data in every):
        return "No method has been run yet."
    return " ".join(sentence for data in every for sentence in sentences(data))


def sentences(data: DataSet) -> list[str]:
    """Who beats ProxyAno on a data set, whether a control beats them all, and what was not run."""
    where = f"{data.title}, {data.level} level"
    ranked = _ranking(data)
    if not ranked:
        return [f"{where}: no method has been run."]
    said = [f"{where}: {_standing(data, ranked)}"]
    control = best(data.beside, data.level, "control")
    first, value = ranked[0]
    if control is None:
        said.append("No control was run for comparison, so this says little.")
    elif float(control["value"]) > value:
        said.append(
            f"A simple control beats them all: {title(control['method'])} has {number(control['value'])}, the "
            f"best learned method at this budget ({first.label}) {number(value)}."
        )
    else:
        said.append(f"The best control, {title(control['method'])}, has {number(control['value'])}.")
    if data.not_run:
        said.append(f"Not run: {listed(list(data.not_run.values()))}.")
    return said


def _ranking(data: DataSet) -> list[tuple[Run, float]]:
    """The first run of every method with its AUROC, the best first."""
    firsts = [(runs[0], runs[0].value(data.level, "auroc")) for runs in data.measured.values()]
    return sorted(((run, value) for run, value in firsts if value is not None), key=lambda pair: -pair[1])


def _standing(data: DataSet, ranked: Sequence[tuple[Run, float]]) -> str:
    """ProxyAno's place among the methods, and which of them are clearly better or worse."""
    own = next((value for run, value in ranked if run.method == OWN), None)
    if own is None:
        first, value = ranked[0]
        return f"ProxyAno was not run; the best of the others is {first.label} with AUROC {number(value)}."
    if len(ranked) == 1:
        return f"ProxyAno has AUROC {number(own)}; no other method was run."
    clear = {method for method, found in data.differences.items() if found.p <= SURE}
    above = {run.method: f"{run.label} ({number(value)})" for run, value in ranked if value > own}
    below = [run.method for run, value in ranked if value <= own and run.method != OWN]
    surely = [name for method, name in above.items() if method in clear]
    hardly = [name for method, name in above.items() if method not in clear]
    parts = []
    if surely:
        parts.append(f"{listed(surely)} {'beats' if len(surely) == 1 else 'beat'} it")
    if hardly:
        parts.append(f"{listed(hardly)} {'is' if len(hardly) == 1 else 'are'} above it, but not clearly")
    if below:
        parts.append(f"it clearly beats {len(clear.intersection(below))} of the {len(below)} below it")
    place = f"place {1 + len(above)} of {len(ranked)} methods at one budget of steps"
    return f"ProxyAno has AUROC {number(own)}, {place}: {'; '.join(parts)}."
