"""The model that MLflow serves: takes the bytes of image files, gives score, rarity, decision and overlay.

MLflow runs this file as code (no pickle) with a copy of `pipeline` and `models` and the detector's folder as artifact.
"""

import base64
import json
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipeline.data.decode import Frame, read_frames, refusal
from pipeline.detectors.folder.volume_rows import volume_rows
from pipeline.detectors.frozen.calibration import DEFAULT_RATE
from pipeline.detectors.frozen.detector import Detector
from pipeline.detectors.frozen.files import read_detector
from pipeline.errors import ConfigError, UnusableImage

MAX_BYTES = 2**27  # of a posted file
SECONDS = 50.0  # of a request; MLflow's server gives up after 60


class ServedDetector(PythonModel):
    """Column ``image`` (a file's bytes, or their base64 text) → rows of frames and volumes, columns ``ANSWER``."""

    detector: Detector

    def load_context(self, context: PythonModelContext) -> None:
        """Read the frozen detector."""
        self.detector = read_detector(Path(context.artifacts["detector"]))

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Score every frame of every posted file; what cannot be used, or is not reached in ``SECONDS``, says why.

        ``params["method"]`` names a member to score by instead of the committee. Decisions use
        ``params["false_alarm_rate"]``, raised to the lowest rate that the detector's normals can tell; ``rate`` is the
        one applied. ``MlflowException`` for another name, or a rate outside (0, 1).
        """
        asked, end = params or {}, time.monotonic() + SECONDS
        method, rate = str(asked.get("method", "")), float(asked.get("false_alarm_rate", DEFAULT_RATE))
        try:
            detector = self.detector.member(method) if method else self.detector
            if not 0 < rate < 1:
                raise ConfigError(f"false_alarm_rate: expected a number between 0 and 1, got {rate:g}")
        except ConfigError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        rate = max(rate, detector.images.least)
        rows = [
            {"input": number, "volume": frame.origin.series or f"input {number}"} | _row(detector, frame, rate)
            for number, posted in enumerate(model_input["image"])
            for frame in _frames(posted, end)
        ]
        return pd.DataFrame(_with_volumes(detector, rows, rate), dtype=object)  # whose None becomes null


def _frames(posted: object, end: float) -> Iterator[Frame]:
    """Frames of a posted file until the time ``end``; one with the reason where it cannot be used. Never raises."""
    with tempfile.TemporaryDirectory() as folder:
        path, frame = Path(folder) / "posted", Frame(Path(), 0, None)
        try:
            path.write_bytes(_content(posted))
            for frame in read_frames(path):
                if time.monotonic() > end:
                    raise UnusableImage(f"not scored: the request took more than {SECONDS:g} s; post fewer images")
                yield replace(frame, reason=frame.reason.replace(str(path), "the file"))
        except (OSError, UnusableImage) as error:
            yield replace(frame, pixels=None, reason=str(error), kind=UnusableImage.kind)


def _content(posted: object) -> bytes:
    """Bytes of a posted file; ``UnusableImage`` for anything else, and above ``MAX_BYTES``."""
    if isinstance(posted, str) and len(posted) <= 2 * MAX_BYTES:
        try:
            posted = base64.b64decode("".join(posted.split()), validate=True)
        except ValueError as error:
            raise UnusableImage(f"expected a file's bytes in base64, got other text: {error}") from error
    if not isinstance(posted, (bytes, bytearray, str)):
        missing = posted is None or (isinstance(posted, float) and math.isnan(posted))  # pandas makes NaN of null
        got = "nothing" if missing else type(posted).__name__
        raise UnusableImage(f"expected a file's bytes in base64, got {got}")
    if len(posted) > MAX_BYTES or isinstance(posted, str):
        raise UnusableImage(f"expected a file of at most {MAX_BYTES >> 20} MiB, got more")
    return bytes(posted)


def _row(detector: Detector, frame: Frame, rate: float) -> dict[str, Any]:
    row = {
        "frame": frame.number,
        "reason": frame.reason,
        **dict.fromkeys(("score", "false_alarm_rate", "domain_distance")),
        "decision": frame.kind,
        "in_domain": False,
        "regions": "[]",
        "overlay": "",
        "gray_values": frame.gray_values,
        "rate": rate,
        "method": detector.name,
        "detector": detector.data_version,
    }
    if frame.pixels is None:
        return row
    try:
        image = detector.score(frame.pixels)
    except Exception as error:  # noqa: BLE001 - the border of a record: the others are still scored
        reason = refusal(error)
        return row | {"reason": str(reason), "decision": reason.kind}
    return row | {
        "score": image.score,
        "false_alarm_rate": image.false_alarm_rate,
        "domain_distance": image.distance if math.isfinite(image.distance) else None,
        "decision": image.decision(rate),
        "in_domain": image.in_domain,
        "regions": json.dumps([asdict(region) for region in image.regions(rate)]),
        "overlay": base64.b64encode(image.overlay(rate)).decode(),
    }


def _with_volumes(detector: Detector, rows: list[dict[str, Any]], rate: float) -> list[dict[str, Any]]:
    """The rows of frames, and behind the last of each volume its own, which has no frame and no picture."""
    table = pd.DataFrame(rows, columns=["input", "volume", "frame", "score", "in_domain"])
    names = table["input"].astype(str) + "#" + table["frame"].astype(str)
    found = volume_rows(table.assign(name=names, path="", score=table["score"].astype(float)), detector, rate)
    volumes = {row["volume"]: row for row in found.astype(object).where(found.notna(), None).to_dict("records")}
    last = {row["volume"]: place for place, row in enumerate(rows)}
    answer = list[dict[str, Any]]()
    for place, row in enumerate(rows):
        volume = volumes.get(row["volume"])
        answer.append(row | {"volume": row["volume"] if volume else "", "slices": None, "worst_slices": ""})
        if volume and last[row["volume"]] == place:
            told = {name: volume[name] for name in volume.keys() & (row.keys() | {"slices", "worst_slices"})}
            nothing = {"frame": None, "regions": "[]", "overlay": "", "gray_values": "", "rate": None}
            answer.append(
                row | nothing | dict.fromkeys(("false_alarm_rate", "domain_distance")) | {"reason": ""} | told
            )
    return answer


mlflow.models.set_model(ServedDetector())
