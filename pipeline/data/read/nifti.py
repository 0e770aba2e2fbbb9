"""NIfTI, Analyze and MGH volumes by nibabel: axial slices, read one by one from the file."""

import contextlib
import gzip
import io
import math
import mmap
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.data.read.folder import Folder
from pipeline.data.read.gray import (
    MAX_BYTES,
    MAX_FRAMES,
    MAX_INFLATED,
    MAX_VOXELS,
    MIN_SIDE,
    PERCENTILES,
    PLANES,
    SAMPLE,
    Origin,
    Pictures,
    black_and_white,
    joined,
    square_pixels,
    stretched,
    usable,
)
from pipeline.errors import UnusableImage

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".mgh", ".mgz")
GZIP = b"\x1f\x8b"
FIRST = "volume 1 of"  # in the notes on a file of several
PAIR, PAIRED = (".hdr", ".img"), "pair"  # suffixes, and the stem under which nibabel reads them
CHUNK = 2**22  # bytes unpacked at once
HELD = 2**27  # bytes; larger volumes are given back to the system plane by plane


def is_volume(path: Path, head: bytes, folder: Folder) -> bool:
    """Whether a file is a volume, by its first bytes (at least 352) or, for what no magic tells, by its suffix."""
    name = path.name.lower()
    voxels = name.endswith(".img") and folder.twin(".hdr") != ""
    return voxels or name.endswith(SUFFIXES) or head[:2] == GZIP or _kind(head) == ".nii"


@dataclass(frozen=True)
class Volume:
    """Stored values (slices from the feet up, rows from the front, columns from the right), left in the file."""

    values: NDArray[Any]  # (N, H, W)
    scale: tuple[float, float]  # slope and intercept
    spacing: NDArray[Any]  # mm, rightwards, to the front, upwards
    origin: Origin
    notes: str  # what is unknown, or left out

    def planes(self) -> Iterator[NDArray[Any]]:
        """Its slices (H, W); what was read of a large volume does not stay in memory."""
        stored: Any = self.values
        while not isinstance(getattr(stored, "_mmap", stored.base), mmap.mmap):
            stored = stored.base
        for plane in self.values:
            yield plane
            if self.values.nbytes > HELD and hasattr(mmap, "MADV_DONTNEED"):
                stored._mmap.madvise(mmap.MADV_DONTNEED)

    def scaled(self, plane: NDArray[Any]) -> NDArray[np.float64]:
        """Real values of some stored ones."""
        real = np.abs(plane) if plane.dtype.kind == "c" else plane
        return np.asarray(real, np.float64) * self.scale[0] + self.scale[1]


@contextlib.contextmanager
def opened(source: BinaryIO, path: Path, folder: Folder) -> Iterator[Volume]:
    """The first volume of a file."""
    with _plain(source, path, folder) as (image, store):
        stored, note = _first_volume(image, store)
        spacing, turned, place = _axial(image, stored)
        unknown = "orientation unknown, as stored" if not place else "" if _stated(image) else "orientation not stated"
        scale = float(image.dataobj.slope), float(image.dataobj.inter)
        values = turned.transpose(2, 1, 0)[:, ::-1, ::-1]
        yield Volume(values, scale, spacing, _origin(spacing, place), joined(note, unknown))


def slices(source: BinaryIO, path: Path, folder: Folder) -> Pictures:
    """Axial slices of the first volume from the feet up, the patient's front up and left on the right."""
    with opened(source, path, folder) as volume:
        coloured = volume.values.dtype.names is not None  # shown as they are
        low, high = (0.0, 0.0) if coloured else _black_and_white(volume)
        for plane in volume.planes():
            if coloured:
                shown, rule = np.stack([plane[name] for name in "RGB"], axis=-1), "colours"
            else:
                shown, rule = stretched(plane, low, high, volume.scaled), PERCENTILES
            shown, resampled = square_pixels(shown, volume.spacing[1], volume.spacing[0])
            yield usable(shown, joined(rule, volume.notes, resampled), among=len(volume.values), origin=volume.origin)


def _kind(head: bytes) -> str:
    """Suffix by which nibabel reads a file with these first bytes; empty if they tell nothing."""
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return ".nii"
    return ".mgh" if head[:4] == b"\0\0\0\1" else ""


@contextlib.contextmanager
def _plain(source: BinaryIO, path: Path, folder: Folder) -> Iterator[tuple[Any, Path]]:
    """The image with its header, and the file of its voxels: the file itself or an unpacked copy.

    Only the first volume is kept of a packed file, but it is unpacked to its end, where its checksum stands.
    """
    source.seek(0)
    packed = source.read(2) == GZIP
    source.seek(0)
    stream: Any = gzip.GzipFile(fileobj=source) if packed else source
    named, held = str(path), contextlib.ExitStack()
    try:
        head = stream.read(CHUNK)
        kind = _kind(head)
        if not packed and not kind and path.name.lower().endswith(PAIR):
            work = held.enter_context(tempfile.TemporaryDirectory())
            named = f"{work}/{PAIRED}"
            yield _pair(folder, Path(work), held)
            return
        in_memory = isinstance(source, io.BytesIO)  # then there is no such file, or another one
        if not packed and not in_memory and (not kind or path.name.lower().endswith(kind)):
            yield _loaded(path, kind, held)
            return
        with tempfile.NamedTemporaryFile(suffix=kind or ".nii") as copy:
            named = copy.name
            copy.write(head)
            copy.flush()
            image, _ = _loaded(Path(copy.name), kind, held)
            needed, done = image.dataobj.offset + _bytes(image), len(head)
            if needed > shutil.disk_usage(copy.name).free:
                raise UnusableImage(f"expected {needed / 1e9:.1f} GB free in {Path(copy.name).parent} to unpack it")
            while more := stream.read(CHUNK):
                copy.write(more[: max(0, needed - done)])
                done += len(more)
                if done > MAX_INFLATED:
                    raise UnusableImage(f"expected at most {MAX_INFLATED / 2**30:g} GiB unpacked, got more")
            copy.flush()
            yield image, Path(copy.name)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        reason = f"the packed file is damaged ({error}): a checksum differs; copy or download it again"
        raise UnusableImage(f"no readable NIfTI volume: {reason}") from error
    except Exception as error:
        if isinstance(error, UnusableImage):
            raise
        said = str(error).replace(named, "the file")
        reason = f"{type(error).__name__}: {said}; copy or export it again"
        raise UnusableImage(f"no readable NIfTI volume: {reason}") from error
    finally:
        held.close()


def _pair(folder: Folder, work: Path, held: contextlib.ExitStack) -> tuple[Any, Path]:
    """The image of a header beside its voxels, under names that nibabel finds: links, or copies from an archive."""
    for suffix in (*PAIR, ".mat"):  # the last, of SPM, may be missing
        if found := folder.twin(suffix):
            with folder.opened(found) as one:
                target = work / f"{PAIRED}{suffix}"
                if isinstance(one, io.BufferedReader):
                    target.symlink_to(Path(one.name).absolute())
                else:
                    target.write_bytes(one.read())
        elif suffix in PAIR:
            raise UnusableImage(f"expected a header and its voxels, two files of one name, and got no {suffix}")
    return _loaded(work / f"{PAIRED}.hdr", "", held)


def _loaded(path: Path, kind: str, held: contextlib.ExitStack) -> tuple[Any, Path]:
    """The image of a file, and the file of its voxels; ``held`` closes what nibabel would leave open."""
    import nibabel

    if not kind:  # a header beside its voxels
        image = nibabel.load(path)
        return image, Path(image.file_map["image"].filename)
    file = held.enter_context(path.open("rb"))
    second = file.read(8)[4:] == b"n+2\0"
    file.seek(0)
    single = nibabel.MGHImage if kind == ".mgh" else nibabel.Nifti2Image if second else nibabel.Nifti1Image
    return single.from_stream(file), path


def _bytes(image: Any) -> int:
    """Bytes of an image's first volume; ``UnusableImage`` above the limits."""
    shape = tuple(int(side) for side in image.shape)
    if len(shape) < 2 or min(shape) < 1:
        raise UnusableImage(f"expected a volume of 2 or more axes, got shape {shape}")
    voxels, depth = math.prod(shape[:3]), int(image.dataobj.dtype.itemsize)
    if voxels > MAX_VOXELS or max(shape[:3]) > MAX_FRAMES or math.prod(sorted(shape[:3])[-2:]) * depth > MAX_BYTES:
        most = f"{MAX_VOXELS / 1e6:.0f} million voxels, {MAX_FRAMES} a side, {MAX_BYTES / 1e6:.0f} MB a slice"
        raise UnusableImage(f"expected at most {most}, got shape {shape}, {depth} bytes a voxel")
    return voxels * depth


def _first_volume(image: Any, store: Path) -> tuple[NDArray[Any], str]:
    """Stored voxels (X, Y, Z) of the first volume, left in the file until they are asked for, and which that is."""
    _bytes(image)
    shape = tuple(int(side) for side in image.shape)
    proxy = image.dataobj
    first = (*shape, 1)[:3]
    volume = np.memmap(store, proxy.dtype, "r", proxy.offset, first, order="F")
    others = math.prod(shape[3:])
    return volume, f"{FIRST} {others}" if others > 1 else ""


def _axial(image: Any, volume: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], tuple[float, ...]]:
    """Spacing (3 values, mm) and voxels along right, front and top; their place, empty where it is unknown."""
    from nibabel.affines import voxel_sizes
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    affine, known = np.asarray(image.affine, float), True
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        affine, known = np.diag([*_zooms(image), 1.0]), False
    turned = apply_orientation(volume, io_orientation(affine))
    place = affine @ inv_ornt_aff(io_orientation(affine), volume.shape)
    order = np.argsort(io_orientation(affine)[:, 0])
    spacing = voxel_sizes(affine)[order]
    if min(turned.shape[:2]) < MIN_SIDE:
        width, height, _ = turned.shape
        thick = int(np.argmax(spacing))
        where = (
            f"; slices lie {('sagittally', 'coronally')[thick]}, {spacing[thick]:.3g} mm apart: no axial picture"
            if thick < 2
            else ""
        )
        raise UnusableImage(f"expected axial slices of at least {MIN_SIDE} px a side, got {width}×{height}{where}")
    return spacing, turned, tuple(float(number) for number in place[:3].ravel()) if known else ()


def _stated(image: Any) -> bool:
    """Whether the header says how its axes lie; Analyze leaves it to a file beside it, and NIfTI may say nothing."""
    if "sform_code" in image.header.keys():  # noqa: SIM118 - the header's ``in`` asks for a value
        return bool(int(image.header["sform_code"]) or int(image.header["qform_code"]))
    beside = image.file_map.get("mat") if "image" in image.file_map and "header" in image.file_map else None
    return "goodRASFlag" in image.header.keys() or bool(beside and Path(str(beside.filename)).is_file())  # noqa: SIM118


def _origin(spacing: NDArray[Any], place: tuple[float, ...]) -> Origin:
    """Plane in which slices were taken, by the axis of the widest spacing (mm); axial unless it is much wider."""
    widest = int(np.argmax(spacing))
    wide = spacing[widest] > 1.25 * float(np.median(spacing))
    plane, between = (PLANES[widest], spacing[widest]) if wide else ("axial", spacing[2])
    return Origin(plane=plane if place else "", pixel=float(spacing.min()), spacing=float(between), place=place)


def _zooms(image: Any) -> list[float]:
    zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]]
    return [zoom if math.isfinite(zoom) and zoom > 0 else 1.0 for zoom in (*zooms, 1.0, 1.0)[:3]]


def _black_and_white(volume: Volume) -> tuple[float, float]:
    """By at most ``SAMPLE`` voxels spread over all slices; ``UnusableImage`` if they show nothing."""
    side = math.ceil(math.sqrt(max(1, volume.values.size / SAMPLE)))
    low, high = black_and_white([volume.scaled(plane[::side, ::side]).ravel() for plane in volume.planes()])
    if low == high:
        raise UnusableImage(f"every voxel has the value {low:g}: nothing was imaged")
    return low, high
