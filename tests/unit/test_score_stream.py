"""Many files in bounded memory: order, reasons, and how much is held at once."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.detectors.folder import stream as streaming
from pipeline.detectors.folder.stream import BATCH, stream
from pipeline.errors import UnusableImage


@dataclass
class Told:
    """A detector that says what it was given."""

    batches: list = field(default_factory=list)

    def cut(self, pixels):
        if pixels.max() < 60:
            raise UnusableImage("too dark for this form")
        return ("tile",)

    def score_tiles(self, images):
        self.batches.append(len(images))
        return [int(pixels[0, 0]) for pixels, _ in images]


def picture(path, value):
    pixels = np.full((40, 40), value, np.uint8)
    pixels[1, 1] = 3
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    for number in range(40):
        picture(tmp_path / f"{number:02d}.png", 100 + number)
    picture(tmp_path / "05.png", 50)
    (tmp_path / "07.png").write_bytes(b"no picture")
    pages = [Image.fromarray(np.pad(np.full((38, 38), value, np.uint8), 1)) for value in range(120, 143)]
    pages[0].save(tmp_path / "20.png", format="TIFF", save_all=True, append_images=pages[1:])
    return sorted(tmp_path.iterdir())


def test_frames_come_in_order_and_what_cannot_be_used_with_its_reason(folder):
    detector, ended = Told(), []
    found = list(stream(detector, folder, ended=ended.append))
    assert ended == folder
    assert [(one.path, one.number) for one in found] == [
        (path, number) for path in folder for number in range(23 if path.name == "20.png" else 1)
    ]
    reasons = {one.path.name: one.reason for one in found if one.image is None}
    assert set(reasons) == {"05.png", "07.png"}
    assert reasons["05.png"] == "too dark for this form"
    assert "cannot be decoded" in reasons["07.png"]
    assert [one.image for one in found if one.path.name == "39.png"] == [139]
    assert max(detector.batches) <= BATCH
    assert len({one.sha256 for one in found if one.path.name == "20.png"}) == 1


def test_large_images_are_scored_in_smaller_batches(folder, monkeypatch):
    monkeypatch.setattr(streaming, "BATCH_BYTES", 4 * 40 * 40)
    detector = Told()
    list(stream(detector, folder))
    assert max(detector.batches) <= 5


def test_a_file_that_goes_away_is_a_reason_and_not_the_end(folder, tmp_path):
    found = list(stream(Told(), [folder[0], tmp_path / "gone.png", folder[1]]))
    assert [one.image for one in found] == [100, None, 101]
    assert "No such file" in found[1].reason


def test_files_are_read_only_a_little_ahead(folder):
    asked: list[Path] = []

    def asking():
        for path in folder:
            asked.append(path)
            yield path

    answers = stream(Told(), asking())
    next(answers)
    assert len(asked) <= BATCH + streaming.AHEAD + 1
    list(answers)
