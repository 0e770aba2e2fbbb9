"""A trained method on disk: `weights.safetensors` and `method.json` (name, configuration, stages, content hash)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.files import content_hash, read_tensors, write_bytes, write_tensors
from models.method import Method
from models.methods import METHODS, build

_WEIGHTS = "weights.safetensors"
_METHOD = "method.json"
FORMAT = 2


def save_method(method: Method, folder: Path, *, stage: str, extra: Mapping[str, Any] | None = None) -> str:
    """Write the whole method after a stage, with the modules of all earlier stages; returns the hash.

    `method.json` is written last: if it exists, the weights are complete.
    """
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
    """The method in eval mode on the CPU; its weights are checked against the recorded hash.

    ``changes`` overrides fields of the configuration that do not affect the weights (one of the method's ``variants``).
    """
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
    method.load_state_dict(tensors)
    return method.eval()
