"""Names, numbers and lists as the reports write them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pipeline.evaluation.records import Record
from pipeline.evaluation.score_name import ScoreName

DRAWN = "drawn sample, not patient data"
DIGITS = 3  # decimals of a printed figure; values that print alike count as equal
SMALLEST_P = 0.001
TITLES: Mapping[str, str] = {  # method, control or shortcut → its name; others are named by their key
    "proxyano": "ProxyAno",
    "committee": "committee",
    "member_denoising": "denoising auto-encoder",
    "member_segmentation": "network that marks synthetic anomalies",
    "control_pca": "PCA",
    "control_nearest": "1-nearest neighbour",
    "control_patch_neighbour": "local patch neighbour",
    "control_canonical": "canonical form itself",
    "control_median": "|x − median filter|",
    "control_slic": "|x − true SLIC image|",
    "control_similar_mean": "mean of similar normals",
    "null_similar_mean": "mean of similar normals instead of Î",
    "null_median": "median filter instead of Î",
    "null_slic": "true SLIC proxy instead of Î",
    "control_centre": "distance to the centre",
    "control_line_blob": "line-blob maps",
    "control_feature_neighbour": "nearest features of an ImageNet network (pretrained)",
    "control_pixel_classifier": "pixel classifier on synthetic lesions",
    "shortcut_bytes": "file size",
    "shortcut_pixels": "pixel count",
    "shortcut_valid_fraction": "scored fraction",
    "shortcut_high_frequency": "high-frequency energy",
}


def title(method: str) -> str:
    """Name of a method, control or shortcut."""
    plain = method.removeprefix("control_").removeprefix("shortcut_").replace("_", " ")
    return TITLES.get(method, plain)


def column_title(column: str) -> str:
    """Name of a score column ``<method>:<score>``."""
    name = ScoreName.parse(column)
    return title(name.method) if name.score == "value" else f"{title(name.method)}, {name.score}"


def record_title(record: Record) -> str:
    """Name of the score that a record belongs to."""
    return column_title(f"{record['method']}:{record['score']}")


def number(value: float | None) -> str:
    """Three decimals without the leading zero; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:z.{DIGITS}f}"
    return text[1:] if text.startswith("0.") else text.replace("-0.", "-.", 1)


def interval(value: float, low: float | None, high: float | None) -> str:
    """Value and its 95 % interval, where there is one: ``.985 [.978, .991]``."""
    return number(value) if low is None else f"{number(value)} [{number(low)}, {number(high)}]"


def with_interval(record: Record | None) -> str:
    """Value and interval of a record; a dash for None."""
    return "–" if record is None else interval(record["value"], record["low"], record["high"])


def p_value(p: float) -> str:
    """``.032``, or ``< .001``."""
    return number(p) if p >= SMALLEST_P else f"< {number(SMALLEST_P)}"


def listed(names: Sequence[str]) -> str:
    """Names for a sentence: ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested configuration as ``{"dotted.name": plain value}``, for reports and MLflow."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    elif isinstance(value, list | tuple) and any(is_dataclass(part) or isinstance(part, dict) for part in value):
        value = {str(number): part for number, part in enumerate(value)}
    if not isinstance(value, Mapping):
        return {prefix or "value": value}
    joined: dict[str, Any] = {}
    for name, part in value.items():
        joined |= flat(part, f"{prefix}.{name}" if prefix else str(name))
    return joined


def banner(titles: Sequence[str]) -> str:
    """The warning of a report on the built-in sample; empty where ``titles``, the drawn data sets, is."""
    if not titles:
        return ""
    return (
        f"{DRAWN.capitalize()}: {listed(titles)}. The images are computer drawings and the networks were trained for "
        "minutes. The figures show how ProxyAno works and say nothing about real data."
    )


def shown_title(title: str, *, drawn: bool) -> str:
    """Title of a data set, without the names of its sources where its images are drawn."""
    return f"{title.partition(' (')[0]} (drawn)" if drawn else title
