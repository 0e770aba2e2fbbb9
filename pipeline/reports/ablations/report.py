"""``ablation_report``: the paper's ablations measured again, each of its claims judged, and the proxies shown."""

from collections.abc import Callable, Mapping, Sequence

from pipeline.evaluation.saved import Panel
from pipeline.evaluation.score_name import kind_of
from pipeline.reports.ablations.claims import claim_record
from pipeline.reports.ablations.experiments import UNTESTED, DataSet, MeanAUROC, judge, opening
from pipeline.reports.ablations.tables import claims_table, printed_table
from pipeline.reports.kit.figures import COLOURS, Estimate, Figure, axis, error_bars, figure, points
from pipeline.reports.kit.paper import PROXIES, Entry, Printed
from pipeline.reports.kit.pictures import HEAT, sheets
from pipeline.reports.kit.publish import Draft, Part, Plot, Report
from pipeline.reports.kit.runs import on_sample, versions_of
from pipeline.reports.kit.words import banner, listed
from pipeline.store.versions import Version

ASSET = "ablation_report"
COMPARED: Mapping[str, tuple[str, Sequence[str], Mapping[str, str]]] = {
    "fig_9": (
        f"Fig. 9: reconstruction without a proxy and from each kind of it; {HEAT}",
        ("reconstruction", "map"),
        {
            "enc_dec": "no proxy",
            **{name: name.removeprefix("proxy_").replace("_", " + ") for name in PROXIES},
            "si": "SI",
        },
    ),
    "fig_10": (
        "Fig. 10: the superpixel image that the Proxy Extraction Module predicts",
        ("proxy",),
        {"si": "without memory", "memory_16": "16 items", "si_mem": "128 items", "memory_2048": "2048 items"},
    ),
    "fig_13": (
        f"Fig. 13: reconstruction by training loss; {HEAT}",
        ("reconstruction", "map"),
        {"si_mem": "no repairing", "local_0": "global only", "global_0": "local only", "si_mem_rep": "global + local"},
    ),
}
"""Figure of the paper → caption, layers of the pictures, and experiments with what is written above them."""
Ours = Sequence[tuple[Entry, MeanAUROC]]


def draft(every: Sequence[DataSet], tiles: Mapping[str, Version], draw: Callable[[], list[Panel]]) -> Draft:
    """The report over all experiments; ``draw`` gives sheets of all proxies (Fig. 8) of the ``tiles`` by data set."""
    runs = [run for data in every for row in data.rows.values() for run in row.runs]
    versions = versions_of(runs)
    changes = {f"{data.key}/{name}": row.change for data in every for name, row in data.rows.items()}
    read = {name: version for name, version in versions.items() if version is not None}
    return Draft(
        asset=ASSET,
        inputs=[*(run.version for run in runs if run.version is not None), *tiles.values()],
        depends=(versions, changes, {title: version.data_version for title, version in tiles.items()}),
        provenance={"versions": read},
        build=lambda: ablation_report(every, draw()),
    )


def ablation_report(every: Sequence[DataSet], proxies: Sequence[Panel]) -> Report:
    """The report's content."""
    shown = [Part(id="proxies", title="The proxies", pictures=proxies)] if proxies else []
    return Report(
        title="ablation report",
        first="Ablations",
        opening=opening(every),
        banner=banner([data.title for data in every if on_sample(data.measured)]),
        parts=[*(part(data) for data in every), *shown],
        records=[
            {**record, "method": name}
            for data in every
            for name, runs in data.measured.items()
            for run in runs
            for record in run.lane.records
            if kind_of(record["method"]) == "method"
        ],
        claims=[
            claim_record(one, data.source, raw=any(run.raw for row in data.rows.values() for run in row.runs))
            for data in every
            for one in judge(data)
        ],
    )


def part(data: DataSet) -> Part:
    """Verdicts, tables, plots and pictures of one data set."""
    judged = judge(data)
    notes = [one.sentence for one in judged if one.word != UNTESTED]
    if untested := sum(one.word == UNTESTED for one in judged):
        claims = f"{untested} of the paper's {len(judged)} claims were not tested"
        notes.append(f"{claims}, because experiments are missing.")
    if lacking := [row.label for name, row in data.rows.items() if name not in data.measured]:
        notes.append(f"Not run: {listed(lacking)}.")
    claims_first = [claims_table(judged)] if judged else []
    return Part(
        id=data.key,
        title=data.title,
        notes=notes,
        tables=[*claims_first, *(printed_table(printed, data) for printed in data.printed)],
        plots=[
            Plot(id=f"{data.key}-{printed.key}", title=printed.title, choices=[figure])
            for printed in data.printed
            if (figure := drawn(printed, data)) is not None
        ],
        pictures=pictures(data),
        pictures_title="The same images through experiments that differ in one thing",
    )


def pictures(data: DataSet) -> list[Panel]:
    """Sheets of ``COMPARED`` for which at least two experiments were run; their first seeds."""
    panels = []
    for key, (text, layers, columns) in COMPARED.items():
        folders = {label: data.measured[name][0].folder for name, label in columns.items() if name in data.measured}
        if len(folders) > 1:
            caption = f"{text}. Test images are chosen by order, not by score"
            panels += sheets(folders, layers, file=f"{data.key}_{key}", title=data.title, text=caption)
    return panels


def drawn(printed: Printed, data: DataSet) -> Figure | None:
    """The figure of one of the paper's tables or figures; None where nothing of it was run."""
    entries = [entry for entry in printed.entries if entry.name in data.rows]
    ours = [(entry, found) for entry in entries if (found := data.auroc(entry.name)) is not None]
    if not ours:
        return None
    return _lines(printed, ours) if printed.axis else _dots(entries, data, ours)


def _dots(entries: Sequence[Entry], data: DataSet, ours: Ours) -> Figure:
    """Our AUROCs with 95 % intervals and the paper's, in the paper's order from the top."""
    names = {entry.name: entry.label or data.rows[entry.name].label for entry in entries}
    values, bars = _estimates(ours)
    here = points("here", values, [names[entry.name] for entry, _ in ours], COLOURS["method"]) | {"error_x": bars}
    known = {names[entry.name]: entry.auc for entry in entries if entry.auc is not None}
    paper = points("paper", [*known.values()], [*known], COLOURS["paper"], symbol="diamond-open")
    rows = {"categoryorder": "array", "categoryarray": list(names.values())[::-1]}
    return figure([here, paper], xaxis=axis("image AUROC", nticks=6), yaxis=rows, plotHeight=60 + 30 * len(entries))


def _lines(printed: Printed, ours: Ours) -> Figure:
    """AUROC against what is varied; experiments without a place on the axis are dashed lines."""
    on_axis = [(entry, found) for entry, found in ours if entry.x is not None]
    values, bars = _estimates(on_axis)
    here = points("here", [entry.x for entry, _ in on_axis], values, COLOURS["method"])
    here |= {"mode": "lines+markers", "error_y": bars}
    known = [entry for entry in printed.entries if entry.auc is not None and entry.x is not None]
    paper = points("paper", [entry.x for entry in known], [entry.auc for entry in known], COLOURS["paper"])
    off_axis = [(entry.label, round(found.value, 4)) for entry, found in ours if entry.x is None]
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1}
    style = {"dash": "dash", "width": 1.5, "color": COLOURS["method"]}
    place = {"xref": "paper", "x": 1, "xanchor": "right", "yanchor": "bottom", "showarrow": False}
    ticks = [entry.x for entry in printed.entries if entry.x is not None]
    return figure(
        [here, paper] if known else [here],
        xaxis=axis(printed.axis, tickvals=ticks, type="log" if all(ticks) else "linear"),
        yaxis=axis("image AUROC"),
        shapes=[{**line, "y0": value, "y1": value, "line": style} for _, value in off_axis],
        annotations=[{**place, "y": value, "text": label} for label, value in off_axis],
    )


def _estimates(ours: Ours) -> tuple[list[float], Figure]:
    """Our AUROCs, and bars over their intervals."""
    estimates: list[Estimate] = [(found.value, found.low, found.high) for _, found in ours]
    return [round(value, 4) for value, *_ in estimates], error_bars(estimates, COLOURS["method"])
