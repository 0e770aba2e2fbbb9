"""The paper's Figs. 9, 10 and 13: the same test images through experiments that differ in one thing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.detectors.scorers import HEAT_RANGE
from pipeline.evaluation.saved import Panel
from pipeline.reports.ablations.experiments import DataSet
from pipeline.reports.kit.sheets import canvases_of, read_gallery, sheet


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A figure of the paper as columns of a sheet."""

    key: str
    text: str
    columns: Mapping[str, str]  # experiment → what stands above it
    layers: Sequence[str]


_HEAT = f"below the score map on one fixed scale, {HEAT_RANGE[0]:g} to {HEAT_RANGE[1]:g} sd of normals"
FIGURES: Sequence[Shown] = (
    Shown(
        key="fig_9",
        text=f"Fig. 9: reconstruction without a proxy and from each kind of it; {_HEAT}",
        columns={
            "enc_dec": "no proxy",
            "proxy_edge": "edge",
            "proxy_smooth": "smooth",
            "proxy_patches": "patches",
            "proxy_edge_smooth": "edge + smooth",
            "proxy_edge_patches": "edge + patches",
            "si": "SI",
        },
        layers=("reconstruction", "map"),
    ),
    Shown(
        key="fig_10",
        text="Fig. 10: the superpixel image that the Proxy Extraction Module predicts",
        columns={"si": "without memory", "memory_16": "16 items", "si_mem": "128 items", "memory_2048": "2048 items"},
        layers=("proxy",),
    ),
    Shown(
        key="fig_13",
        text=f"Fig. 13: reconstruction by training loss; {_HEAT}",
        columns={
            "si_mem": "no repairing",
            "local_0": "global only",
            "global_0": "local only",
            "si_mem_rep": "global + local",
        },
        layers=("reconstruction", "map"),
    ),
)


def sheets(data: DataSet) -> list[Panel]:
    """A picture for each figure and canvas of which two experiments or more were made; their first seeds."""
    panels = []
    for shown in FIGURES:
        made = {name: data.measured[name][0].folder for name in shown.columns if name in data.measured}
        columns = {shown.columns[name]: read_gallery(folder) for name, folder in made.items()}
        if len(columns) < 2:
            continue
        panels += [
            Panel(
                file=f"{data.key}_{shown.key}_{canvas}.png",
                caption=f"{data.title}, {canvas}. {shown.text}. Test images chosen by their order alone",
                png=sheet(columns, canvas, shown.layers),
            )
            for canvas in canvases_of(next(iter(columns.values())))
        ]
    return panels
