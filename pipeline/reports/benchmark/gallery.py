"""The same test images through all methods (the paper's Figs. 6 and 7): one sheet a canvas."""

from pipeline.detectors.scorers import HEAT_RANGE
from pipeline.evaluation.saved import Panel
from pipeline.reports.benchmark.runs import DataSet
from pipeline.reports.kit.sheets import canvases_of, read_gallery, sheet


def sheets(data: DataSet) -> list[Panel]:
    """One picture a canvas: reconstruction above score map for each method."""
    columns = {runs[0].run.label: read_gallery(runs[0].folder) for runs in data.measured.values()}
    return [
        Panel(
            file=f"{data.key}_{canvas}.png",
            caption=(
                f"{data.title}, {canvas}: the same test images through all methods, chosen by their order alone; "
                f"above the reconstruction, below the score map on one fixed scale, {HEAT_RANGE[0]:g} to "
                f"{HEAT_RANGE[1]:g} sd of normals"
            ),
            png=sheet(columns, canvas, ("reconstruction", "map")),
        )
        for canvas in (canvases_of(next(iter(columns.values()))) if columns else ())
    ]
