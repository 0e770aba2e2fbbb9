"""What ``Detector.score`` takes: a path, a Pillow image or an array, as the pixels that forms read."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pipeline.data.decode import read_frames
from pipeline.data.read.gray import eight_bits
from pipeline.errors import ConfigError, UnusableImage

Input = str | Path | Image.Image | ArrayLike


def as_pixels(image: Input) -> NDArray[np.uint8]:
    """uint8 (H, W) or (H, W, 3) RGB.

    Floats from 0 to 1 are stretched to 255; other values of more than 8 bits follow the rule of files
    (``gray.eight_bits``). Raises ``UnusableImage`` for a file that cannot be read, ``ConfigError`` for a file of
    several images and for what is no image.
    """
    if isinstance(image, str | Path):
        return _of_file(Path(image))
    if isinstance(image, Image.Image):
        return as_pixels(np.asarray(image.convert("RGB") if image.mode in ("P", "PA", "RGBA", "CMYK") else image))
    array = np.asarray(image)
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        got = f"an array of shape {array.shape} and type {array.dtype}"
        raise ConfigError(f"expected a path, a Pillow image or numbers (H, W), (H, W, 3) or (H, W, 4), got {got}")
    array = array[..., :3] if array.ndim == 3 else array
    return array.astype(np.uint8) if array.dtype == np.uint8 else _eight_bits(array)


def _eight_bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype.kind == "f" and np.nanmin(array) >= 0 and np.nanmax(array) <= 1:
        return np.asarray(np.rint(np.nan_to_num(array) * 255), np.uint8)
    return eight_bits(array)[0]


def _of_file(path: Path) -> NDArray[np.uint8]:
    frames = read_frames(path)
    first = next(frames, None)
    if first is None:
        raise UnusableImage(f"{path}: the file holds no image")
    if next(frames, None) is not None:
        line = f"for frame in read_frames({str(path)!r}): detector.score(frame.pixels)"
        raise ConfigError(f"{path} holds several images; score each: {line} (from proxyano import read_frames)")
    if first.pixels is None:
        raise UnusableImage(f"{path}: {first.reason}")
    return first.pixels
