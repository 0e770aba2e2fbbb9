"""TIFF packed as fax: sound pictures are read, damaged codes are refused although libtiff draws on."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pipeline.data.decode import decode_image, decode_mask
from pipeline.errors import UnusableImage

PICTURE = np.zeros((120, 90), bool)
PICTURE[20:60, 15:70] = np.random.default_rng(0).random((40, 55)) < 0.3
PICTURE[70:110, 30:80] = True
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def packed(method: str, *, rows: int = 120, **tags: int) -> bytes:
    told = ImageFileDirectory_v2()
    for tag, value in tags.items():
        told[int(tag[1:])] = value
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "TIFF", compression=method, tiffinfo=told, strip_size=rows * 12)
    return file.getvalue()


def strips(data: bytes) -> list[tuple[int, int]]:
    with Image.open(io.BytesIO(data)) as image:
        return list(zip(image.tag_v2[273], image.tag_v2[279], strict=True))


@pytest.mark.parametrize("method", ["group4", "group3", "tiff_ccitt"])
@pytest.mark.parametrize("rows", [120, 16])
@pytest.mark.parametrize("tags", [{}, {"t262": 0}, {"t274": 6}, {"t274": 3, "t262": 0}])
def test_sound_fax_is_read(method: str, rows: int, tags: dict[str, int]) -> None:
    data = packed(method, rows=rows, **tags)
    assert len(strips(data)) == -(-120 // rows)
    turn = {6: -1, 3: 2}.get(tags.get("t274", 1), 0)
    assert np.array_equal(decode_image(data) > 0, np.rot90(PICTURE, turn))


def test_bits_in_reversed_order_are_sound() -> None:
    data = bytearray(packed("group4", t266=1))
    ((at, size),) = strips(bytes(data))
    order = data.index(b"\x0a\x01\x03\x00\x01\x00\x00\x00\x01\x00")
    data[order + 8] = 2
    data[at : at + size] = bytes(data[at : at + size]).translate(REVERSED)
    assert np.array_equal(decode_image(bytes(data)) > 0, PICTURE)


def test_codes_without_an_end_mark_are_sound() -> None:
    data = packed("group4")
    ((at, size),) = strips(data)
    bits = "".join(f"{byte:08b}" for byte in data[at : at + size]).rstrip("0").removesuffix(2 * "000000000001")
    bits += "0" * (8 * size - len(bits))
    codes = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8))
    assert np.array_equal(decode_image(data[:at] + codes + data[at + size :]) > 0, PICTURE)


def test_a_cut_strip_is_refused() -> None:
    data = packed("group4")
    ((at, size),) = strips(data)
    for left in (size // 4, size // 2, size - 8):
        zeros = data[: at + left] + bytes(size - left) + data[at + size :]
        shorter = data.replace(size.to_bytes(4, "little"), left.to_bytes(4, "little"), 1)
        for cut in (zeros, shorter):
            with pytest.raises(UnusableImage, match="the TIFF is damaged"):
                decode_image(cut)
            with pytest.raises(UnusableImage, match="the TIFF is damaged"):
                decode_mask(cut, PICTURE.shape)


@pytest.mark.parametrize("method", ["group4", "group3", "tiff_ccitt"])
def test_a_flipped_bit_is_refused_or_harmless(method: str) -> None:
    """Where other codes stand for another whole picture, nothing can tell; that is rare."""
    data = packed(method)
    ((at, size),) = strips(data)
    rng, silent = np.random.default_rng(1), 0
    for bit in rng.integers(0, 8 * (size - 6), 150):
        flipped = bytearray(data)
        flipped[at + bit // 8] ^= 1 << (bit % 8)
        try:
            silent += not np.array_equal(decode_image(bytes(flipped)) > 0, PICTURE)
        except UnusableImage:
            continue
    assert silent <= (6 if method == "group4" else 0)
