"""The summary on the terminal, at most 100 columns wide."""

from rich.markup import escape
from rich.table import Table

from pipeline.evaluation.records import Record
from pipeline.reports.kit.verdict import (
    PAPER,
    best,
    gain_of,
    level_of,
    network_sentence,
    number,
    title,
    with_interval,
)


def summary_table(records: list[Record]) -> Table:
    """One row a data set: the primary score beside the best null, the best control and the paper.

    What the network adds stands below, a sentence a data set.
    """
    table = Table(title="evaluation_report", title_justify="left", caption_justify="left", caption_style="")
    for name in ("data set", "ProxyAno’s score", "AUROC [95 %]", "without the network", "best control", "paper"):
        narrow = name.startswith("AUROC") or name == "paper"
        right = narrow or name.startswith("without")
        table.add_column(escape(name), justify="right" if right else "left", no_wrap=narrow)
    said = []
    for dataset in dict.fromkeys(r["dataset"] for r in records):
        level = level_of(records, dataset)
        method, control, null = (best(records, dataset, level, of) for of in ("method", "control", "null"))
        table.add_row(
            f"{dataset} ({level})",
            str(method["score"]) if method else "–",
            escape(with_interval(method)),
            number(null["value"] if null else None),
            _control(method, control),
            number(PAPER[dataset].auroc if dataset in PAPER else None),
        )
        told = network_sentence(null, gain_of(records, dataset, level, method))
        said += [escape(f"{dataset}: {told}")] if told else []
    table.caption = "\n".join(said) or None
    return table


def _control(method: Record | None, control: Record | None) -> str:
    """Name and value of the best control, marked where it is ahead of the method."""
    if control is None:
        return "–"
    behind = method is not None and method["value"] < control["value"]
    return f"{title(control['method'])} {number(control['value'])}{' ← ahead' if behind else ''}"
