"""Rank configurations of ProxyAno by synthetic lesions on validation normals; no test image is read.

    PROXYANO_RAW=… python -m benchmarks.synthetic_lesions brain_mri [candidate …]

Tiles and proxies must have been made (`dagster asset materialize --select '*brain_mri/proxies'`). A candidate is the
preset's row changed by words such as "factor=16 steps=500,400"; it is trained like a lane's stages, once, in its own
store under `$PROXYANO_HOME/choice/`, and resumes after a cut. Several copies of each validation normal get lesions; all
are scored by the statistics of the validation normals of other groups. Printed: image AUROC of altered against
untouched copies, share of altered copies that score higher than their own original, and pixel AUROC and AP of the
lesions' masks.
"""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.checkpoint import load_method
from models.metrics import auroc, average_precision
from models.prediction import predict
from models.scoring import Array
from models.source import TensorSource
from pipeline.experiments.preset import Lane
from pipeline.experiments.presets import PRESETS
from pipeline.steps.canonical.form import NO_DATA, SCORED
from pipeline.steps.evaluation import EvaluationConfig
from pipeline.steps.scorers import CanvasImages, canvas_images, residual_parts, score_canvas
from pipeline.steps.store import Store, Version, fingerprint
from pipeline.steps.synthetic import LesionConfig, paste_lesions
from pipeline.steps.training import CanvasTraining, Training, TrainingPlan, checkpoint_folder, train_stage
from pipeline.wiring.settings import Settings

COPIES = 4  # altered copies of each validation normal
LESIONS = {
    "brain_mri": LesionConfig(),
    "oct": LesionConfig(radius=(0.03, 0.12)),
    "idrid": LesionConfig(radius=(0.003, 0.03), strength=(0.04, 0.2), count=(4, 12)),
}


WIDTHS = {2: (24, 64), 4: (24, 48, 64), 8: (24, 48, 64, 64), 16: (24, 48, 64, 64, 64), 32: (24, 48, 64, 64, 64, 64)}
"""Encoder widths by the factor between the image's side and the latent's."""


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
            case "sigma" | "flip" | "similar":
                pass  # of the evaluation, not of the training
            case _:
                known = "factor, memory, revive, steps, makers, on, unet, move, tone, average, sigma, flip or similar"
                raise SystemExit(f"expected {known}, got {name!r} in {words!r}")
    return replace(training, model=model, stages=stages)


def judged(evaluation: EvaluationConfig, words: str) -> EvaluationConfig:
    """The preset's evaluation with ``sigma=0.5`` (Gaussian, px of the training size), ``similar=12`` or ``flip=1``."""
    values = dict(word.partition("=")[::2] for word in words.split())
    changes = {name: kind(values[name]) for name, kind in (("sigma", float), ("similar", int)) if name in values}
    scores = {name: replace(score, **changes) for name, score in evaluation.scores.items()}
    evaluation = replace(evaluation, scores=scores)
    return replace(evaluation, flip_average=bool(int(values.get("flip", evaluation.flip_average))))


def altered_copies(
    normal: CanvasImages, config: LesionConfig, seed: int
) -> tuple[CanvasImages, NDArray[np.bool_], NDArray[np.str_]]:
    """``COPIES`` of every image with lesions (split ``altered``), the lesions' masks and kinds."""
    rng = np.random.default_rng(seed)
    rows = np.tile(np.arange(len(normal.images)), COPIES)
    pasted = [paste_lesions(normal.pixels[row], normal.scored[row], config, rng) for row in rows]
    pixels = np.rint(np.stack([image for image, _, _ in pasted]) * 255) / np.float32(255)
    images = normal.images.iloc[rows].assign(split="altered").reset_index(drop=True)
    masks, kinds = np.stack([mask for _, mask, _ in pasted]), np.array([kind for *_, kind in pasted])
    return CanvasImages(images, pixels.astype(np.float32), None, normal.validity[rows]), masks, kinds


def residuals(stage: Version, images: CanvasImages, canvas: str, size: tuple[int, int], *, flip_average: bool) -> Array:
    """Signed residual (n, H, W) of canvases that are not in a store: cut in tiles, predicted, stitched."""
    tiles, codes = _tiles(images.pixels, size), _tiles(images.validity[:, None], size)[:, 0]
    source = TensorSource.from_arrays(np.rint(tiles * 255).astype(np.uint8), None, codes != NO_DATA, codes == SCORED)
    method = load_method(checkpoint_folder(stage, canvas))
    residual = predict(method, source, batch_size=64).map
    if flip_average:
        residual = (residual + predict(method, source.mirrored(), batch_size=64).map.flip(-1)) / 2
    return _canvas(residual.numpy().mean(axis=1), images.gray.shape)


def _tiles(canvas: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.generic]:
    """(n, C, H, W) → (n · tiles, C, h, w), row by row."""
    n, channels, height, width = canvas.shape
    grid = canvas.reshape(n, channels, height // size[0], size[0], width // size[1], size[1])
    return np.moveaxis(grid, (2, 4), (1, 2)).reshape(-1, channels, *size)


def _canvas(tiles: Array, shape: tuple[int, ...]) -> Array:
    """Inverse of ``_tiles`` for one channel."""
    (n, height, width), (h, w) = shape, tiles.shape[-2:]
    grid = tiles.reshape(n, height // h, width // w, h, w)
    return np.moveaxis(grid, 2, 3).reshape(shape)


def measure(lane: Lane, canvas: str, stage: Version, tiles: Version, lesions: LesionConfig) -> dict[str, float]:
    """The figures of one trained candidate on one canvas."""
    size, score = lane.training.canvases[canvas].size, lane.evaluation.scores[canvas]
    normal = canvas_images(tiles, None, canvas=canvas, splits=["val"], size=size)
    altered, masks, kinds = altered_copies(normal, lesions, seed=0)
    both = CanvasImages(
        pd.concat([normal.images, altered.images], ignore_index=True),
        np.concatenate([normal.pixels, altered.pixels]),
        None,
        np.concatenate([normal.validity, altered.validity]),
    )
    found = residuals(stage, both, canvas, size, flip_average=lane.evaluation.flip_average)
    scored = score_canvas(both, residual_parts(found, both, score), score)
    image, count = scored.image(), len(normal.images)
    own = np.tile(image[:count], COPIES)
    higher = image[count:] > own
    figures = {"image_auroc": auroc(np.arange(len(image)) >= count, image), "raised": float(higher.mean())}
    inside = [row for row in range(len(masks)) if masks[row].any()]
    maps = np.concatenate([scored.map_of(count + row)[altered.scored[row]] for row in inside])
    truth = np.concatenate([masks[row][altered.scored[row]] for row in inside])
    figures |= {"pixel_auroc": auroc(truth, maps), "pixel_ap": average_precision(truth, maps)}
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
    print(f"\n{dataset}, tiles {tiles.data_version}, seed {settings.seed}, {COPIES} altered copies of each\n")
    print(pd.DataFrame(rows).round(4).to_markdown(index=False))


if __name__ == "__main__":
    main()
