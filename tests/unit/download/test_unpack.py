"""Archives nobody looked into: plain files come out, anything else leaves nothing behind."""

import contextlib
import io
import stat
import struct
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.data.download.fetch import unpack
from pipeline.errors import ContentDiffers


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, *items: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for item in items:
            if isinstance(item, tarfile.TarInfo):
                archive.addfile(item)
            else:
                info = tarfile.TarInfo(item[0])
                info.size = len(item[1])
                archive.addfile(info, io.BytesIO(item[1]))
    return path


def special(name: str, kind: bytes, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_one_folder_at_the_top_is_the_new_folder(tmp_path):
    made = unpack(zipped(tmp_path / "A. x.zip", {"A/1/a.jpg": b"a", "A/b.csv": b"b"}), tmp_path)
    assert made == tmp_path / "A"
    assert tree(made) == {"1/a.jpg": b"a", "b.csv": b"b"}


def test_several_tops_come_below_the_archives_name(tmp_path):
    archive = tarred(tmp_path / "x.tar.gz", ("./t/a.jpg", b"a"), ("u/b.jpg", b"b"), ("._t", b"mac"))
    made = unpack(archive, tmp_path)
    assert made == tmp_path / "x"
    assert tree(made) == {"t/a.jpg": b"a", "u/b.jpg": b"b"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x", "x.tar.gz"]


@pytest.mark.parametrize("name", ["../evil.jpg", "a/../../evil.jpg", "/evil.jpg", "a\\..\\evil.jpg", "C:/evil.jpg"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_nothing_leaves_the_new_folder(tmp_path, name, kind):
    inner = tmp_path / "raw"
    inner.mkdir()
    path = inner / f"x.{kind}"
    archive = (
        zipped(path, {"a.jpg": b"a", name: b"e"}) if kind == "zip" else tarred(path, ("a.jpg", b"a"), (name, b"e"))
    )
    with contextlib.suppress(ContentDiffers):
        unpack(archive, inner)
    assert all(file == f"raw/x.{kind}" or file.startswith("raw/x/") for file in tree(tmp_path))
    assert not Path("/evil.jpg").exists()


@pytest.mark.parametrize(
    "item",
    [
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("up", tarfile.SYMTYPE, "../../x"),
        special("hard", tarfile.LNKTYPE, "/etc/passwd"),
        special("device", tarfile.CHRTYPE),
        special("disk", tarfile.BLKTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda item: item.name,
)
def test_links_out_of_the_folder_and_devices_in_a_tar_are_refused(tmp_path, item):
    with pytest.raises(ContentDiffers, match="cannot be unpacked"):
        unpack(tarred(tmp_path / "x.tar.gz", ("a.jpg", b"a"), item), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar.gz"]


def test_a_link_in_a_zip_is_no_link_afterwards(tmp_path):
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert not (unpack(tmp_path / "x.zip", tmp_path) / "link").is_symlink()


def test_more_than_fits_on_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.data.download.fetch.shutil.disk_usage", lambda path: SimpleNamespace(free=150_000))
    with pytest.raises(ContentDiffers, match="expected room for 200000 bytes, got 150000"):
        unpack(zipped(tmp_path / "x.zip", {"a.jpg": bytes(100_000), "b.jpg": bytes(100_000)}), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def test_a_header_that_lies_about_a_size_is_found(tmp_path):
    archive = zipped(tmp_path / "x.zip", {"a.jpg": bytes(5_000)})
    content = bytearray(archive.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 1_000)  # size in the central directory
    archive.write_bytes(content)
    with pytest.raises(ContentDiffers):
        unpack(archive, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def test_a_damaged_archive_leaves_nothing(tmp_path):
    archive = tarred(tmp_path / "x.tar.gz", ("a.jpg", bytes(range(256)) * 400))
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(ContentDiffers, match=r"cannot be unpacked: .*download it again"):
        unpack(archive, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar.gz"]


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    archive = zipped(tmp_path / "x.zip", {"A/a.jpg": b"new"})
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "a.jpg").write_bytes(b"old")
    with pytest.raises(ContentDiffers, match="expected no such folder yet"):
        unpack(archive, tmp_path)
    assert tree(tmp_path / "A") == {"a.jpg": b"old"}
