"""A launcher for two processes of `pipeline.processes`, which then also train every method for a few steps.

The first launch trains the job in another folder, too; the second, after a process was lost, only goes on with the job.
"""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from models.checkpoint import content_hash
from models.methods import METHODS
from models.trainer import fit
from pipeline.processes import main
from tests.contract.tiny_methods import RESUME, images, small

CURVE = "proxyano"  # trained for longer
VARIANTS = [*METHODS, "proxyano-image", "memae-nearest"]
STEPS = replace(RESUME, steps=2, batch_size=4, move=0.1, tone=0.1, evaluate_every=2)
RATES = {"f_anogan": 1e-4}
"""The paper's. At 1e-3 its critic turns differences of rounding (1e-7, batches of 2 or 4) into 1e-3 after one step."""


def losses(variant: str, folder: Path, devices: int) -> dict[str, object]:
    """Figures of every log line of every stage, and the hash of the weights."""
    method, lines = small(variant), list[dict[str, float]]()
    rate = RATES.get(variant, STEPS.learning_rate)
    config = replace(STEPS, steps=12 if variant == CURVE else STEPS.steps, learning_rate=rate)
    for stage in method.stages:
        source = images(method, 7)
        common = {"seed": 1, "progress": False, "log": lambda step, figures: lines.append(figures), "devices": devices}
        fit(method, stage.name, source, source, config, folder / variant / stage.name, **common)
    figures = [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]
    return {"figures": figures, "hash": content_hash(method.state_dict())}


if __name__ == "__main__":
    job, rank = Path(sys.argv[-1]), os.environ["RANK"]
    if not (straight := job.with_name(f"straight{rank}")).exists():
        main(Path(shutil.copytree(job, straight)))  # the first process writes the state
        main(job)
        raise RuntimeError("a process should have been lost")
    main(job)
    found = {variant: losses(variant, job.parent, 2) for variant in VARIANTS}
    job.with_name(f"rank{rank}.json").write_text(json.dumps(found))
