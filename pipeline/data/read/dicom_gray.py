"""Gray values of DICOM: modality and VOI LUT, window, padding, inversion, stored bits.

A window that leaves two gray values counts as none.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.read.dicom_origin import first_number
from pipeline.data.read.gray import Pixels, blocks, in_blocks, joined
from pipeline.errors import UnusableImage

Span = tuple[float, float, str]
"""Values that are black and white where a file has no window, and the words for it."""
Shade = tuple[Callable[[NDArray[Any]], NDArray[Any]], str]
"""From modality values to 0 (black) to 1, and the words for it."""


def gray(raw: NDArray[Any], head: Any, span: Span | None) -> tuple[Pixels, str]:
    """Gray values (H, W) of a frame as a viewer shows them, and by which rule; ``span`` where the file has none."""
    rule, said = _shade(head, span or span_of(raw, head))
    photometric, shape = str(head.get("PhotometricInterpretation", "")), str(head.get("PresentationLUTShape", ""))
    inverted = "MONOCHROME1" if photometric == "MONOCHROME1" else "INVERSE" if shape == "INVERSE" else ""

    def shown(block: NDArray[Any]) -> NDArray[Any]:
        share = np.clip(rule(_modality(block.astype(raw.dtype), head)), 0, 1)
        return np.asarray(np.rint((1 - share if inverted else share) * 255))

    shaded = in_blocks(raw, shown)
    padding = _padding(raw, head)
    if padding is not None:
        shaded[padding] = 0
    return shaded, joined(said, f"{inverted} inverted" if inverted else "", "" if padding is None else "padding black")


def _modality(raw: NDArray[Any], head: Any) -> NDArray[Any]:
    """Values in the unit of the modality; the stored ones where nothing, or a slope of 0, is given."""
    from pydicom.pixels import apply_modality_lut

    if tables := head.get("ModalityLUTSequence"):
        first, count, bits = tables[0].LUTDescriptor
        tables[0].LUTDescriptor = [first, count, 8 if bits <= 8 else 16]  # a table is stored in 8 or 16 bits
    elif not head.get("RescaleSlope"):
        return raw
    return np.asarray(apply_modality_lut(raw, head))


def _padding(raw: NDArray[Any], head: Any) -> NDArray[np.bool_] | None:
    """Pixels beyond the imaged field, None without any."""
    if head.get("PixelPaddingValue") is None or raw.dtype.kind == "f":
        return None
    value = int(head.PixelPaddingValue)
    limit = head.get("PixelPaddingRangeLimit")
    low, high = sorted(int(np.array(end).astype(raw.dtype)) for end in (value, value if limit is None else limit))
    found = (raw >= low) & (raw <= high)
    return np.asarray(found) if found.any() and not found.all() else None


def _plain_bits(head: Any) -> int:
    """Stored bits where black and white follow from them (up to 8, unscaled and unsigned), else 0."""
    bits = int(head.get("BitsStored") or 32)
    scaled = "ModalityLUTSequence" in head or float(head.get("RescaleSlope") or 1) != 1
    scaled = scaled or float(head.get("RescaleIntercept") or 0) != 0
    return 0 if bits > 8 or scaled or int(head.get("PixelRepresentation") or 0) else bits


def needs_span(head: Any) -> bool:
    """Whether black and white come from the values of the file or series."""
    given = _window(head) is not None or head.get("VOILUTSequence") or _plain_bits(head)
    return not (is_colour(head) or given)


def imaged(raw: NDArray[Any], head: Any) -> Iterator[NDArray[Any]]:
    """Finite modality values of a frame, without padding, flat, a block of rows at a time."""
    padding = _padding(raw, head)
    for rows in blocks(raw):
        values = _modality(raw[rows], head)
        values = values.ravel() if padding is None else values[~padding[rows]]
        yield values[np.isfinite(values)] if values.dtype.kind == "f" else values


def span_of(raw: NDArray[Any], head: Any) -> Span:
    """Lowest and highest value of a frame."""
    ends = [float(end) for values in imaged(raw, head) if values.size for end in (values.min(), values.max())]
    if not ends:
        raise UnusableImage("no pixel has a finite value")
    return min(ends), max(ends), f"values {min(ends):g} to {max(ends):g}"


def _window(head: Any) -> tuple[float, float, str] | None:
    """Centre, width and function of the first window; None without one that can be meant.

    Some devices write empty, NaN, zero or negative widths, or a width of one stored value, which leaves two values.
    """
    centre, width = (first_number(head.get(name)) for name in ("WindowCenter", "WindowWidth"))
    step = 1.0 if "ModalityLUTSequence" in head else abs(float(head.get("RescaleSlope") or 1))
    if not math.isfinite(centre + width) or width <= (0 if _is_float(head) else step):
        return None
    function = str(head.get("VOILUTFunction") or "LINEAR")
    return centre, width, "LINEAR_EXACT" if function == "LINEAR" and width <= 1 else function


def _is_float(head: Any) -> bool:
    return head.get("BitsStored") is None


def _shade(head: Any, span: Span) -> Shade:
    """The rule of the file: its window, its VOI LUT, its stored bits, else the span of its values."""
    if (window := _window(head)) is not None:
        centre, width, function = window
        said = f"window {centre:g}/{width:g}"
        if function == "SIGMOID":
            from scipy.special import expit

            return lambda values: expit(4 * (values - centre) / width), f"{said} sigmoid"
        if function == "LINEAR_EXACT":
            return lambda values: (values - centre) / width + 0.5, said
        return lambda values: (values - centre + 0.5) / (width - 1) + 0.5, said
    if head.get("VOILUTSequence"):
        return _table(head)
    if bits := _plain_bits(head):
        return lambda values: values / (2**bits - 1), "" if bits == 8 else f"{bits} bits"
    low, high, said = span
    return lambda values: (values - low) / ((high - low) or 1), said


def _table(head: Any) -> Shade:
    """VOI LUT; black and white are the ends of the table, not of the picture."""
    from pydicom.pixels import apply_voi

    first, count, bits = head.VOILUTSequence[0].LUTDescriptor
    head.VOILUTSequence[0].LUTDescriptor = [first, count, 8 if bits <= 8 else 16]
    start = int(first) - 2**16 if first >= 2**15 and int(head.get("PixelRepresentation") or 0) else int(first)
    ends = apply_voi(np.arange(start, start + (int(count) or 2**16)), head)
    low, high = float(ends.min()), float(ends.max())
    rule = lambda values: (apply_voi(np.rint(values).astype(np.int64), head) - low) / ((high - low) or 1)  # noqa: E731
    return rule, "VOI LUT"


def is_colour(head: Any) -> bool:
    """Whether a frame has colours, stored or by a palette."""
    return int(head.get("SamplesPerPixel") or 1) > 1 or str(head.PhotometricInterpretation) == "PALETTE COLOR"
