"""The summary on the terminal, at most 100 columns wide."""

from rich.markup import escape
from rich.table import Table

from pipeline.evaluation.records import Record
from pipeline.reports.evaluation.verdict import Verdict, judge
from pipeline.reports.kit.paper import PAPER
from pipeline.reports.kit.words import number, title, with_interval


def summary_table(records: list[Record]) -> Table:
    """One row per data set: the primary score, the best null, the best control and the paper.

    Sentences below the table say what the network adds.
    """
    table = Table(title="evaluation_report", title_justify="left", caption_justify="left", caption_style="")
    for name in ("data set", "ProxyAno’s score", "AUROC [95 %]", "without the network", "best control", "paper"):
        narrow = name.startswith("AUROC") or name == "paper"
        right = narrow or name.startswith("without")
        table.add_column(escape(name), justify="right" if right else "left", no_wrap=narrow)
    verdicts = [judge(records, dataset) for dataset in dict.fromkeys(r["dataset"] for r in records)]
    for v in verdicts:
        table.add_row(
            f"{v.dataset} ({v.level})",
            str(v.method["score"]) if v.method else "–",
            escape(with_interval(v.method)),
            number(v.null["value"] if v.null else None),
            _control(v),
            number(PAPER[v.dataset].auroc if v.dataset in PAPER else None),
        )
    said = [escape(f"{v.dataset}: {v.network_sentence}") for v in verdicts if v.network_sentence]
    table.caption = "\n".join(said) or None
    return table


def _control(v: Verdict) -> str:
    """Name and value of the best control, marked where it is ahead of the method."""
    if v.control is None:
        return "–"
    return f"{title(v.control['method'])} {number(v.control['value'])}{' ← ahead' if v.behind else ''}"
