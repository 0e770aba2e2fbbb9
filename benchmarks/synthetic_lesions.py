"""Rank configurations of ProxyAno by synthetic lesions on validation normals; no test image is read.

    PROXYANO_RAW=… python -m benchmarks.synthetic_lesions brain_mri [candidate …]

Tiles and proxies must have been made (`dagster asset materialize --select '*brain_mri/proxies'`). A candidate is the
preset's row changed by words such as "factor=16 steps=500,400"; it is trained like a lane's stages, once, in its own
store under `$PROXYANO_HOME/choice/`, and resumes after a cut. Copies of each validation normal get lesions, one at
half, one at full and one at double strength; all are scored by the statistics of validation normals of other groups.
Printed: image AUROC of altered against untouched copies, share of altered copies that score higher than their own
original, and pixel AUROC and AP of the lesions' masks.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from models.metrics import METRICS, auroc, evaluate
from models.synthetic_anomalies import LesionConfig
from pipeline.detectors.images import BLOCK, enlarge
from pipeline.detectors.network import NetworkDetector
from pipeline.detectors.standardise import CanvasScorer
from pipeline.evaluation.evaluate import EvaluationConfig
from pipeline.evaluation.pasted_lesions import SPLIT, PastedConfig, PlannedCopies
from pipeline.experiments.lane import Lane
from pipeline.experiments.presets import PRESETS
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.loading import tile_blocks
from pipeline.training import CanvasTraining, Training, TrainingPlan, train_stage
from pipeline.wiring.settings import Settings

LESIONS = {
    "brain_mri": LesionConfig(),
    "oct": LesionConfig(radius=(0.03, 0.12)),
    "idrid": LesionConfig(radius=(0.0015, 0.03), strength=(0.04, 0.2), count=(4, 12)),
}
"""IDRiD from microaneurysms on, which measure up to a tenth of a millimetre: the field of view has about 13 mm."""


WIDTHS = {2: (24, 64), 4: (24, 48, 64), 8: (24, 48, 64, 64), 16: (24, 48, 64, 64, 64), 32: (24, 48, 64, 64, 64, 64)}
"""Encoder widths by the factor between the image's side and the latent's."""


SCORES: dict[str, Callable[[str], Any]] = {
    "sigma": float,
    "map_sigma": float,
    "smooth": float,
    "similar": int,
    "severity": float,
    "beside": int,
    "own_mirror": lambda text: bool(int(text)),
    "fine": lambda text: bool(int(text)),
    "lines": lambda text: tuple(int(length) for length in text.split(",") if length),
}
"""Values of the score that a candidate may change, and how they are read."""


def candidate(training: CanvasTraining, words: str) -> CanvasTraining:
    """The preset's row changed by words such as ``factor=16 steps=500,400 makers=mass,noise on=image sigma=0.5``."""
    model, stages = training.model, dict(training.stages)
    for name, _, value in (word.partition("=") for word in words.split()):
        match name:
            case "factor":
                model = replace(model, widths=WIDTHS[int(value)])  # type: ignore[call-arg]
            case "memory":
                model = replace(model, memory_items=int(value))  # type: ignore[call-arg]
            case "steps":
                budgets = (int(steps) for steps in value.split(","))
                stages = {stage: replace(row, steps=n) for (stage, row), n in zip(stages.items(), budgets, strict=True)}
            case "revive":
                model = replace(model, memory_revive_below=float(value))  # type: ignore[call-arg]
            case "makers":
                model = replace(model, makers=tuple(value.split(",")))  # type: ignore[call-arg]
            case "on":
                model = replace(model, patch_on=value)  # type: ignore[call-arg]
            case "unet":
                widths = tuple(int(width) for width in value.split(","))
                model = replace(model, reconstruction_widths=widths, reconstruction_skips=True)  # type: ignore[call-arg]
            case "move" | "tone":
                stages = {stage: replace(row, **{name: float(value)}) for stage, row in stages.items()}
            case "average":
                stages = {stage: replace(row, weight_average=float(value)) for stage, row in stages.items()}
            case name if name in SCORES or name == "flip":
                pass  # of the evaluation, not of the training
            case _:
                known = "factor, memory, revive, steps, makers, on, unet, move, tone, average, flip"
                raise SystemExit(f"expected {known} or one of {', '.join(SCORES)}, got {name!r} in {words!r}")
    return replace(training, model=model, stages=stages)


def judged(evaluation: EvaluationConfig, words: str) -> EvaluationConfig:
    """The evaluation with other values of its scores, such as ``sigma=0.5`` or ``lines=9,17``; or ``flip=1``."""
    values = dict(word.partition("=")[::2] for word in words.split())
    changes = {name: read(values[name]) for name, read in SCORES.items() if name in values}
    scores = {name: replace(score, **changes) for name, score in evaluation.scores.items()}
    evaluation = replace(evaluation, scores=scores)
    return replace(evaluation, flip_average=bool(int(values.get("flip", evaluation.flip_average))))


def measure(lane: Lane, canvas: str, stage: Version, tiles: Version, lesions: LesionConfig) -> dict[str, float]:
    """The figures of one trained candidate on one canvas."""
    score, evaluation = lane.evaluation.scores[canvas], lane.evaluation
    flatten = evaluation.pasted is not None and evaluation.pasted.flatten
    pasted = PlannedCopies(tiles, canvas, PastedConfig(lesions=lesions, flatten=flatten, split="val")).painted
    detector = NetworkDetector.trained(stage, tiles, canvas, score, flip_average=evaluation.flip_average)
    scorer, _ = CanvasScorer.fit(detector, tiles, keep=True)
    normals = tile_blocks(tiles, None, canvas=canvas, splits=("val",), count=BLOCK)
    scored = [scorer.score(block) for block in chain(normals, pasted.tiles.blocks(BLOCK))]
    maps = [one for block in scored for one in block.maps]
    seen = [one for block in scored for one in block.found.images.scored]
    table = pd.concat([block.found.images.images for block in scored], ignore_index=True)
    masks = dict(zip(pasted.table["image_id"], pasted.masks, strict=True))
    image = pd.Series(np.concatenate([block.z for block in scored]), table["image_id"])
    copies = np.flatnonzero(table["split"] == SPLIT)
    names = table["image_id"].iloc[copies]
    higher = pd.Series([image[name] > image[name.rpartition("+")[0]] for name in names], names)
    figures = {"image_auroc": auroc((table["split"] == SPLIT).to_numpy(), image.to_numpy()), "raised": higher.mean()}
    shape = pasted.masks.shape[1:]
    inside = [enlarge(seen[row].astype(np.float32), shape) >= 0.5 for row in copies]
    values = np.concatenate([enlarge(maps[row], shape)[area] for row, area in zip(copies, inside, strict=True)])
    truth = np.concatenate([masks[name][area] for name, area in zip(names, inside, strict=True)])
    figures |= {"pixel_auroc": auroc(truth, values)}
    figures |= {"pixel_ap": evaluate(METRICS["ap"], truth, values)}
    kinds = pasted.table.set_index("image_id")["klass"].str.split().str[-1][names]
    return figures | {f"raised_{kind}": float(higher[kinds == kind].mean()) for kind in lesions.kinds}


def main() -> None:
    """Train and measure the named candidates (``words`` as in ``candidate``; none = the preset's row)."""
    settings, dataset, words = Settings(), sys.argv[1], sys.argv[2:] or [""]
    lane, shared = PRESETS[settings.preset_name].lanes[dataset], Store(settings.stores)
    tiles, proxies = shared.current(f"{dataset}/tiles"), shared.current(f"{dataset}/proxies")
    rows = []
    for text in words:
        plan = TrainingPlan(
            method="proxyano", canvases={name: candidate(row, text) for name, row in lane.training.canvases.items()}
        )
        key = fingerprint(tiles.data_version, proxies.data_version, plan.of_stage("stage1"), plan.of_stage("stage2"))
        store, stage = Store(settings.home / "choice" / key), None
        for name in ("stage1", "stage2"):
            training = Training(
                asset=f"{dataset}/{name}",
                tiles=tiles,
                proxies=proxies,
                plan=plan,
                seed=settings.seed,
                code_version="",
                log=lambda *_: None,
            )
            stage = train_stage(name, stage, training, store)
        assert stage is not None
        for canvas in plan.canvases:
            chosen = replace(lane, training=plan, evaluation=judged(lane.evaluation, text))
            rows.append(
                {"candidate": text or "preset", "canvas": canvas}
                | measure(chosen, canvas, stage, tiles, LESIONS[dataset])
            )
            print(json.dumps(rows[-1]), flush=True)
    print(f"\n{dataset}, tiles {tiles.data_version}, seed {settings.seed}\n")
    print(pd.DataFrame(rows).round(4).to_markdown(index=False))


if __name__ == "__main__":
    main()
