"""The folder of a frozen detector: what it contains, and how it is written and read.

It holds ``detector.json`` and ``<member>/<canvas>/arrays.safetensors``, of networks also ``weights.safetensors`` and
``method.json``; ``domain/<canvas>.safetensors`` tells images of another kind. Arrays of fitted objects (nested
dataclasses) are stored by the dotted names of their fields; all else is given when an object is restored.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from models.checkpoint import load_method, read_tensors, write_tensors
from models.prediction import usable_devices
from models.scoring import ScoreConfig
from pipeline.detectors.contract import CanvasDetector, ControlDetector
from pipeline.detectors.controls.registry import CONTROLS
from pipeline.detectors.frozen.calibration import Calibration, Domain
from pipeline.detectors.frozen.detector import Detector
from pipeline.detectors.network import NetworkDetector
from pipeline.detectors.standardise import CanvasScorer, Member, Standardiser
from pipeline.errors import REMEDY, ConfigError, StoreCorrupt
from pipeline.store.files import hash_file, write_file
from pipeline.store.verify import MARKER, read_marker
from pipeline.store.versions import fingerprint

FORMAT = 5
DESCRIPTION, ARRAYS = "detector.json", "arrays.safetensors"

Arrays = dict[str, NDArray[Any]]
Fitted = TypeVar("Fitted")


def arrays_of(fitted: object, prefix: str = "") -> Arrays:
    """Every array of a fitted object, by the path of its field."""
    found: Arrays = {}
    for field in fields(fitted):  # type: ignore[arg-type]
        value = getattr(fitted, field.name)
        if isinstance(value, np.ndarray):
            found[prefix + field.name] = value
        elif is_dataclass(value) and field.metadata.get("saved", True):
            found |= arrays_of(value, f"{prefix}{field.name}.")
    return found


def restored(kind: type[Fitted], arrays: Mapping[str, NDArray[Any]], **given: Any) -> Fitted:
    """Inverse of ``arrays_of``; ``given`` are the fields that are not arrays, for nested objects as well."""
    values: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        inner = {name.partition(".")[2]: value for name, value in arrays.items() if name.startswith(f"{field.name}.")}
        if field.name in arrays:
            values[field.name] = arrays[field.name]
        elif inner:
            hint = hints[field.name]
            options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
            nested = next(option for option in options if isinstance(option, type) and is_dataclass(option))
            values[field.name] = restored(nested, inner, **given)
        elif field.name in given:
            values[field.name] = given[field.name]
    return kind(**values)


def write_arrays(path: Path, fitted: object) -> None:
    """Write the arrays of a fitted object."""
    write_tensors(path, {name: torch.from_numpy(array.copy()) for name, array in arrays_of(fitted).items()}, {})


def read_arrays(path: Path) -> Arrays:
    """Inverse of ``write_arrays``."""
    return {name: tensor.numpy() for name, tensor in read_tensors(path)[0].items()}


def write_scorer(folder: Path, scorer: CanvasScorer) -> dict[str, Any]:
    """Write the files of one member on one canvas; its entry in ``detector.json``."""
    folder.mkdir(parents=True)
    detector = scorer.detector
    write_arrays(folder / ARRAYS, scorer)
    if isinstance(detector, NetworkDetector):
        detector.write(folder)
    options = detector.options if isinstance(detector, ControlDetector) else {}
    return {
        "size": list(detector.size),
        "score": asdict(detector.score),
        "neutral": detector.neutral,
        "flip_average": getattr(detector, "flip_average", False),
        "options": {name: asdict(value) if is_dataclass(value) else value for name, value in options.items()},  # type: ignore[arg-type]
        "images": list(scorer.image_ids),
    }


def read_scorer(folder: Path, canvas: str, entry: Mapping[str, Any], device: str) -> CanvasScorer:
    """Inverse of ``write_scorer``; the entry of a control names it by ``control``."""
    arrays = read_arrays(folder / ARRAYS)
    own, statistics = (
        {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(part)}
        for part in ("detector.", "standardise.")
    )
    score = TypeAdapter(ScoreConfig).validate_python(entry["score"])
    common = {"canvas": canvas, "size": tuple(entry["size"]), "score": score, "neutral": entry["neutral"]}
    detector: CanvasDetector
    if "control" in entry:
        kind = CONTROLS[entry["control"]]
        options = kind.read_options(entry["options"])
        detector = restored(kind, own, **common, options=options)
    else:
        common |= {"flip_average": entry["flip_average"], "device": device}
        detector = restored(NetworkDetector, own, **common, method=load_method(folder))
    standardiser = restored(Standardiser, statistics, config=score, similar=None)
    return CanvasScorer(detector, standardiser, tuple(entry["images"]))


def write_description(content: Path, described: dict[str, Any]) -> str:
    """Write ``detector.json`` with the hashes of all other files; the data version."""
    files = sorted(path for path in content.rglob("*") if path.is_file())
    hashes = {path.relative_to(content).as_posix(): str(hash_file(path)["sha256"]) for path in files}
    described = {"format": FORMAT, **described, "files": hashes}
    write_file(content / DESCRIPTION, _text(described).encode())
    return fingerprint(described)


def _text(described: Mapping[str, Any]) -> str:
    """The description with its own hash, as it is written."""
    return json.dumps({"sha256": fingerprint(described), **described}, indent=1, allow_nan=False) + "\n"


def read_detector(folder: Path, *, device: str = "auto") -> Detector:
    """The detector in a folder; ``StoreCorrupt`` names the file that is not as it was written.

    ``ConfigError`` for a device that this machine does not have.
    """
    if device.partition(":")[0] not in (usable := usable_devices()):
        raise ConfigError(f"device: expected one of {', '.join(usable)} on this machine, got {device!r}")
    described = _described(folder / DESCRIPTION)
    if (folder / MARKER).is_file():  # not in every copy
        read_marker(folder)
    for name, wanted in described["files"].items():
        path = folder / name
        got = str(hash_file(path)["sha256"]) if path.is_file() else "no file"
        if got != wanted:
            raise StoreCorrupt(f"{path}: expected sha256 {wanted}, got {got}{REMEDY}")
    calibrations = {
        name: (Calibration.of(np.array(one["images"])), Calibration.of(np.array(one["peaks"])))
        for name, one in described["calibrations"].items()
    }
    volumes = {
        name: Calibration.of(np.array(one["volumes"]))
        for name, one in described["calibrations"].items()
        if "volumes" in one
    }
    members: dict[str, Member] = {
        name: {canvas: read_scorer(folder / name / canvas, canvas, entry, device) for canvas, entry in entries.items()}
        for name, entries in described["members"].items()
    }
    return Detector(
        **{name: described[name] for name in ("dataset", "title", "form_version", "weights", "facts")},
        form_name=described["form"],
        name=next(iter(calibrations)),
        members=members,
        calibrations=calibrations,
        volume_calibrations=volumes,
        domain={
            canvas: restored(Domain, read_arrays(folder / "domain" / f"{canvas}.safetensors"), farthest=farthest)
            for canvas, farthest in described["farthest"].items()
        },
        copies=tuple(described["copies"]),
        data_version=fingerprint(described),
    )


def _described(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise StoreCorrupt(f"{path.parent} is no detector: expected {path}, got none{REMEDY}")
    try:
        text = path.read_bytes().decode()  # a line break of another kind is another byte
        described: dict[str, Any] = json.loads(text)
        wanted = described.pop("sha256", None)
        found, whole = fingerprint(described), text == _text(described)
    except (ValueError, AttributeError) as error:
        raise StoreCorrupt(f"{path}: expected JSON, got {error}{REMEDY}") from error
    if described.get("format") != FORMAT:
        raise StoreCorrupt(f"{path}: expected format {FORMAT}, got {described.get('format')}{REMEDY}")
    if not whole:
        raise StoreCorrupt(f"{path}: expected content of hash {wanted}, got {found} or other bytes{REMEDY}")
    return described
