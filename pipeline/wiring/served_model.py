"""The model that MLflow serves: takes the bytes of image files, gives score, rarity, decision and overlay.

MLflow runs this file as code (no pickle) with a copy of `pipeline` and `models` and the detector's folder as artifact.
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

from pipeline.data.decode import Frame, read_frames
from pipeline.detectors.frozen.calibration import DEFAULT_RATE
from pipeline.detectors.frozen.detector import Detector
from pipeline.detectors.frozen.files import read_detector
from pipeline.errors import ConfigError, UnusableImage


class ServedDetector(PythonModel):
    """Column ``image`` (bytes of a file) → one row per frame with the columns of ``registry.ANSWER``."""

    detector: Detector

    def load_context(self, context: PythonModelContext) -> None:
        """Read the frozen detector."""
        self.detector = read_detector(Path(context.artifacts["detector"]))

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Score every frame of every posted file.

        ``params["method"]`` names a member to score by instead of the committee. Decisions use
        ``params["false_alarm_rate"]``, raised to the lowest rate that the detector's normals can tell; ``ConfigError``
        for one outside (0, 1).
        """
        asked = params or {}
        method, rate = str(asked.get("method", "")), float(asked.get("false_alarm_rate", DEFAULT_RATE))
        detector = self.detector.member(method) if method else self.detector
        if not 0 < rate < 1:
            raise ConfigError(f"false_alarm_rate: expected a number between 0 and 1, got {rate:g}")
        rate = max(rate, detector.images.least)
        rows = []
        for number, content in enumerate(map(bytes, model_input["image"])):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "posted"
                path.write_bytes(content)
                rows += [self._frame(detector, number, frame, rate) for frame in read_frames(path)]
        return pd.DataFrame(rows)

    def _frame(self, detector: Detector, number: int, frame: Frame, rate: float) -> dict[str, Any]:
        row = {
            "input": number,
            "frame": frame.number,
            "reason": frame.reason,
            **dict.fromkeys(("score", "false_alarm_rate", "domain_distance"), float("nan")),
            "decision": frame.kind,
            "in_domain": False,
            "regions": "[]",
            "overlay": "",
            "method": detector.name,
            "detector": detector.data_version,
        }
        if frame.pixels is None:
            return row
        try:
            image = detector.score(frame.pixels)
        except UnusableImage as error:
            return row | {"reason": str(error), "decision": error.kind}
        return row | {
            "score": image.score,
            "false_alarm_rate": image.false_alarm_rate,
            "domain_distance": image.distance,
            "decision": image.decision(rate),
            "in_domain": image.in_domain,
            "regions": json.dumps([asdict(region) for region in image.regions(rate)]),
            "overlay": base64.b64encode(image.overlay(rate)).decode(),
        }


mlflow.models.set_model(ServedDetector())
