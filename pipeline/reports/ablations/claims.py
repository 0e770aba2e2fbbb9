"""The paper's claims, judged, as plain values for ``results.json``."""

import math
from typing import Any

from pipeline.reports.ablations.experiments import CONFIRMED, REFUSED, Compared, Judged, Pair

VERDICTS = {CONFIRMED: "holds", REFUSED: "does not hold"}
UNKNOWN = "cannot be told here"  # undecided, or experiments are missing


def claim_record(judged: Judged, dataset: str, *, raw: bool) -> dict[str, Any]:
    """dataset, form, where, text, verdict, why and the compared pairs, each with interval, p and every seed's value."""
    return {
        "dataset": dataset,
        "form": "raw" if raw else "canonical",
        "where": judged.claim.where,
        "text": judged.claim.text,
        "verdict": VERDICTS.get(judged.word, UNKNOWN),
        "why": judged.why,
        "differences": [_difference(pair, found) for pair, found in judged.found.items()],
    }


def _difference(pair: Pair, found: Compared) -> dict[str, Any]:
    better, worse = pair
    numbers = {name: _finite(getattr(found, name)) for name in ("value", "low", "high", "p")}
    values = {f"seed {seed}": _finite(value) for seed, value in zip(found.seeds, found.by_seed, strict=True)}
    return {"better": better, "worse": worse, **numbers, "values": values}


def _finite(number: float) -> float | None:
    return round(float(number), 4) if math.isfinite(number) else None
