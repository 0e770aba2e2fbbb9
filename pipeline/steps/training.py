"""One stage of a method, trained canvas by canvas: a canvas has its own network, its slots share it.

A stage's version holds ``<canvas>/weights.safetensors`` and ``method.json`` (the whole method so far: stage 2 holds
stage 1's modules too), ``<canvas>/history.json`` (validation losses) and ``model_card.md``.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.card import model_card
from models.checkpoint import load_method, save_method
from models.method import Method, MethodConfig
from models.methods import METHODS, build
from models.schedule import TrainConfig
from models.source import TensorSource
from models.trainer import fit
from pipeline.steps.errors import ConfigError, DatasetUnusable
from pipeline.steps.loading import load_tiles, read_neutral
from pipeline.steps.store import Store, Version, fingerprint, write_file

Log = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class CanvasTraining:
    """How the network of one canvas is made and trained."""

    size: tuple[int, int]  # training rows and columns of a tile, px; tiles themselves stay 256
    model: MethodConfig
    stages: Mapping[str, TrainConfig]  # stage name → budget and optimiser

    def __post_init__(self) -> None:
        if not all(8 <= side <= 256 for side in self.size):
            raise ConfigError(f"CanvasTraining.size: expected sides of 8 to 256 px, got {self.size}")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A method on every canvas of a form."""

    method: str  # key of METHODS
    canvases: Mapping[str, CanvasTraining]

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"TrainingPlan.method is one of {sorted(METHODS)}, got {self.method!r}")

    def of_stage(self, stage: str) -> dict[str, object]:
        """What this stage depends on, so that stage 2's budget leaves stage 1 alone."""
        return {
            canvas: {
                "size": list(plan.size),
                "model": plan.model.to_json(),
                "training": plan.stages[stage].to_json(),
            }
            for canvas, plan in self.canvases.items()
        } | {"method": self.method}


def train_stage(
    stage: str,
    tiles: Version,
    proxies: Version,
    previous: Version | None,
    plan: TrainingPlan,
    store: Store,
    *,
    seed: int,
    code_version: str,
    log: Log,
    progress: bool = True,
) -> Version:
    """Train one stage on normal training tiles, stop on normal validation tiles, publish ``<dataset>/<stage>``.

    ``previous`` is the stage before (None for the first). A killed run goes on from its last checkpoint and ends with
    the very same weights. ``log`` gets a step and named figures, prefixed by the canvas.
    """
    asset = f"{tiles.asset.rpartition('/')[0]}/{stage}"
    before = previous.data_version if previous else ""
    key = fingerprint(tiles.data_version, proxies.data_version, before, plan.of_stage(stage), seed, code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        content, hashes, cards = work / "content", dict[str, str](), list[str]()
        for canvas, training in plan.canvases.items():
            method = _start(plan.method, training.model, previous, canvas, seed, read_neutral(tiles.path))
            result = fit(
                method,
                stage,
                _source(tiles, proxies, "train", canvas, training.size),
                _source(tiles, proxies, "val", canvas, training.size),
                training.stages[stage],
                work / "state" / canvas,
                seed=seed,
                log=_prefixed(log, canvas),
                data=key,
                title=f"{asset} {canvas}",
                progress=progress,
            )
            hashes[canvas] = save_method(method, content / canvas, stage=stage, extra={"size": list(training.size)})
            cards.append(f"#### Canvas {canvas}\n\n{model_card(method.config)}")
            write_file(content / canvas / "history.json", json.dumps(result.history, indent=1).encode())
        write_file(content / "model_card.md", "\n".join(cards).encode())
        return store.publish(asset, content, fingerprint(hashes), {"stage": stage, "seed": seed, "canvases": hashes})


def checkpoint_folder(stage: Version, canvas: str) -> Path:
    """Folder of one canvas's weights in a stage's version."""
    return stage.path / canvas


def _start(method: str, model: MethodConfig, previous: Version | None, canvas: str, seed: int, neutral: int) -> Method:
    if previous is not None:
        return load_method(checkpoint_folder(previous, canvas))
    values = model.to_json()
    if "invalid_fill" in values:
        values["invalid_fill"] = neutral / 255
    return build(method, type(model).from_json(values), seed=seed)


def _source(tiles: Version, proxies: Version, split: str, canvas: str, size: tuple[int, int]) -> TensorSource:
    held = load_tiles(tiles, proxies, splits=[split], canvas=canvas, size=size)
    if held.index["label"].any():
        raise DatasetUnusable(f"{tiles.asset}: split {split} holds abnormal images; training takes normals only")
    return TensorSource.from_arrays(held.pixels, held.proxies, held.validity)


def _prefixed(log: Log, canvas: str) -> Log:
    return lambda step, figures: log(step, {f"{canvas}/{name}": value for name, value in figures.items()})
