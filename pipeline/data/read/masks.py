"""Lesion masks: which pixels of a file are marked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.data.read import imagej, nifti
from pipeline.data.read.dicom_stored import is_dicom, stored
from pipeline.data.read.folder import Folder
from pipeline.data.read.gray import MAX_BYTES, blocks, square_pixels
from pipeline.data.read.images import (
    is_planar,
    is_tiff,
    opened,
    page_count,
    pages,
    planar_colours,
    tifffile_pages,
    upright,
    values,
)
from pipeline.errors import NoImage, UnusableImage

MAX_VOXELS = MAX_BYTES  # of a volume of masks, whose scaled values take 8 bytes each
MAX_MARKED = 0.9  # share of pixels that a lesion mask may mark; above it the mask is inverted or is an alpha plane
MAX_BORDER = 0.75  # share of the outermost pixels that a mask of more than half of the image may mark
MANY = 16  # gray values; a mask with more is no table of labels, but has soft edges or was compressed with loss

TWO, LABELS, SOFT, EMPTY = "two values", "labels above 0", "many gray values, marked above half", "nothing marked"
"""Rules by which pixels are marked."""


class Marks(NamedTuple):
    """Marked pixels of a mask file: one array (H, W) a slice or page."""

    slices: list[NDArray[np.bool_]]
    rule: str
    place: tuple[float, ...] = ()  # as of ``Origin``


def read_marks(source: BinaryIO, path: Path, folder: Folder) -> Marks:
    """Marked pixels of a file in any format that images have.

    The values of a volume are judged together, those of pages one by one. Raises ``UnusableImage`` for masks that mark
    too much.
    """
    head = source.read(352)
    if nifti.is_volume(path, head, folder):
        found = _of_volume(source, path, folder)
    else:
        planes = _stored(source) if is_dicom(head) else _pages(source)
        each = [_bright(levels, lossy=lossy) for levels, lossy in planes]
        if not each:
            raise UnusableImage("the file holds no mask")
        found = Marks([marked for marked, _ in each], each[-1][1])
    _check_share(found.slices)
    return found if any(marked.any() for marked in found.slices) else found._replace(rule=EMPTY)


def laid_together(found: Marks, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels that any page marks, for an image of ``shape`` (H, W); ``UnusableImage`` for another size."""
    if found.place and len(found.slices) > 1:
        raise UnusableImage(f"expected a mask of one slice like its image, got {len(found.slices)}")
    for marked in found.slices:
        if marked.shape != shape:
            expected, got = f"{shape[1]}×{shape[0]} px like its image", f"{marked.shape[1]}×{marked.shape[0]}"
            raise UnusableImage(f"expected a mask of {expected}, got {got}")
    return np.asarray(np.any(found.slices, axis=0))


def check_alike(found: Marks, place: tuple[float, ...], count: int) -> None:
    """Raise ``UnusableImage`` unless a mask has as many slices as its volume, at the same place."""
    if len(found.slices) != count:
        raise UnusableImage(f"expected a mask of {count} slices like its image, got {len(found.slices)}")
    if bool(found.place) != bool(place):
        raise UnusableImage("expected a mask of the format and orientation of its image; save it as one of its copies")
    if place:
        corners = np.array(list(np.ndindex(2, 2, 2))) * (*found.slices[0].shape[::-1], count)
        difference = np.reshape(found.place, (3, 4)) - np.reshape(place, (3, 4))
        apart = np.abs(corners @ difference[:, :3].T + difference[:, 3]).max()
        if apart > np.linalg.norm(np.reshape(place, (3, 4))[:, :3], axis=0).min() / 2:
            raise UnusableImage(
                f"expected a mask of the orientation and place of its image, got one {apart:.3g} mm beside it"
            )


def _of_volume(source: BinaryIO, path: Path, folder: Folder) -> Marks:
    with nifti.opened(source, path, folder) as volume:
        if nifti.FIRST in volume.notes:
            raise UnusableImage(f"expected a mask of one volume, got {volume.notes}")
        values = volume.values
        scaled = volume.scale != (1.0, 0.0) or values.dtype.kind == "c"
        if values.size * (8 if scaled else 1) > MAX_VOXELS:
            most = f"{MAX_VOXELS / 1e6:.0f} million voxels, an eighth of scaled ones"
            raise UnusableImage(f"expected a mask of at most {most}, got {values.size}")
        if values.dtype.names:
            values = np.maximum.reduce([values[name] for name in values.dtype.names])
        elif scaled:
            values = volume.scaled(values)
        marked, rule = _bright(values, lossy=False)
        height, width = volume.spacing[1], volume.spacing[0]
        slices = [square_pixels(plane * np.uint8(255), height, width)[0] > 127 for plane in marked]
        return Marks(slices, rule, volume.origin.place)


def _stored(source: BinaryIO) -> Iterator[tuple[NDArray[Any], bool]]:
    try:
        file = stored(source)
    except NoImage as error:
        raise UnusableImage(f"{error}; as masks, NIfTI, stacks and an image a slice are read: convert it") from error
    for raw, _ in file.frames():
        yield _brightest(raw), False


def _pages(source: BinaryIO) -> Iterator[tuple[NDArray[Any], bool]]:
    try:
        image = opened(source)
    except UnidentifiedImageError:
        if not is_tiff(source):
            raise
        for array, white, _ in tifffile_pages(source):
            yield _brightest(array.max() - array if white else array), False
        return
    count = page_count(image) if image.format == "TIFF" else 1
    if count == 1 and (stack := imagej.images(image)) > 1:
        yield from ((_brightest(array), False) for array in imagej.stack(source, stack))
        return
    for page, problem in pages(image, source, count):
        if problem:
            raise problem
        if is_planar(image):
            source.seek(0)
            yield _brightest(planar_colours(np.frombuffer(source.read(), np.uint8), page)), False
        else:
            yield _levels(upright(image)[0]), image.format in ("JPEG", "MPO")


def _brightest(values: NDArray[Any]) -> NDArray[Any]:
    """The largest value (H, W) of all channels."""
    return values if values.ndim == 2 else np.asarray(values.max(axis=-1))


def _check_share(slices: list[NDArray[np.bool_]]) -> None:
    """Raise ``UnusableImage`` for masks that mark nearly all, or more than half with the border."""
    share = float(np.mean([marked.mean() for marked in slices]))
    edge = np.concatenate([part for m in slices for part in (m[0], m[-1], m[:, 0], m[:, -1])])
    if share > MAX_MARKED:
        raise UnusableImage(f"the mask marks {share:.0%} of the image, expected at most {MAX_MARKED:.0%}")
    if share > 0.5 and edge.mean() > MAX_BORDER:
        what = f"the mask marks {share:.0%} of the image and its whole border"
        raise UnusableImage(f"{what}: black and white are exchanged; invert it")


def _levels(image: Image.Image) -> NDArray[Any]:
    """One value (H, W) a pixel, 0 where nothing is marked: a palette counts by its colours, alpha hides."""
    if image.mode == "F" or image.mode.startswith("I"):
        array, white_is_zero = values(image)
        return array.max() - array if white_is_zero else array
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode == "P":  # the colours of its 256 values, looked up, cost a tenth of converting a large mask
        table = image.resize((256, 1))
        table.putdata(range(256))
        return np.asarray(cv2.LUT(np.asarray(image), _levels(table.convert("RGBA"))[0]))
    colour, alpha = np.empty((2, image.height, image.width), np.uint8)
    for rows in blocks(colour):
        band = image.crop((0, rows.start, image.width, min(rows.stop, image.height)))
        layer = np.asarray(band.convert("RGBA"))
        colour[rows], alpha[rows] = layer[..., :3].max(axis=-1), layer[..., 3]
    if not colour.any():  # the shape is in the alpha plane alone, unless that is opaque
        return alpha if alpha.min() < alpha.max() else colour
    return np.where(alpha > 127, colour, 0)


def _bright(levels: NDArray[Any], *, lossy: bool) -> tuple[NDArray[np.bool_], str]:
    """The larger of two values; above half of full where there are many or fractions; else all but 0."""
    missing = np.isnan(levels) if levels.dtype.kind == "f" else np.zeros(levels.shape, bool)
    there, fractions = _there(levels)
    if missing.any() and len(there) and (len(there) == 1 or there[0] > 0):
        # numbers on a background of NaN, or NaN on 0
        return (~missing if there[0] > 0 else missing), "numbers beside NaN"
    if len(there) == 2 and not missing.any():
        return np.asarray(levels == there[1]), TWO
    if len(there) and there[0] < 0:
        raise UnusableImage(f"expected mask values of at least 0, got {there[0]:g} among {len(there)}")
    top = float(there[-1]) if len(there) else 0.0
    full = max(top, 1.0) if fractions else 2.0 ** int(top).bit_length() - 1
    soft = lossy or fractions or (len(there) > MANY and top > 127)
    return np.asarray(levels > (full / 2 if soft else 0)), SOFT if soft else LABELS


def _there(levels: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Values other than NaN, rising, and whether some are fractions; of more than ``MANY`` the ends and some others."""
    if levels.dtype == np.uint8:
        planes = (np.ascontiguousarray(plane) for plane in np.atleast_3d(levels.T).T)
        return np.flatnonzero(sum(np.array(Image.fromarray(plane).histogram()) for plane in planes)), False
    there, fractions = levels[:0].ravel(), False
    for rows in blocks(levels):
        values = levels[rows][~np.isnan(levels[rows])]
        fractions = fractions or bool((values != np.rint(values)).any())
        ends = values if len(there) <= MANY or not values.size else np.array([values.min(), values.max()])
        there = np.union1d(there, ends)
    return there, fractions
