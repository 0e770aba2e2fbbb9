"""Run by torchrun in two processes: a few steps of every method, and a job of `pipeline.processes`."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from models.checkpoint import content_hash
from models.trainer import fit
from pipeline.processes import main
from tests.contract.tiny_methods import RESUME, VARIANTS, images, small

CURVE = "proxyano"  # trained for longer
STEPS = replace(RESUME, steps=2, batch_size=4, move=0.1, tone=0.1, evaluate_every=2)


def losses(variant: str, folder: Path, devices: int) -> dict[str, object]:
    """Figures of every log line of every stage, and the hash of the weights."""
    method, lines, config = small(variant), list[dict[str, float]](), STEPS
    if variant == CURVE:
        config = replace(STEPS, steps=12)
    for stage in method.stages:
        source = images(method, 7)
        common = {"seed": 1, "progress": False, "log": lambda step, figures: lines.append(figures), "devices": devices}
        fit(method, stage.name, source, source, config, folder / variant / stage.name, **common)
    figures = [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]
    return {"figures": figures, "hash": content_hash(method.state_dict())}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = {variant: losses(variant, folder, 2) for variant in VARIANTS}
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(found))
    main(folder / "straight")
