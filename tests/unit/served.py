"""The served model as MLflow calls it, but in this process."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd


def served(folder: Path) -> Callable[..., pd.DataFrame]:
    """Answers of the detector in ``folder`` to the bytes of files and to parameters by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the type hints of MLflow's own classes
        from mlflow.pyfunc.model import PythonModelContext

        from pipeline.wiring.served_model import ServedDetector

    model, context = ServedDetector(), PythonModelContext({"detector": str(folder)}, {})
    model.load_context(context)

    def answer(files: Sequence[bytes], **params: object) -> pd.DataFrame:
        return model.predict(context, pd.DataFrame({"image": files}), params)

    return answer
