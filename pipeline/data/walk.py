"""Files of a folder, every real folder once, with the number of files passed over by kind.

Left out are hidden files, folders that storage devices and systems add, and what this product wrote itself.
"""

import heapq
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.data.decode import SUFFIXES
from pipeline.data.read.folder import without_voxels

HEAD = 352  # bytes at the start of a file that tell its format
SYSTEM = re.compile(
    r"@(eadir|tmp|recycle|recently-snapshot|sharebin|sharesnap|__thumb|syno.*)|#(recycle|snapshot)|~snapshot|recyclers?"
    r"|recycled|\$(recycle\.bin|extend)|system volume information|lost\+found|__macosx|network trash folder"
    r"|temporary items",
    re.IGNORECASE,
)
"""Folders that Synology, QNAP, NetApp, Windows, macOS and Linux add to a shared disk."""
OVERLAY = re.compile(r"-[0-9a-f]{8}-\d+\.png$")
"""End of the name of a picture that ``proxyano score`` writes into a folder ``overlays``."""
HOME = {"dagster", "stores"}  # folders that tell a PROXYANO_HOME

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SIGNATURES = (
    b"\x89PNG\r\n",
    b"\xff\xd8\xff",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"GIF8",
    b"\0\0\0\x0cjP  ",
    b"HSF-OCT-",
)
_BARE_DICOM = re.compile(  # without preamble: group 2 or 8, explicit with a type or implicit with a short length
    rb"[\x02\x08]\0.\0(?:UL|UI|CS|SH|LO|DA|TM|OB|AE|PN|ST|DT|SQ|IS)|\x08\0[\0\x01\x05\x06\x08\x12-\x18]\0[\0-\x40]\0\0\0",
    re.DOTALL,
)


def shown(name: str) -> str:
    """A name for tables and terminals: bytes that are not UTF-8 and control characters are escaped, as ``\\xfc``."""

    def escaped(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else match[0].encode("unicode_escape").decode()

    return _UNPRINTABLE.sub(escaped, name)


def is_image(head: bytes) -> bool:
    """Whether the first ``HEAD`` bytes of a file are those of an image, a DICOM file or a NIfTI volume."""
    bitmap = (head.startswith(b"BM") and head[6:10] == bytes(4)) or head[4:11] in (b"ftypavi", b"ftyphei", b"ftypmif")
    volume = head[128:132] == b"DICM" or head[344:348] in (b"n+1\0", b"ni1\0") or _BARE_DICOM.match(head) is not None
    return head.startswith(_SIGNATURES) or bitmap or volume or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def kind_of(name: str) -> str:
    """Kind of a file that is passed over, for counts: its suffix in small letters."""
    return os.path.splitext(name)[1].lower() or "without suffix"


def left_out(name: str, above: str) -> str:
    """Kind of a file or folder that never counts, by its name and that of the folder above; empty if it does."""
    if SYSTEM.fullmatch(name):
        return f"system folder {name}"
    if name.startswith(".") and name != ".":
        return "hidden"
    return "own overlay" if above == "overlays" and OVERLAY.search(name) else ""


def walk(root: Path, passed: Counter[str]) -> list[tuple[str, Path]]:
    """(posix path below ``root`` as ``shown``, path) of every file that counts, sorted; ``passed`` counts the others.

    Links are followed; a real folder counts once: where most of its path is no link. A file may be no regular one.
    """
    found, seen = list[tuple[str, Path]](), set[str]()
    folders = [(0, 0, "", str(root), os.path.realpath(root))]  # links and folders after the last one on the way to it
    while folders:
        links, depth, above, folder, real = heapq.heappop(folders)
        if real in seen:
            passed["folder linked again"] += 1
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            passed[f"folder that cannot be opened, {above or shown(folder)}: {error.strerror}"] += 1
            continue
        if above and {entry.name for entry in entries} >= HOME:
            passed["own home"] += 1
            continue
        for entry in entries:
            name = f"{above}/{shown(entry.name)}" if above else shown(entry.name)
            if kind := left_out(shown(entry.name), os.path.basename(folder)):
                passed[kind] += 1
            elif entry.is_dir(follow_symlinks=False):
                heapq.heappush(folders, (links, depth + 1, name, entry.path, os.path.join(real, entry.name)))
            elif entry.is_symlink() and os.path.isdir(entry.path):
                heapq.heappush(folders, (links + 1, 0, name, entry.path, os.path.realpath(entry.path)))
            else:
                found.append((name, Path(entry.path)))
    return sorted(found)


def find_files(
    paths: Sequence[Path], passed: Counter[str] | None = None, also: re.Pattern[str] | None = None
) -> Iterator[Path]:
    """The given files, and all images below the given folders, sorted, each once; ``passed`` counts the others by kind.

    An image has a known suffix or the content of one; ``also`` finds other names. Raises ``FileNotFoundError`` if a
    given path is missing.
    """
    passed = Counter() if passed is None else passed
    given = set[Path]()
    for path in paths:
        if not os.path.exists(path):
            raise FileNotFoundError(f"no such file or folder: {path}")
        inside = walk(path, passed) if path.is_dir() else [("", path)]
        kept = set(without_voxels(name for name, _ in inside))
        for name, file in inside:
            if file in given or name not in kept:
                continue
            known = name.lower().endswith(SUFFIXES) or (also is not None and also.search(name))
            if name and not known and (kind := _no_image(file)):
                passed[kind] += 1
                continue
            given.add(file)
            yield file


def _no_image(file: Path) -> str:
    """Kind of a file that is no image by its content; empty if it is one."""
    if not file.is_file():
        return "no regular file"
    if file.name.upper() == "DICOMDIR":
        return "DICOMDIR"
    try:
        return "" if is_image(head_of(file)) else kind_of(file.name)
    except OSError:
        return "unreadable file"


def head_of(file: Path) -> bytes:
    """The first ``HEAD`` bytes of a file."""
    with file.open("rb") as opened:
        return opened.read(HEAD)
