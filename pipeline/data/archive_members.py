"""Members of zip and tar files: which can be read, and a sentence on the others."""

import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import cast

from pipeline.data.walk import shown

MAX_MEMBERS = 5_000_000  # of a tar; the largest known download has 109,000
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}


def zip_members(packed: zipfile.ZipFile) -> tuple[dict[str, zipfile.ZipInfo], str]:
    """Members of a zip that can be read, by name with slashes, and a sentence on the others, if there are any."""
    found, refused, twice = dict[str, zipfile.ZipInfo](), Counter[str](), 0
    for item in packed.infolist():
        name = shown(item.filename.replace("\\", "/"))  # old Windows tools write backslashes
        if name.endswith("/"):
            continue
        if item.flag_bits & 1:
            refused["encrypted"] += 1
        elif item.compress_type not in _METHODS:
            names = {9: "method 9 (Deflate64, which Windows takes above 2 GB)"}
            refused[f"packed by {names.get(item.compress_type, f'method {item.compress_type}')}"] += 1
        else:
            twice += name in found and found[name].CRC != item.CRC
            found[name] = item
    what = " and ".join(f"{count} files are {how}" for how, count in sorted(refused.items()))
    remedy = "which cannot be read here: unpack it with the program that made it, or pack them anew as a plain .zip"
    said = [f"{what}, {remedy}"] if what else []
    said += [f"{twice} names stand twice with other content, of which the last is read"] if twice else []
    return found, "; ".join(said)


def tar_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Members of a tar; ``tarfile.ReadError`` for sizes below 0, by which tarfile would go round for ever."""
    for number, item in enumerate(tar):
        if (
            item.size < 0
            or tar.offset <= item.offset
            or any(min(at, n) < 0 or at + n > item.size for at, n in pieces(item))
        ):
            raise tarfile.ReadError(f"member {number + 1} has an impossible size")
        if number >= MAX_MEMBERS:
            raise tarfile.ReadError(f"expected at most {MAX_MEMBERS} members")
        yield item


def pieces(item: tarfile.TarInfo) -> list[tuple[int, int]]:
    """Place and size of what a sparse member holds; nothing for another member."""
    return cast(list[tuple[int, int]], item.sparse or [])
