"""What one data set's part of the report holds, before it becomes a page or Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.records import find
from pipeline.evaluation.saved import LaneEvaluation
from pipeline.reports.evaluation.fidelity_table import fidelity
from pipeline.reports.kit import figures, tables
from pipeline.reports.kit.tables import Table
from pipeline.reports.kit.verdict import PAPER, Verdict, headline, level_of, sentences, verdict


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure, or several among which the reader chooses."""

    id: str
    title: str
    choices: Sequence[dict[str, Any]]
    choose: str = ""  # what the choice is about


@dataclass(frozen=True, kw_only=True)
class Section:
    """One data set: verdict, notes, tables, plots, and details folded away."""

    id: str
    title: str
    verdict: Verdict
    headline: Sequence[str]  # its part of the report's first paragraph
    said: Sequence[str]
    notes: Sequence[str]
    tables: Sequence[Table]
    plots: Sequence[Plot]
    details: Sequence[Table]
    links: Mapping[str, str]
    model_card: str
    facts: Sequence[tuple[str, str]]


def _present(*found: Table | None) -> list[Table]:
    return [table for table in found if table is not None]


def _test_images(lane: LaneEvaluation) -> int:
    """Annotated test images: those of the pixel records, else the abnormal rows of the score table."""
    pixel = find(lane.records, level="pixel", metric="auroc", subset="all")
    if pixel:
        return max(int(r["n"]) for r in pixel)
    return int(((lane.scores["split"] == "test") & (lane.scores["label"] == 1)).sum())


def notes(lane: LaneEvaluation) -> list[str]:
    """Notes of the evaluation and those every report on this data set owes its reader."""
    said = [str(note) for note in lane.about("notes")]
    if lane.dataset == "idrid":
        said.insert(
            0,
            "The paper says 69 IDRiD test images, the official set has 81 with lesion masks, "
            f"and here are {_test_images(lane)}.",
        )
    if lane.dataset not in PAPER:
        said.append("The paper has no figure for this data set, so none stands beside its results.")
    said.append(
        "ProxyAno is judged by the score fixed beforehand (standardised); the control named is the best on this test."
    )
    return said


def _plots(lane: LaneEvaluation) -> list[Plot]:
    name = lane.dataset
    plots = [
        Plot(
            id=f"{name}-forest",
            title=f"{level_of(lane.records, name).capitalize()} AUROC with 95 % intervals",
            choices=[figures.forest(lane)],
        )
    ]
    image = figures.image_curves(lane)
    if image:
        plots.append(Plot(id=f"{name}-roc", title="ROC, image level", choices=[image["roc"]]))
        plots.append(Plot(id=f"{name}-pr", title="Precision and recall, image level", choices=[image["pr"]]))
    pixel = figures.pixel_curves(lane)
    if pixel:
        plots.append(Plot(id=f"{name}-pixel-roc", title="ROC, pixels", choices=pixel["roc"], choose="lesion"))
        plots.append(
            Plot(id=f"{name}-pixel-pr", title="Precision and recall, pixels", choices=pixel["pr"], choose="lesion")
        )
    return plots


def _details(lane: LaneEvaluation) -> list[Table]:
    minutes, memory = lane.about("minutes"), lane.about("peak_memory_gib")
    spent = [*((stage, f"{value:.1f} min") for stage, value in minutes.items())]
    if spent:
        spent.append(("together", f"{sum(minutes.values()):.1f} min"))
    if memory is not None:
        spent.append(("peak memory", f"{memory:.2f} GiB"))
    quarantine = [(entry["path"], entry["reason"]) for entry in lane.about("quarantine")]
    note = "" if quarantine else "No file was quarantined."
    return [
        tables.pairs("Quarantined files", ("path", "reason"), quarantine, note),
        tables.pairs("Time and memory", ("stage", "spent"), spent),
        tables.pairs("Data versions", ("asset", "data version"), list(lane.about("versions").items())),
        tables.pairs("Configuration", ("field", "value"), tables.flat(lane.about("config"))),
    ]


def section(lane: LaneEvaluation) -> Section:
    """Everything the report shows of one lane."""
    judged = verdict(lane)
    minutes = lane.about("minutes")
    facts = [("preset", str(lane.about("preset"))), ("seed", str(lane.about("seed")))]
    if minutes:
        facts.append(("minutes", f"{sum(minutes.values()):.1f}"))
    if lane.about("peak_memory_gib") is not None:
        facts.append(("peak memory", f"{lane.about('peak_memory_gib'):.1f} GiB"))
    facts.append(("quarantined", str(len(lane.about("quarantine")))))
    level = judged.level
    other = "image" if level == "pixel" else "pixel"
    return Section(
        id=lane.dataset,
        title=str(lane.about("title")),
        verdict=judged,
        headline=headline(judged),
        said=sentences(judged),
        notes=notes(lane),
        tables=_present(
            tables.results(lane, level),
            fidelity(lane),
            tables.by_subset(lane, level),
            tables.heldout_by_class(lane),
            tables.results(lane, other),
            tables.pasted(lane),
            tables.thresholds(lane),
            tables.counts(lane),
        ),
        plots=_plots(lane),
        details=[table for table in _details(lane) if table.rows or table.note],
        links=dict(lane.about("mlflow")),
        model_card=str(lane.about("model_card")),
        facts=facts,
    )
