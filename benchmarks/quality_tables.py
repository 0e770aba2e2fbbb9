"""Markdown tables over runs: methods as rows, mean ± sd or the value with its interval as cells."""

import pandas as pd

from pipeline.evaluation.records import kind
from pipeline.reports.kit import words
from pipeline.reports.kit.words import number

ORDER = {"committee": 0, "method": 1, "member": 2, "null": 3, "control": 4, "shortcut": 5}


def title(method: str) -> str:
    """Name of a method for a cell of a Markdown table."""
    return words.title(method).replace("|", "\\|")


def spread(rows: pd.DataFrame) -> str:
    """Mean ± sd over runs, or the value with its interval where there is one run."""
    values = rows["value"].astype(float)
    if len(values) == 1:
        low, high = rows["low"].iloc[0], rows["high"].iloc[0]
        interval = "" if pd.isna(low) else f" [{number(low)}, {number(high)}]"
        return number(values.iloc[0]) + interval
    return f"{number(values.mean())} ± {number(values.std(ddof=1))}"


def grid(rows: pd.DataFrame, columns: dict[tuple[str, str], str], subset: str, scores: tuple[str, ...]) -> list[str]:
    """Methods as rows, ordered by the first column within their kind."""
    held = rows[rows["subset"].eq(subset) & rows["score"].isin(scores)]
    first = next(iter(columns))
    means = held[held["level"].eq(first[0]) & held["metric"].eq(first[1])].groupby(["method", "score"])["value"].mean()
    names = sorted(means.index, key=lambda key: (ORDER[kind(key[0])], -means[key]))
    lines = ["| method | kind | " + " | ".join(columns.values()) + " |", "|---|---|" + "--:|" * len(columns)]
    for method, score in names:
        cells = []
        for level, metric in columns:
            own = held[held["method"].eq(method) & held["score"].eq(score)]
            own = own[own["level"].eq(level) & own["metric"].eq(metric)]
            cells.append(spread(own) if len(own) else "–")
        lines.append(f"| {title(method)} | {kind(method)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def by_class(rows: pd.DataFrame, level: str, classes: list[str]) -> list[str]:
    """AUROC of every class, a column each."""
    held = rows[rows["level"].eq(level) & rows["metric"].eq("auroc") & rows["score"].isin(["standardised"])]
    names = sorted(dict.fromkeys(held["method"]), key=lambda name: ORDER[kind(name)])
    lines = ["| method | " + " | ".join(classes) + " |", "|---|" + "--:|" * len(classes)]
    for method in names:
        cells = [held[held["method"].eq(method) & held["subset"].eq(name)] for name in classes]
        lines.append(f"| {title(method)} | " + " | ".join(number(cell["value"].mean()) for cell in cells) + " |")
    return [*lines, ""]
