"""``ablation_report``: the paper's ablations measured again, each of its claims judged, and the proxies shown."""

from collections.abc import Callable, Mapping, Sequence

from pipeline.evaluation.saved import Panel
from pipeline.evaluation.score_name import kind_of
from pipeline.reports.ablations import figures, studies, tables
from pipeline.reports.ablations.experiments import DataSet
from pipeline.reports.ablations.verdict import UNTESTED, Judged, judge, opening
from pipeline.reports.kit.publish import Draft, Part, Report
from pipeline.reports.kit.runs import versions_of
from pipeline.reports.kit.sheets import HEAT, sheets
from pipeline.reports.kit.words import listed
from pipeline.store.versions import Version

ASSET = "ablation_report"
COMPARED: Mapping[str, tuple[str, Sequence[str], Mapping[str, str]]] = {
    "fig_9": (
        f"Fig. 9: reconstruction without a proxy and from each kind of it; {HEAT}",
        ("reconstruction", "map"),
        {
            "enc_dec": "no proxy",
            "proxy_edge": "edge",
            "proxy_smooth": "smooth",
            "proxy_patches": "patches",
            "proxy_edge_smooth": "edge + smooth",
            "proxy_edge_patches": "edge + patches",
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
        meta={"experiments": len(read)},
        build=lambda: ablation_report(every, draw()),
    )


def ablation_report(every: Sequence[DataSet], proxies: Sequence[Panel]) -> Report:
    """The report's content."""
    shown = [Part(id="proxies", title="The proxies", pictures=proxies)] if proxies else []
    return Report(
        title="ablation report",
        first="Ablations",
        opening=opening(every),
        parts=[*(part(data) for data in every), *shown],
        records=[
            {**record, "method": name}
            for data in every
            for name, runs in data.measured.items()
            for run in runs
            for record in run.lane.records
            if kind_of(record["method"]) == "method"
        ],
    )


def part(data: DataSet) -> Part:
    """Verdicts, tables, plots and pictures of one data set."""
    judged = judge(data)
    claims = tables.claims_table(judged)
    return Part(
        id=data.key,
        title=data.title,
        notes=[*_verdicts(data, judged), *studies.sentences(data)],
        tables=[
            *([claims] if claims else []),
            *(tables.printed_table(printed, data) for printed in data.printed),
            *studies.tables(data),
        ],
        plots=list(figures.plots(data)),
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


def _verdicts(data: DataSet, judged: Sequence[Judged]) -> list[str]:
    """The verdict on every tested claim, and what was not tested or not run."""
    said = [one.sentence for one in judged if one.word != UNTESTED]
    if untested := sum(one.word == UNTESTED for one in judged):
        claims = f"{untested} of the paper's {len(judged)} claims were not tested"
        said.append(f"{claims}, because experiments are missing.")
    if lacking := [row.label for name, row in data.rows.items() if name not in data.measured]:
        said.append(f"Not run: {listed(lacking)}.")
    return said
