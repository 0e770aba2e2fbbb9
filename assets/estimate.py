"""How many minutes a step will take here: noted ones of equal stages, or a short training measured on this machine."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from assets.reproduce import Step
from assets.stage import ABLATIONS, LaneAssets
from models.method import MethodConfig
from models.methods import build
from models.schedule import TrainConfig
from models.source import TensorSource
from models.trainer import fit
from pipeline.evaluation import robustness
from pipeline.store.versions import Store, fingerprint
from pipeline.training import TrainingPlan

NOTED, MEASURED = "noted", "measured"
STEPS = 7  # of a measured training; the first is not counted
FORWARD = 0.35  # time of a batch that is only validated, in steps
UNKNOWN, DRAWN = 1000, 50  # images of a data set, and of one of the sample, before the manifest is made
SECONDS: Mapping[str, float] = {  # an image, of stages that train nothing: a rule of thumb, for want of notes
    "images": 0.02,
    "tiles": 0.06,
    "proxies": 0.02,
    "normals": 0.01,
    "detector": 0.1,
    "evaluation": 0.5,
    "baseline_evaluations": 0.1,
    "ablations": 0.1,
    "robustness": 0.1,  # of a disturbed one
}
_SEED = re.compile(r"-?seed\d+$|-seed\d+")
Trainings = Iterator[tuple[str, TrainingPlan, str]]  # key under which it is made once, plan and stage


@dataclass
class Estimator:
    """Estimates for one plan; every kind of training is measured once."""

    stores: list[Store]  # where equal stages may have been noted
    threads: int
    speeds: dict[str, float] = field(default_factory=dict)  # kind of training → seconds a step
    counted: set[str] = field(default_factory=set)  # trainings that ablations share

    def minutes(self, step: Step) -> tuple[float, str]:
        """Minutes of a step with the start of its process, and what they rest on."""
        total, ground = self.start, NOTED
        for stage in step.outdated:
            name = step.due.name if step.lane.runs(stage) else ""
            noted = self._noted(step, stage, name)
            if noted is None:
                noted, ground = self._measured(step, stage, name), MEASURED
            total += noted
        return total, ground if step.outdated else "nothing outdated"

    @cached_property
    def start(self) -> float:
        """Minutes that a process takes to begin and to end, beside its work: twice the time of importing everything."""
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import pipeline.definitions"], check=False, capture_output=True)
        return 2 * (time.monotonic() - began) / 60

    def _noted(self, step: Step, stage: str, name: str) -> float | None:
        """Minutes of the newest equal stage of any seed, in the home of the step or another."""
        lane = step.lane
        code = _SEED.sub("", lane.code_version(stage, name))
        names = [one for one in (name, *lane.runs(stage)) if _SEED.sub("", one) == _SEED.sub("", name)]
        for store in (step.store, *self.stores):
            for asset in dict.fromkeys(lane.stored(stage, one) for one in names):
                for version in reversed(store.versions(asset)):
                    origin, note = store.provenance(asset, version.data_version), store.noted(version)
                    if origin and note and _SEED.sub("", origin.code_version) == code:
                        return float(note["minutes"])
        return None

    def _measured(self, step: Step, stage: str, name: str) -> float:
        table = self._images(step)
        images = (DRAWN if step.lane.drawn else UNKNOWN) if table is None else len(table)
        if stage == "robustness":
            images = len(robustness.SUBSETS) * min(images, 2 * robustness.MOST)
        seconds = SECONDS.get(stage, 0.0) * images
        normals = 0 if table is None else int(((table["split"] == "val") & (table["label"] == 0)).sum())
        for key, plan, part in _trainings(step.lane, stage, name):
            if key in self.counted:
                continue
            self.counted |= {key} if stage == ABLATIONS else set()
            for canvas in plan.canvases.values():
                config = canvas.stages[part]
                validated = (config.steps // config.evaluate_every) * -(-normals // config.batch_size)
                speed = self._speed(plan.method, part, canvas.model, canvas.size, config)
                seconds += speed * (config.steps + FORWARD * validated)
        return seconds / 60

    def _images(self, step: Step) -> pd.DataFrame | None:
        asset = step.lane.key("images").to_user_string()
        for store in (step.store, *self.stores):
            if store.pointed(asset) is not None:
                return pd.read_parquet(store.current(asset).path / "images.parquet", columns=["split", "label"])
        return None

    def _speed(self, method: str, stage: str, model: MethodConfig, size: tuple[int, int], config: TrainConfig) -> float:
        """Seconds a step; ablations that differ in a weight or a memory are of one kind."""
        kind = fingerprint(method, stage, getattr(model, "widths", 0), size, config.batch_size, config.precision)
        if kind not in self.speeds:
            before = torch.get_num_threads()
            torch.set_num_threads(self.threads)
            self.speeds[kind] = seconds_a_step(method, stage, model, size, config)
            torch.set_num_threads(before)
        return self.speeds[kind]


def seconds_a_step(method: str, stage: str, model: MethodConfig, size: tuple[int, int], config: TrainConfig) -> float:
    """Mean seconds of the steps of a short training on random images, by the product's own trainer."""
    values = model.to_json()
    values |= {"size": list(size)} if "size" in values else {}
    network = build(method, type(model).from_json(values), seed=0)
    shape = (config.batch_size, int(values.get("channels", 1)), *size)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    source = TensorSource.from_arrays(images, images, np.ones((len(images), *size), np.uint8))
    short = replace(config, steps=STEPS, schedule="constant", patience=0, log_every=1)
    short = replace(short, evaluate_every=STEPS, checkpoint_every=STEPS)
    times = list[float]()
    with tempfile.TemporaryDirectory() as folder:
        log = lambda step, figures: times.append(time.perf_counter())  # noqa: E731
        fit(network, stage, source, source, short, Path(folder), seed=0, log=log, progress=False)
    return (times[-1] - times[0]) / (len(times) - 1)


def _trainings(lane: LaneAssets, stage: str, name: str) -> Trainings:
    """What a stage trains."""
    if stage in lane.lane.training.stages:
        yield "", lane.lane.training, stage
    plans = list(lane.lane.members.values()) if stage == "members" else []
    if stage == "baselines":
        plans = [lane.lane.baselines[name].training]
    yield from (("", plan, part) for plan in plans for part in plan.stages)
    if stage == ABLATIONS:
        row = lane.lane.ablations[name]
        before = [lane.dataset.name, row.seed, row.proxies.to_json()]
        first, *later = row.training.stages
        yield fingerprint(before, row.training.first_stage().of_stage(first)), row.training, first
        for part in later:
            yield (
                fingerprint(before, [row.training.of_stage(one) for one in row.training.stages], part),
                row.training,
                part,
            )
