"""The model that MLflow serves: the bytes of an image file in; score, rarity, decision and heat map out.

MLflow runs this file (models from code, no pickle) with a copy of `pipeline` and `models`; the detector's folder is its
artifact.
"""

import base64
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipeline.data.read.frames import read_frames
from pipeline.detectors.frozen.detector import Detector
from pipeline.detectors.frozen.freeze import read_detector
from pipeline.errors import UnusableImage


class ServedDetector(PythonModel):
    """Column ``image`` (bytes of a file) → one row a frame with the columns of ``registry.ANSWER``."""

    detector: Detector

    def load_context(self, context: PythonModelContext) -> None:
        """Read the frozen detector."""
        self.detector = read_detector(Path(context.artifacts["detector"]))

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Score every frame of every posted file; decisions are made at ``params["false_alarm_rate"]``."""
        rate = max(float((params or {}).get("false_alarm_rate", 0.05)), self.detector.images.least)
        rows = [
            row
            for number, content in enumerate(model_input["image"])
            for row in self._file(number, bytes(content), rate)
        ]
        return pd.DataFrame(rows)

    def _file(self, number: int, content: bytes, rate: float) -> list[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder:
            suffix = ".nii.gz" if content[:2] == b"\x1f\x8b" else ".nii" if content[344:347] == b"n+1" else ".image"
            path = Path(folder) / f"posted{suffix}"
            path.write_bytes(content)
            return [self._frame(number, frame, rate) for frame in read_frames(path)]

    def _frame(self, number: int, frame: Any, rate: float) -> dict[str, Any]:
        row: dict[str, Any] = {"input": number, "frame": frame.number, "reason": frame.reason}
        row |= dict.fromkeys(("score", "false_alarm_rate", "domain_distance"), float("nan"))
        row |= {"decision": "unusable", "in_domain": False, "regions": "[]", "heat_map": ""}
        row |= {"detector": self.detector.data_version}
        if frame.pixels is None:
            return row
        try:
            found = self.detector.score(frame.pixels)
        except UnusableImage as error:
            return row | {"reason": str(error)}
        return row | {
            "score": found.score,
            "false_alarm_rate": found.false_alarm_rate,
            "domain_distance": found.distance,
            "decision": found.decision(rate),
            "in_domain": found.in_domain,
            "regions": json.dumps([asdict(region) for region in found.regions(rate)]),
            "heat_map": base64.b64encode(found.overlay(rate)).decode(),
        }


mlflow.models.set_model(ServedDetector())
