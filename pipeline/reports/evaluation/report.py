"""``evaluation_report``: verdict, tables, plots and pictures of every data set that has an evaluation."""

from collections.abc import Sequence

from pipeline.detectors.standardise import HEAT_RANGE
from pipeline.evaluation.records import find
from pipeline.evaluation.saved import LaneEvaluation, load_evaluation
from pipeline.reports.evaluation import figures, tables
from pipeline.reports.evaluation.explorer import ATLAS_BUDGET, GALLERY_BUDGET, KINDS, atlases, explorer, galleries
from pipeline.reports.evaluation.verdict import Verdict, headline, lead, sentences, verdict
from pipeline.reports.kit.publish import Draft, Part, Report, text_rows
from pipeline.reports.kit.tables import Table, pairs
from pipeline.reports.kit.words import banner, listed, title
from pipeline.store.versions import Version

ASSET = "evaluation_report"


def draft(lanes: Sequence[Version], datasets: Sequence[str]) -> Draft:
    """The report over some evaluations; data sets without one are named as not run."""
    versions = {lane.asset: lane.data_version for lane in lanes}
    missing = [name for name in datasets if f"{name}/evaluation" not in versions]
    return Draft(
        asset=ASSET,
        inputs=lanes,
        depends=(versions, list(datasets)),
        provenance={"evaluations": versions} | ({"not run": ", ".join(missing)} if missing else {}),
        build=lambda: evaluation_report([load_evaluation(lane.path) for lane in lanes]),
    )


def evaluation_report(lanes: Sequence[LaneEvaluation], share: float = 1.0) -> Report:
    """The report's content, its pictures in a ``share`` of their usual budgets of bytes.

    ValueError without a lane or with two lanes of one data set.
    """
    names = [lane.dataset for lane in lanes]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a report needs at least one lane, each data set once; got {names}")
    verdicts = [verdict(lane) for lane in lanes]
    headlines = [headline(one) for one in verdicts]
    small, shown = atlases(lanes, round(share * ATLAS_BUDGET)), galleries(lanes, round(share * GALLERY_BUDGET))
    return Report(
        title="evaluation report",
        first="Summary",
        opening=" ".join([lead(verdicts), *(sentence for said in headlines for sentence in said)]),
        banner=banner([one.title for one in verdicts if one.drawn]),
        parts=[_part(lane, one) for lane, one in zip(lanes, verdicts, strict=True)],
        records=[record for lane in lanes for record in lane.records],
        summary=tables.summary(verdicts),
        template="evaluation.html.j2",
        assets=("explorer.css", "gallery.css", "hover.js", "explorer.js", "images.js", "gallery.js"),
        more={
            "lead": lead(verdicts),
            "headlines": headlines,
            "atlases": small,
            "galleries": shown,
            "kinds": KINDS,
            "heat_range": HEAT_RANGE,
            "explorers": {lane.dataset: explorer(lane, small.get(lane.dataset), shown[lane.dataset]) for lane in lanes},
        },
    )


def _part(lane: LaneEvaluation, judged: Verdict) -> Part:
    level = judged.level
    found = (
        tables.results(lane, level),
        tables.results(lane, "volume"),
        tables.volumes(lane),
        tables.fidelity(lane),
        tables.by_class(lane, level),
        tables.by_class(lane, "image", heldout=True),
        tables.results(lane, "image" if level == "pixel" else "pixel"),
        tables.pasted(lane),
        tables.thresholds(lane),
        tables.counts(lane),
        tables.volume_counts(lane),
    )
    return Part(
        id=lane.dataset,
        title=judged.title,
        badges=judged.badges,
        facts=_facts(lane),
        links=lane.about("mlflow"),
        said=sentences(judged)[len(headline(judged)) :],  # the page opens with the headline
        notes=_notes(lane, judged),
        tables=[table for table in found if table is not None],
        plots=figures.plots(lane),
        details=[table for table in _details(lane) if table.rows or table.note],
        model_card=str(lane.about("model_card")),
    )


def _facts(lane: LaneEvaluation) -> list[tuple[str, str]]:
    minutes, memory = lane.about("minutes"), lane.about("peak_memory_gib")
    facts = [("preset", str(lane.about("preset"))), ("seed", str(lane.about("seed")))]
    facts += [("minutes", f"{sum(minutes.values()):.1f}")] if minutes else []
    facts += [] if memory is None else [("peak memory", f"{memory:.1f} GiB")]
    return [*facts, ("quarantined", str(len(lane.about("quarantine"))))]


def _notes(lane: LaneEvaluation, judged: Verdict) -> list[str]:
    """Notes of the evaluation, and what every report on this data set has to say."""
    notes = [str(note) for note in lane.about("notes")]
    if lane.dataset == "idrid" and not judged.drawn:
        pixel = [int(r["n"]) for r in find(lane.records, level="pixel", metric="auroc", subset="all")]
        tested = max(pixel, default=int(((lane.scores["split"] == "test") & (lane.scores["label"] == 1)).sum()))
        images = "The paper says 69 IDRiD test images, the official set has 81 with lesion masks"
        notes.insert(0, f"{images}, and {tested} were evaluated here.")
    if judged.drawn:
        notes.append("Figures of the paper are left out: the images are drawn.")
    elif judged.paper is None:
        notes.append("The paper reports no result for this data set.")
    if used := lane.about("pretrained"):
        notes.append(f"Pretrained on other images, and no control of the verdict: {listed([*map(title, used)])}.")
    rule = "ProxyAno is judged by the score fixed beforehand (standardised)"
    return [*notes, f"{rule}; the control shown is the best one on this test set."]


def _details(lane: LaneEvaluation) -> list[Table]:
    minutes, memory = lane.about("minutes"), lane.about("peak_memory_gib")
    spent = [(stage, f"{value:.1f} min") for stage, value in minutes.items()]
    spent += [("together", f"{sum(minutes.values()):.1f} min")] if minutes else []
    spent += [] if memory is None else [("peak memory", f"{memory:.2f} GiB")]
    quarantine = [(entry["path"], entry["reason"]) for entry in lane.about("quarantine")]
    return [
        pairs("Quarantined files", ("path", "reason"), quarantine, "" if quarantine else "No file was quarantined."),
        pairs("Files passed over", ("kind", "files"), [(k, str(n)) for k, n in lane.about("passed_over").items()]),
        pairs("Time and memory", ("stage", "spent"), spent),
        pairs("Data versions", ("asset", "data version"), list(lane.about("versions").items())),
        pairs("Configuration", ("field", "value"), text_rows(lane.about("config"))),
    ]
