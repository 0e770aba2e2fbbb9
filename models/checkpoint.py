"""Trained methods and resumable trainings on disk, without pickles: safetensors with JSON in the header.

A trained method is a folder of `weights.safetensors` and `method.json` (name, configuration, stage, content hash).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.optim import Adam

from models.method import Method
from models.methods import METHODS, build

_HEADER = "proxyano"
_WEIGHTS = "weights.safetensors"
_METHOD = "method.json"
FORMAT = 2
STATE_FILE = "training_state.safetensors"


def save_method(method: Method, folder: Path, *, stage: str, extra: Mapping[str, Any] | None = None) -> str:
    """Write the whole method after a stage, `method.json` last: if it exists, the weights are complete. The hash."""
    version = content_hash(method.state_dict())
    write_tensors(folder / _WEIGHTS, method.state_dict(), {"format": FORMAT})
    described = {
        "format": FORMAT,
        "method": method.name,
        "config": method.config.to_json(),
        "stage": method.stage(stage).name,
        "weights": version,
        "extra": dict(extra or {}),
    }
    write_bytes(folder / _METHOD, (json.dumps(described, indent=2, sort_keys=True) + "\n").encode())
    return version


def read_description(folder: Path) -> dict[str, Any]:
    """The content of `method.json`; FileNotFoundError if the folder holds no complete checkpoint."""
    path = folder / _METHOD
    if not path.is_file():
        raise FileNotFoundError(f"no complete checkpoint in {folder}: {_METHOD} is missing; train the stage first")
    described: dict[str, Any] = json.loads(path.read_text())
    if described.get("format") != FORMAT:
        raise ValueError(f"{path} has format {described.get('format')}, this code reads format {FORMAT}: train again")
    return described


def load_method(folder: Path, changes: Mapping[str, Any] | None = None) -> Method:
    """The method in eval mode on the CPU, its hash checked; `changes` to its configuration: one of its `variants`."""
    described = read_description(folder)
    name = described["method"]
    if name not in METHODS:
        raise ValueError(f"{folder} holds method {name!r}; this code has {', '.join(sorted(METHODS))}")
    config = METHODS[name].config_type.from_json(described["config"] | dict(changes or {}))
    method = build(name, config, seed=0)
    tensors, _ = read_tensors(folder / _WEIGHTS)
    found = content_hash(tensors)
    if found != described["weights"]:
        raise ValueError(f"weights in {folder} have hash {found}, expected {described['weights']}: restore or retrain")
    own = {key: tuple(value.shape) for key, value in method.state_dict().items()}
    odd = sorted(key for key in own.keys() | tensors.keys() if own.get(key) != _shape(tensors.get(key)))
    if odd:
        example = f"{odd[0]}: expected {own.get(odd[0])}, got {_shape(tensors.get(odd[0]))}"
        raise ValueError(
            f"{folder} holds a network of other code: {len(odd)} tensors differ, {example}; train it again"
        )
    method.load_state_dict(tensors)
    return method.eval()


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


@dataclass
class Progress:
    """Progress so far, apart from tensors."""

    step: int = 0  # steps done
    best_value: float | None = None  # lowest validation loss
    best_step: int = 0
    bad: int = 0  # evaluations since the best
    fall_from: int | None = None  # step at which the rate of a plateau schedule began to fall
    done: bool = False
    stopped_early: bool = False
    seconds: float = 0.0  # spent in this stage, over all its processes
    window: dict[str, float] = field(default_factory=dict)  # sums of losses since the last log line
    window_steps: int = 0
    history: list[dict[str, float]] = field(default_factory=list)  # evaluations: step and losses


@dataclass
class TrainingState:
    """Method, optimisers, generator and progress of one stage; `save` and `load` are exact inverses."""

    method: Method
    optimisers: dict[str, Adam]
    generator: torch.Generator
    average: dict[str, Tensor]  # averaged weights by name; empty when off
    best: dict[str, Tensor]  # weights that validated best; empty before the first evaluation
    progress: Progress

    def save(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        """Write everything atomically as one file."""
        tensors = {"random/generator": self.generator.get_state(), "random/global": torch.get_rng_state()}
        for kind, values in (("method", self.method.state_dict()), ("average", self.average), ("best", self.best)):
            tensors |= {f"{kind}/{name}": value for name, value in values.items()}
        for phase, optimiser in self.optimisers.items():
            for number, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"adam/{phase}/{number}/{name}": value for name, value in moments.items()}
        meta = {"fingerprint": dict(fingerprint), "progress": asdict(self.progress)}
        write_tensors(folder / STATE_FILE, tensors, meta)

    def load(self, folder: Path, fingerprint: Mapping[str, Any]) -> bool:
        """Load the state in a folder; False if there is none, ValueError if it belongs to another training."""
        path = folder / STATE_FILE
        if not path.is_file():
            return False
        tensors, meta = read_tensors(path)
        if meta["fingerprint"] != dict(fingerprint):
            differing = [name for name, value in fingerprint.items() if meta["fingerprint"].get(name) != value]
            remedy = "use another folder, or delete this one to start again"
            raise ValueError(f"{path} belongs to another training (it differs in {', '.join(differing)}): {remedy}")
        self.method.load_state_dict(_under(tensors, "method/"))
        own, held = self.method.state_dict(), _under(tensors, "average/")
        self.average = {name: torch.empty_like(own[name]).copy_(value) for name, value in held.items()}
        self.best = _under(tensors, "best/")
        self.generator.set_state(tensors["random/generator"])
        torch.set_rng_state(tensors["random/global"])
        for phase, optimiser in self.optimisers.items():
            parameters = optimiser.param_groups[0]["params"]
            for name, value in _under(tensors, f"adam/{phase}/").items():
                number, key = name.split("/")
                parameter = parameters[int(number)]  # its moments are laid out in memory like itself
                placed = value if value.ndim == 0 else torch.empty_like(parameter).detach().copy_(value)
                optimiser.state[parameter][key] = placed
        self.progress = Progress(**meta["progress"])
        return True


def read_fingerprint(folder: Path) -> dict[str, Any]:
    """What the state in a folder belongs to; empty if there is none."""
    if not (folder / STATE_FILE).is_file():
        return {}
    found: dict[str, Any] = read_tensors(folder / STATE_FILE)[1]["fingerprint"]
    return found


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON values as one file: a sibling, fsync, rename."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, to_bytes(held, metadata={_HEADER: json.dumps(meta, sort_keys=True)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of `write_tensors`, on the CPU; ValueError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); delete it and train again") from error
    if header is None:
        raise ValueError(f"{path} was not written by this project: its header has no '{_HEADER}' entry")
    meta: dict[str, Any] = json.loads(header)
    return tensors, meta


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: a temporary sibling, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sibling = path.with_name(f".{path.name}.writing")
    with sibling.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sibling.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """First 16 hex digits of a sha256 over names, types, shapes and bytes: the data version of weights."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
