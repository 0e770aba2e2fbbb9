"""From files to pixels, whatever a file holds: ordinary images, stacks, DICOM, NIfTI, and lesion masks.

This is the border of the readers: whatever a file makes them raise becomes one frame with the reason. The content
identifies the format: a ``.jpg`` may hold a PNG with alpha, and DICOM often has no suffix at all.
"""

import io
import stat
from collections.abc import Generator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from pipeline.data.read import dicom, dicom_stored, images, masks, nifti, vendors, vol
from pipeline.data.read.folder import NO_FOLDER, Folder, on_disk
from pipeline.data.read.gray import MAX_FRAMES, NOWHERE, Origin, Pictures, Pixels
from pipeline.errors import UnusableImage

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2"),
    *(".dcm", ".dicom", ".ima", *nifti.SUFFIXES, *vendors.SUFFIXES),
)
"""Files that are read in a folder, beside those that begin like DICOM; a named file is read whatever its suffix."""


NO_IMAGES = {
    b"version https://git-lfs": "a pointer of Git LFS instead of the file; run: git lfs pull",
    **dict.fromkeys((b"<!doctype html", b"<html"), "an HTML page instead of an image; download the file again"),
}
"""What downloads leave under the name of an image, by its first bytes."""


@dataclass(frozen=True)
class Frame:
    """One image of a file: uint8 (H, W) or (H, W, 3), or the reason why there are no pixels."""

    path: Path
    number: int  # from 0; always 0 where the file holds one image
    pixels: Pixels | None
    reason: str = ""
    gray_values: str = ""  # what was done to them, such as "window 40/400"; empty if nothing
    kind: str = UnusableImage.kind  # counts only without pixels: unusable, no image or empty slice
    origin: Origin = NOWHERE  # counts only with pixels

    @property
    def usable(self) -> Pixels:
        """The pixels; raises ``UnusableImage`` if there are none."""
        if self.pixels is None:
            raise UnusableImage(self.reason)
        return self.pixels


def read_frames(
    path: Path, content: BinaryIO | None = None, folder: Folder | None = None
) -> Generator[Frame, None, None]:
    """The images of a file one by one; an unusable one has its reason, and the next follow. Never raises.

    ``content`` is the file where it is open already; one in memory, such as the member of an archive, has only a name,
    and ``folder`` tells what lies beside it.
    """
    number = -1
    try:
        if content is None and not stat.S_ISREG(path.stat().st_mode):
            raise UnusableImage("expected a regular file, got a folder, pipe or device")
        with (
            nullcontext(content) if content else path.open("rb") as source,
            closing(_pictures(source, path, folder or on_disk(path))) as pictures,
        ):
            for number, found in enumerate(pictures):
                if number == MAX_FRAMES:
                    raise UnusableImage(f"expected at most {MAX_FRAMES} images in a file; the rest is not read")
                if isinstance(found, UnusableImage):
                    yield Frame(path, number, None, one_line(found), kind=found.kind)
                else:
                    yield Frame(path, number, found.pixels, gray_values=found.gray_values, origin=found.origin)
        if number < 0:
            raise UnusableImage("the file holds no image")
    except Exception as error:  # noqa: BLE001 - the border: one file never stops the others
        size = content.seek(0, 2) if content else path.stat().st_size if path.is_file() else None
        reason = refusal(error, size)
        yield Frame(path, number + 1, None, one_line(reason), kind=reason.kind)


def one_line(reason: UnusableImage) -> str:
    """The text of a reason without line breaks and control characters, which a damaged file may bring along."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(reason)).split())


def decode_image(data: bytes) -> Pixels:
    """Pixels of a file that holds one image: uint8 (H, W) if all channels agree, else (H, W, 3) RGB.

    Alpha is laid over black, EXIF turns the image upright, and more than 8 bits follow ``gray.eight_bits``. Raises
    ``UnusableImage``, and nothing else, for a file that cannot be decoded to its end, for extreme sizes, constant
    images and stacks.
    """
    try:
        pictures = _pictures(io.BytesIO(data), Path(), NO_FOLDER)
        picture = next(pictures, UnusableImage("the file holds no image"))
        if others := sum(1 for _ in pictures):
            pages = f"the file holds {others + 1} pages or slices"
            raise UnusableImage(f"{pages}; a data set takes one image a file: store each by itself")
        if isinstance(picture, UnusableImage):
            raise picture
        return picture.pixels
    except Exception as error:
        raise refusal(error, len(data)) from error


def decode_mask(data: bytes, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Marked pixels (H, W) of a mask file for an image of ``shape`` (H, W); ``masks.read_marks`` says which.

    Raises ``UnusableImage``, and nothing else, for another size and for masks that mark too much.
    """
    return described_mask(data, shape)[0]


def described_mask(data: bytes, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], str]:
    """The same pixels as ``decode_mask``, and by which rule they are marked."""
    found = decode_marks(io.BytesIO(data), Path(), NO_FOLDER)
    return masks.laid_together(found, shape), found.rule


def decode_marks(source: BinaryIO, path: Path, folder: Folder) -> masks.Marks:
    """Marked pixels of every slice or page of an open mask file; raises ``UnusableImage``, and nothing else."""
    size = source.seek(0, 2)
    source.seek(0)
    try:
        if not size:
            raise UnusableImage("the file is empty (0 bytes)")
        return masks.read_marks(source, path, folder)
    except Exception as error:
        raise refusal(error, size) from error


def refusal(error: Exception, size: int | None = None) -> UnusableImage:
    """The reason to give for an exception: its class and text; ``size`` in bytes if the file was in memory."""
    if isinstance(error, UnusableImage):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        return UnusableImage(str(error))
    where = "" if size is None else f", {size} bytes"
    if isinstance(error, UnidentifiedImageError):  # its text holds a memory address, which differs in every run
        return UnusableImage(f"cannot be decoded{where}: not a known image format")
    said = one_line(UnusableImage(f"{type(error).__name__}: {error}"))
    return UnusableImage(f"cannot be decoded{where}: {said}; export it again")


def _pictures(source: BinaryIO, path: Path, folder: Folder) -> Pictures:
    """The images of an open file by the reader that its first bytes call for."""
    head = source.read(352)
    if nifti.is_volume(path, head, folder):
        return nifti.slices(source, path, folder)
    if not head:
        raise UnusableImage("the file is empty (0 bytes)")
    if dicom_stored.is_dicom(head):
        return dicom.frames(source, folder)
    if head.startswith(vol.START):
        return vol.scans(source)
    for start, what in NO_IMAGES.items():
        if head.lstrip().lower().startswith(start):
            raise UnusableImage(what)
    return vendors.named(images.pictures(source), path.name, head)
