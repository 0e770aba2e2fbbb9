"""Formats of makers of OCT devices: known by name or first bytes, and refused with the way out."""

from pathlib import PurePath

from PIL import UnidentifiedImageError

from pipeline.data.read.gray import Pictures
from pipeline.errors import UnusableImage

_HEIDELBERG = "Heidelberg; in Heidelberg Eye Explorer"
_TOPCON = "Topcon; in IMAGEnet"
_MAKERS = {
    **dict.fromkeys((".e2e", ".vol", ".sdb"), _HEIDELBERG),
    **dict.fromkeys((".fda", ".fds"), _TOPCON),
    ".oct": "Bioptigen or Optovue; in its software",
    ".img": "Zeiss, unless a header .hdr is missing beside it; in Zeiss Forum or the device's software",
}
_STARTS = {b"CMDb": _HEIDELBERG, b"FOCT": _TOPCON}
SUFFIXES = tuple(_MAKERS)


def named(pictures: Pictures, name: str, head: bytes) -> Pictures:
    """The pictures of a file; ``UnusableImage`` names the maker where they are none, but in the format of one."""
    try:
        yield from pictures
    except UnidentifiedImageError:
        start = next((maker for start, maker in _STARTS.items() if head.startswith(start)), "")
        if maker := start or _MAKERS.get(PurePath(name).suffix.lower(), ""):
            raise UnusableImage(f"a format of the maker ({maker}: export the scans as DICOM or TIFF)") from None
        raise
