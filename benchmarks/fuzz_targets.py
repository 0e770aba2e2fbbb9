"""What fuzzing tries: how an input is damaged, and the border that nothing else than a refusal may pass."""

import base64
import gzip
import json
import random
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import fuzz_seeds
from pipeline.data.datasets import DATASETS
from pipeline.data.decode import decode_image, decode_mask, read_frames
from pipeline.data.members import find_inputs, frames_of
from pipeline.data.raw import RawFolder
from pipeline.data.user_datasets.dataset import own_datasets, read_own
from pipeline.errors import ConfigError, DatasetUnusable, UnusableImage

NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    1000,
    32767,
    32768,
    65535,
    2**16,
    10**6,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
FORMATS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")
HEAD = 600  # bytes at the start, where half of the damage is done


@dataclass(frozen=True)
class Target:
    """A kind of input; ``run`` takes name, content and an empty folder, and says whether the input was read."""

    name: str
    seeds: Callable[[], fuzz_seeds.Seeds]
    run: Callable[[str, bytes, Path], str]
    words: tuple[bytes, ...] = ()  # put into text
    ready: Callable[[], object] = dict  # what is loaded once, before the first input


def damaged(target: Target, number: int) -> tuple[str, bytes]:
    """Name and content of the input of that number."""
    seeds, rng = _seeds(target), random.Random(number)
    name = rng.choice(sorted(seeds))
    other, packed = seeds[rng.choice(sorted(seeds))], name.endswith(".gz") and rng.random() < 0.7
    data = bytearray(gzip.decompress(seeds[name]) if packed else seeds[name])
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 5, 12))):
        _damage(data, rng, other, target.words)
    done = gzip.compress(data, 1, mtime=0) if packed else bytes(data)
    return name, with_checksums(done) if name.endswith(".png") and rng.random() < 0.7 else done


@cache
def _seeds(target: Target) -> fuzz_seeds.Seeds:
    return target.seeds()


def _damage(data: bytearray, rng: random.Random, other: bytes, words: tuple[bytes, ...]) -> None:
    """Damage the content in one place."""
    size = len(data)
    at = rng.randrange(min(size, HEAD) if rng.random() < 0.5 else size) if size else 0
    length = min(rng.choice((1, 2, 4, 8, 32, 200, 2000)), size - at)
    kind = rng.randrange(10 if words else 9)
    if kind == 0 and size:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and size:
        data[at] = rng.choice((0, 1, 127, 128, 254, 255, rng.randrange(256)))
    elif kind in (2, 3):
        form = rng.choice(FORMATS)
        value = rng.choice(NUMBERS) % 2 ** (8 * struct.calcsize(form))
        data[at : at + struct.calcsize(form)] = struct.pack(form, value)
    elif kind == 4:
        del data[at:]
    elif kind == 5:
        del data[at : at + length]
    elif kind == 6:
        data[at : at + length] = data[at : at + length] * rng.choice((2, 3, 50))
    elif kind == 7:
        data[at : at + length] = bytes([rng.choice((0, 255))]) * length
    elif kind == 8:
        start = rng.randrange(len(other))
        data[at : at + rng.choice((0, length))] = other[start : start + length]
    elif words:
        data[at : at + rng.choice((0, length))] = rng.choice(words)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold, so that the damage is read."""
    out, place = bytearray(data[:8]), 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if end + 4 > len(data):
            break
        out += data[place:end] + zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(out) + data[place:]


def _reads(name: str, data: bytes, folder: Path) -> str:
    path = folder / name
    path.write_bytes(data)
    found = 0
    for frame in read_frames(path):
        assert frame.pixels is None or frame.pixels.dtype == "uint8", frame
        assert bool(frame.reason) == (frame.pixels is None), frame
        assert frame.reason.isprintable(), frame
        found += frame.pixels is not None
    return "read" if found else "refused"


def _decodes(name: str, data: bytes, folder: Path) -> str:
    """As ``read_frames``, as an image of a data set, and as a mask."""
    with suppress(UnusableImage):
        shape = decode_image(data).shape[:2]
        with suppress(UnusableImage):
            decode_mask(data, (shape[0], shape[1]))
    return _reads(name, data, folder)


def _unpacks(name: str, data: bytes, folder: Path) -> str:
    """As a file to score, and as a download."""
    path = folder / name
    path.write_bytes(data)
    frames = [frame for one in find_inputs([path], Counter()) for frame in frames_of(one)]
    assert all(frame.reason.isprintable() for frame in frames), frames
    raw = RawFolder(folder)
    for inner in raw.paths():
        with suppress(UnusableImage):
            raw.read(inner)
    return "read" if any(frame.pixels is not None for frame in frames) else "refused"


def _labels(name: str, data: bytes, folder: Path) -> str:
    """Labels in IDRiD's layout, or the description of a data set."""
    try:
        if name.endswith(".yaml"):
            (folder / name).write_bytes(data)
            assert own_datasets(folder) is not None
            for made in ("ok", "ill", "worse", "masks"):
                (folder / made).mkdir()
            own = read_own(folder / name)
            own.row.scan(RawFolder(own.link_folders()))
        else:
            pictures = folder / "B" / "1. Original Images" / "a. Training Set"
            truths = folder / "B" / "2. Groundtruths"
            for made in (pictures, truths):
                made.mkdir(parents=True)
            for number in range(20):
                (pictures / f"IDRiD_{100 + number}.jpg").write_bytes(b"x")
            (truths / "a. IDRiD_Disease Grading_Training Labels.csv").write_bytes(data)
            DATASETS["idrid"].scan(RawFolder(folder))
    except (ConfigError, DatasetUnusable):
        return "refused"
    return "read"


@cache
def served() -> tuple[Any, Any]:
    """The small detector as MLflow serves it: the loaded model and its input schema."""
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # MLflow's, about its own classes
        from mlflow.pyfunc import load_model

        from benchmarks.small_detector import small_detector
        from pipeline.wiring.registry import save

        save(Path(folder, "model"), small_detector(Path(folder)))
        model = load_model(str(Path(folder, "model")))
    return model, model.metadata.get_input_schema()


def answer(data: bytes) -> tuple[int, str]:
    """Status and body of MLflow's server for the body of a request."""
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import invocations

    try:
        found = invocations(data.decode(errors="replace"), "application/json", *served())
    except MlflowException as error:  # which the server turns into this answer
        return error.get_http_status_code(), error.serialize_as_json()
    return found.status, found.response


def _asks(name: str, data: bytes, folder: Path) -> str:
    status, body = answer(data)
    assert status < 500, body[:300]
    assert "Traceback" not in body, body[:1000]
    if status != 200:
        return "refused"
    return "read" if any(row["score"] is not None for row in json.loads(body)["predictions"]) else "refused"


def _requests() -> fuzz_seeds.Seeds:
    files = fuzz_seeds.images()
    posted = {name: base64.b64encode(files[name]).decode() for name in ("l.png", "rgb.jpg", "l.jpg")}
    records = [{"image": content} for content in posted.values()]
    bodies = {"one": {"dataframe_records": records[:1]}, "three": {"dataframe_records": records}}
    bodies["rate"] = {"dataframe_records": records[1:], "params": {"false_alarm_rate": 0.1, "method": "denoising"}}
    bodies["split"] = {"dataframe_split": {"columns": ["image"], "data": [[posted["l.png"]]]}}
    bodies["inputs"] = {"inputs": {"image": [posted["l.jpg"]]}}
    return {f"{name}.json": json.dumps(body).encode() for name, body in bodies.items()}


_LABEL_WORDS = (
    b'"',
    b"\r\n",
    b"\0",
    b",,",
    b"9",
    b"-1",
    b"\xff\xfe",
    b"IDRiD_103,2",
    b"&a [*a]",
    b"<<: *a",
    b"!!python/x 1",
)
_LABEL_WORDS += (
    b": ",
    b"- ",
    b"[" * 500,
    b"{",
    b"}",
    b"|",
    b"~",
    b".nan",
    b".inf",
    b"1e999",
    b"?",
    b"2026-01-01",
    b"\t",
)
_REQUEST_WORDS = (
    b'"',
    b"null",
    b"{}",
    b"[]",
    b"NaN",
    b"1e999",
    b"-1",
    b"true",
    b'"image"',
    b"[" * 500,
    b",",
    b"\\u0000",
)
_REQUEST_WORDS += (b"\xff", b'"params": {"false_alarm_rate": 0}', b"0.0001", b"AAAA", b'{"image": null}', b"Infinity")

TARGETS = {
    target.name: target
    for target in (
        Target("images", fuzz_seeds.images, _decodes),
        Target("stacks", fuzz_seeds.stacks, _decodes),
        Target("dicom", fuzz_seeds.dicom, _reads),
        Target("nifti", fuzz_seeds.nifti, _reads),
        Target("archives", fuzz_seeds.archives, _unpacks),
        Target("labels", fuzz_seeds.labels, _labels, _LABEL_WORDS),
        Target("requests", _requests, _asks, _REQUEST_WORDS, served),
    )
}
"""Name → what is tried."""
