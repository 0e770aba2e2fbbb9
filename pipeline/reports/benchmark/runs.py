"""The benchmark's runs by data set and method, and what they say; whatever speaks against ProxyAno comes first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from models.metrics import Difference
from pipeline.evaluation.records import Record
from pipeline.evaluation.saved import LaneEvaluation, load_evaluation
from pipeline.evaluation.score_name import kind_of
from pipeline.reports.kit.paper import LEVELS
from pipeline.reports.kit.runs import SURE, Run, corrected, made, on_sample, paired
from pipeline.reports.kit.scores import best
from pipeline.reports.kit.words import listed, number, title
from pipeline.store.versions import Version

OWN = "proxyano"  # the method that all others are compared with


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """All runs on one data set; ``lane``: the main lane's evaluation, with controls and ProxyAno at its own budget."""

    key: str
    title: str
    runs: Sequence[Run]
    lane: LaneEvaluation | None

    @property
    def level(self) -> str:
        """``image``, or ``pixel`` where the paper judges pixels."""
        return LEVELS.get(self.key, "image")

    @property
    def paper(self) -> str:
        """Key of the paper's figures; empty for drawn images, beside which they mean nothing."""
        return "" if on_sample(self.measured) else self.key

    @cached_property
    def measured(self) -> Mapping[str, Sequence[Run]]:
        """Method → its existing runs, the lowest seed first; methods without any are left out."""
        methods = dict.fromkeys(run.method for run in self.runs)
        every = {method: made(run for run in self.runs if run.method == method) for method in methods}
        return {method: runs for method, runs in every.items() if runs}

    @property
    def not_run(self) -> Mapping[str, str]:
        """Method without an existing run → its label."""
        return {run.method: run.label for run in self.runs if run.method not in self.measured}

    @cached_property
    def beside(self) -> list[Record]:
        """Records of controls and shortcuts: the main lane's, or without one those of ProxyAno's first run."""
        if self.lane is not None:
            return self.lane.records
        own = self.measured.get(OWN, ())
        return [record for run in own[:1] for record in run.lane.records if kind_of(record["method"]) != "method"]

    @cached_property
    def differences(self) -> Mapping[str, Difference]:
        """Method → its AUROC minus ProxyAno's at the same seed, p corrected for the number of methods (Holm)."""
        own = {run.seed: run for run in self.measured.get(OWN, ())}
        shared = {m: [run for run in runs if run.seed in own] for m, runs in self.measured.items() if m != OWN}
        return corrected({m: paired(own[runs[0].seed], runs[0], self.level) for m, runs in shared.items() if runs})


def gather(runs: Sequence[Run], lanes: Mapping[str, Version | None]) -> list[DataSet]:
    """Runs by data set, in their order; ``lanes``: data set → the main lane's evaluation, None where there is none."""
    held = {key: load_evaluation(version.path) for key, version in lanes.items() if version is not None}
    return [
        DataSet(key=key, title=name, runs=[run for run in runs if run.dataset == key], lane=held.get(key))
        for key, name in {run.dataset: run.title for run in runs}.items()
    ]


def opening(every: Sequence[DataSet]) -> str:
    """The report's first paragraph: a few sentences on each data set."""
    if not any(data.measured for data in every):
        return "No method has been run yet."
    return " ".join(sentence for data in every for sentence in sentences(data))


def sentences(data: DataSet) -> list[str]:
    """Who beats ProxyAno on a data set, whether a control beats them all, and what was not run."""
    where = f"{data.title}, {data.level} level"
    firsts = [(runs[0], runs[0].value(data.level, "auroc")) for runs in data.measured.values()]
    ranked = sorted(((run, value) for run, value in firsts if value is not None), key=lambda pair: -pair[1])
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


def _standing(data: DataSet, ranked: Sequence[tuple[Run, float]]) -> str:
    """ProxyAno's place among the methods (the best first), and which of them are clearly better or worse."""
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
