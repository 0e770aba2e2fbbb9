"""Train a method canvas by canvas, one stage or all of them: each canvas has its own network, shared by its slots.

A version holds ``<canvas>/weights.safetensors`` and ``method.json`` (the whole method so far: stage 2 includes the
modules of stage 1), ``<canvas>/history.json`` (validation losses) and ``model_card.md``. All stages of a baseline are
in one version, since nothing else depends on its first stage.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.checkpoint import load_method, read_fingerprint, save_method
from models.method import Method, MethodConfig, model_card
from models.methods import METHODS, build
from models.schedule import TrainConfig
from models.trainer import TrainResult, fit
from pipeline.errors import ConfigError
from pipeline.processes import ONE, Job, Processes, train_in_processes
from pipeline.store.files import write_file
from pipeline.store.shards import open_array
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.loading import read_neutral
from pipeline.tiles.streaming import TrainingData, memory_share

Log = Callable[[int, dict[str, float]], None]


VERSION = "5"
"""Part of the asset's code version; raise it when a code change alters the result."""


@dataclass(frozen=True, kw_only=True)
class CanvasTraining:
    """Network of one canvas and how it is trained."""

    size: tuple[int, int]  # training rows and columns of a tile, px; stored tiles have 256
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

    def first_stage(self) -> "TrainingPlan":
        """Only the first stage, with fields that it does not read at one value: equal plans give equal weights."""
        plan = self._with(self.stages[:1])
        canvases = {name: replace(one, model=one.model.of_first_stage()) for name, one in plan.canvases.items()}
        return replace(plan, canvases=canvases)

    def later_stages(self) -> "TrainingPlan":
        """The plan without its first stage, whose weights are reused."""
        return self._with(self.stages[1:])

    def _with(self, stages: Collection[str]) -> "TrainingPlan":
        canvases = {
            canvas: replace(plan, stages={stage: plan.stages[stage] for stage in stages})
            for canvas, plan in self.canvases.items()
        }
        return replace(self, canvases=canvases)

    def of_stage(self, stage: str) -> dict[str, object]:
        """The part of the plan that a stage depends on: a new budget of stage 2 does not outdate stage 1."""
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
    """Inputs that all trainings of one call share."""

    asset: str  # name under which the result is published
    tiles: Version
    proxies: Version
    plan: TrainingPlan
    seed: int
    code_version: str
    log: Log  # gets a step and named figures, prefixed by the canvas (and by the stage if there are several)
    progress: bool = True
    processes: Processes = ONE

    def key(self, *more: object) -> str:
        """Fingerprint of everything that the weights depend on."""
        return fingerprint(self.tiles.data_version, self.proxies.data_version, *more, self.seed, self.code_version)

    def fit(self, method: Method, stage: str, canvas: str, state: Path, key: str, prefix: str) -> TrainResult:
        """Train one stage of one canvas's network; normal validation tiles select the weights to keep."""
        size, config = self.plan.canvases[canvas].size, self.plan.canvases[canvas].stages[stage]
        common: dict[str, Any] = {"seed": self.seed, "data": key, "title": f"{self.asset} {prefix}"}
        common["progress"] = self.progress
        memory = memory_share(self.processes.memory, self.processes.count)
        about: dict[str, Any] = {"canvas": canvas, "size": size, "memory": memory}
        data, begun = TrainingData(tiles=self.tiles, proxies=self.proxies, **about), read_fingerprint(state)
        window = begun.get("window", 0) if begun else data.window()  # resumed, the order stays as it was

        def log(step: int, figures: dict[str, float]) -> None:
            self.log(step, {f"{prefix}/{name}": value for name, value in figures.items()})

        if not self.processes.several:
            return fit(method, stage, *data.sources(window), config, state, log=log, **common)
        about |= {"tiles": str(self.tiles.path), "proxies": str(self.proxies.path)}
        job = Job(stage=stage, config=config.to_json(), window=window, about=about, **common)
        train_in_processes(job, method, state, self.processes, log)
        common["progress"] = False
        return fit(method, stage, *data.streams(window), config, state, **common)  # finished: it reads no tile

    def start(self, canvas: str) -> Method:
        """The untrained network of a canvas; tiles and canvas set fill value, size and proxy channels."""
        training = self.plan.canvases[canvas]
        values = training.model.to_json()
        values["invalid_fill"] = read_neutral(self.tiles.path) / 255
        if "size" in values:
            values["size"] = list(training.size)
        image, proxy = (open_array(made.path, "pixels").shape[1] for made in (self.tiles, self.proxies))
        if proxy != image and "proxy_channels" in values:
            values["proxy_channels"] = int(proxy)
        return build(self.plan.method, type(training.model).from_json(values), seed=self.seed)


def train_stage(stage: str, previous: Version | None, training: Training, store: Store) -> Version:
    """Train one stage on normal training tiles, stop on normal validation tiles, and publish it.

    ``previous`` is the stage before (None for the first). A killed run resumes from its last checkpoint and ends with
    the same weights.
    """
    asset, plan = training.asset, training.plan
    key = training.key(previous.data_version if previous else "", plan.of_stage(stage))
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        content, hashes, cards = work / "content", dict[str, str](), list[str]()
        for canvas, trained in plan.canvases.items():
            method = training.start(canvas)  # by the plan: the stage before may have had other values of this one's
            if previous:
                _reuse(method, load_method(checkpoint_folder(previous, canvas)), (stage,))
            result = training.fit(method, stage, canvas, work / "state" / canvas, key, canvas)
            weights = save_method(method, content / canvas, stage=stage, extra=_extra(trained, result))
            hashes[canvas] = _version(weights, method)
            cards.append(f"#### Canvas {canvas}\n\n{model_card(method.config)}")
            write_file(content / canvas / "history.json", json.dumps(result.history, indent=1, sort_keys=True).encode())
        write_file(content / "model_card.md", "\n".join(cards).encode())
        meta = {"stage": stage, "seed": training.seed, "canvases": hashes}
        return store.publish(asset, content, fingerprint(hashes), meta)


def train_method(training: Training, store: Store, previous: Version | None = None) -> Version:
    """Train all stages of a method in turn and publish them as one version; resumes like a stage.

    A plan without the method's first stages reuses their weights from ``previous``.
    """
    asset, plan = training.asset, training.plan
    before = [] if previous is None else [previous.data_version]
    key = training.key([plan.of_stage(stage) for stage in plan.stages], *before)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        made = _all_stages(training, previous, work / "content", work / "state", key)
        write_file(work / "content" / "model_card.md", made.card.encode())
        meta = {"method": plan.method, "seed": training.seed, "canvases": made.hashes, "parameters": made.parameters}
        meta["train_minutes"] = round(made.seconds / 60, 3)
        return store.publish(asset, work / "content", fingerprint(made.hashes), meta)


def train_shared(training: Training, store: Store, first: str) -> tuple[Version, ...]:
    """Train a method whose first stage may be shared with others; that stage is stored by its hash under ``first``.

    Returns the versions of the first stage (if there are several stages) and of the whole method, with the weights
    that ``train_method`` would give.
    """
    plan = training.plan
    if len(plan.stages) == 1:
        return (train_method(training, store),)
    extracted = train_method(replace(training, asset=first, plan=plan.first_stage()), store)
    return extracted, train_method(replace(training, plan=plan.later_stages()), store, extracted)


def train_members(trainings: Mapping[str, Training], asset: str, store: Store) -> Version:
    """Train the other methods of the committee in turn: one version with a folder each; resumes like a stage."""
    plans = {name: [one.plan.of_stage(stage) for stage in one.plan.stages] for name, one in trainings.items()}
    key = fingerprint(plans, [one.key() for one in trainings.values()])
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        content, made = work / "content", dict[str, _Made]()
        for name, training in trainings.items():
            made[name] = _all_stages(training, None, content / name, work / "state" / name, key)
        cards = [f"### {name}\n\n{one.card}" for name, one in made.items()]
        write_file(content / "model_card.md", "\n".join(cards).encode())
        hashes = {f"{name}/{canvas}": value for name, one in made.items() for canvas, value in one.hashes.items()}
        meta = {
            "members": {name: training.plan.method for name, training in trainings.items()},
            "seed": next((training.seed for training in trainings.values()), 0),
            "canvases": hashes,
            "parameters": sum(one.parameters for one in made.values()),
            "train_minutes": round(sum(one.seconds for one in made.values()) / 60, 3),
        }
        return store.publish(asset, content, fingerprint(hashes), meta)


@dataclass(frozen=True)
class _Made:
    """Result of training all stages of a method on all canvases."""

    hashes: dict[str, str]  # canvas → hash of weights and configuration
    parameters: int
    seconds: float
    card: str


def _all_stages(training: Training, previous: Version | None, content: Path, state: Path, key: str) -> _Made:
    plan, hashes, cards, parameters, seconds = training.plan, dict[str, str](), list[str](), 0, 0.0
    for canvas, trained in plan.canvases.items():
        method, history = training.start(canvas), dict[str, object]()
        if plan.stages[0] != "stage1":
            if previous is None:
                raise ConfigError(f"{plan.method} begins with {plan.stages[0]}: expected a trained method, got none")
            _reuse(method, load_method(checkpoint_folder(previous, canvas)), plan.stages)
        for stage in plan.stages:
            result = training.fit(method, stage, canvas, state / canvas / stage, key, f"{canvas}/{stage}")
            history[stage], seconds = result.history, seconds + result.seconds
        weights = save_method(method, content / canvas, stage=plan.stages[-1], extra=_extra(trained, result))
        hashes[canvas] = _version(weights, method)
        parameters += sum(parameter.numel() for parameter in method.parameters())
        cards.append(f"#### Canvas {canvas}\n\n{model_card(method.config)}")
        write_file(content / canvas / "history.json", json.dumps(history, indent=1, sort_keys=True).encode())
    return _Made(hashes, parameters, seconds, "\n".join(cards))


def _version(weights: str, method: Method) -> str:
    """Hash of weights and configuration: equal weights with another configuration are another version."""
    return fingerprint(weights, method.config.to_json())


def _extra(trained: CanvasTraining, result: TrainResult) -> dict[str, object]:
    """Entries of a checkpoint about its training: size (h, w) in px, precision of the last stage."""
    window = {"window": result.window} if result.window else {}  # rows shuffled together, where not all were
    return {"size": list(trained.size), "precision": result.precision, **window}


def _reuse(method: Method, trained: Method, stages: tuple[str, ...]) -> None:
    """Copy the weights of all modules that ``stages`` do not train; ``ConfigError`` if ``trained`` lacks one."""
    own = {module for stage in stages for module in method.modules_of(stage)}
    wanted = {name for name in method.state_dict() if name.split(".")[0] not in own}
    held = {name: value for name, value in trained.state_dict().items() if name in wanted}
    if lacking := sorted(wanted - set(held)):
        raise ConfigError(f"{method.name} without its first stages needs {lacking[0]} of the lane's own {trained.name}")
    method.load_state_dict(held, strict=False)


def checkpoint_folder(stage: Version, canvas: str) -> Path:
    """Folder of a canvas's weights in a version; the canvas of a committee member is ``<member>/<canvas>``."""
    return stage.path / canvas
