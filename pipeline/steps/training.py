"""A method trained canvas by canvas, one stage or all of them: a canvas has its own network, its slots share it.

A version holds ``<canvas>/weights.safetensors`` and ``method.json`` (the whole method so far: stage 2 holds
stage 1's modules too), ``<canvas>/history.json`` (validation losses) and ``model_card.md``.
The trained stages of a baseline lie in one version: nothing else stands on its first stage alone.
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
from models.trainer import TrainResult, fit
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

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in the order in which they are trained."""
        return tuple(next(iter(self.canvases.values())).stages)

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


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every training of one call shares."""

    asset: str  # what is published
    tiles: Version
    proxies: Version
    plan: TrainingPlan
    seed: int
    code_version: str
    log: Log  # gets a step and named figures, prefixed by the canvas (and by the stage where there are several)
    progress: bool = True

    def key(self, *more: object) -> str:
        """Fingerprint of all that the weights depend on."""
        return fingerprint(self.tiles.data_version, self.proxies.data_version, *more, self.seed, self.code_version)

    def fit(self, method: Method, stage: str, canvas: str, state: Path, key: str, prefix: str) -> TrainResult:
        """Train one stage of one canvas's network; normal validation tiles choose the weights that are kept."""
        training = self.plan.canvases[canvas]
        return fit(
            method,
            stage,
            _source(self.tiles, self.proxies, "train", canvas, training.size),
            _source(self.tiles, self.proxies, "val", canvas, training.size),
            training.stages[stage],
            state,
            seed=self.seed,
            log=lambda step, figures: self.log(step, {f"{prefix}/{name}": value for name, value in figures.items()}),
            data=key,
            title=f"{self.asset} {prefix}",
            progress=self.progress,
        )

    def start(self, canvas: str) -> Method:
        """The untrained network of a canvas; what the tiles and the canvas decide is put into its configuration."""
        training = self.plan.canvases[canvas]
        values = training.model.to_json()
        if "invalid_fill" in values:
            values["invalid_fill"] = read_neutral(self.tiles.path) / 255
        if "size" in values:
            values["size"] = list(training.size)
        return build(self.plan.method, type(training.model).from_json(values), seed=self.seed)


def train_stage(stage: str, previous: Version | None, training: Training, store: Store) -> Version:
    """Train one stage on normal training tiles, stop on normal validation tiles, publish it.

    ``previous`` is the stage before (None for the first). A killed run goes on from its last checkpoint and ends with
    the very same weights.
    """
    asset, plan = training.asset, training.plan
    key = training.key(previous.data_version if previous else "", plan.of_stage(stage))
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        content, hashes, cards = work / "content", dict[str, str](), list[str]()
        for canvas, trained in plan.canvases.items():
            method = load_method(checkpoint_folder(previous, canvas)) if previous else training.start(canvas)
            result = training.fit(method, stage, canvas, work / "state" / canvas, key, canvas)
            hashes[canvas] = save_method(method, content / canvas, stage=stage, extra={"size": list(trained.size)})
            cards.append(f"#### Canvas {canvas}\n\n{model_card(method.config)}")
            write_file(content / canvas / "history.json", json.dumps(result.history, indent=1).encode())
        write_file(content / "model_card.md", "\n".join(cards).encode())
        meta = {"stage": stage, "seed": training.seed, "canvases": hashes}
        return store.publish(asset, content, fingerprint(hashes), meta)


def train_method(training: Training, store: Store) -> Version:
    """Train all stages of a method, one after the other, and publish them as one version; resumes like a stage."""
    asset, plan = training.asset, training.plan
    key = training.key([plan.of_stage(stage) for stage in plan.stages])
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        content, hashes, cards = work / "content", dict[str, str](), list[str]()
        parameters, seconds = 0, 0.0
        for canvas, trained in plan.canvases.items():
            method, history = training.start(canvas), dict[str, object]()
            for stage in plan.stages:
                state = work / "state" / canvas / stage
                result = training.fit(method, stage, canvas, state, key, f"{canvas}/{stage}")
                history[stage], seconds = result.history, seconds + result.seconds
            extra = {"size": list(trained.size)}
            hashes[canvas] = save_method(method, content / canvas, stage=plan.stages[-1], extra=extra)
            parameters += sum(parameter.numel() for parameter in method.parameters())
            cards.append(f"#### Canvas {canvas}\n\n{model_card(method.config)}")
            write_file(content / canvas / "history.json", json.dumps(history, indent=1).encode())
        write_file(content / "model_card.md", "\n".join(cards).encode())
        meta = {"method": plan.method, "seed": training.seed, "canvases": hashes, "parameters": parameters}
        return store.publish(asset, content, fingerprint(hashes), meta | {"train_minutes": round(seconds / 60, 3)})


def checkpoint_folder(stage: Version, canvas: str) -> Path:
    """Folder of one canvas's weights in a stage's version."""
    return stage.path / canvas


def _source(tiles: Version, proxies: Version, split: str, canvas: str, size: tuple[int, int]) -> TensorSource:
    held = load_tiles(tiles, proxies, splits=[split], canvas=canvas, size=size)
    if held.index["label"].any():
        raise DatasetUnusable(f"{tiles.asset}: split {split} holds abnormal images; training takes normals only")
    return TensorSource.from_arrays(held.pixels, held.proxies, held.validity)
