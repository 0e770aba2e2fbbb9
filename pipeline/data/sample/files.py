"""The built-in sample: small fake downloads in the three official layouts, drawn from a seed, with real defects."""

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.layouts import LESIONS
from pipeline.data.sample import drawings

VERSION = 3  # raise it when the drawn files change
MARKER = "SAMPLE.json"
TUMOURS = ("glioma", "meningioma", "pituitary")
OCT_ABNORMAL: tuple[drawings.OctKind, ...] = ("CNV", "DME", "DRUSEN")

Files = Iterator[tuple[str, bytes]]


def write_sample(root: Path, seed: int = 0) -> None:
    """Write the data sets into ``root`` unless they are there; ``FileExistsError`` where it holds other files."""
    wanted = json.dumps({"seed": seed, "version": VERSION})
    marker = root / MARKER
    if marker.is_file() and marker.read_bytes() == wanted.encode():
        return
    if root.exists() and any(root.iterdir()) and not marker.is_file():
        raise FileExistsError(f"{root} holds other files than a sample; choose an empty folder for the sample")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as beside:
        building = Path(beside, root.name)
        for name, data in sample_files(seed):
            path = building / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (building / MARKER).write_text(wanted)
        if root.exists():
            shutil.rmtree(root)
        building.rename(root)


def sample_files(seed: int) -> Files:
    """(path below the sample's root, content) of every file."""
    streams = np.random.default_rng(seed).spawn(3)
    for dataset, files, rng in zip(("brain_mri", "oct", "idrid"), (_brain_mri, _oct, _idrid), streams, strict=True):
        for name, data in files(rng):
            yield f"{dataset}/{name}", data


def _brain_mri(rng: np.random.Generator) -> Files:
    """40 normals of which 6 are near-duplicates, 12 tumours, one copy, one truncated file."""
    drawn = [drawings.head_slice(rng, _odd_size(rng)) for _ in range(34)]
    brighter = [np.clip(image * 1.12 + 4, 0, 255).astype(np.uint8) for image in drawn[3:6]]
    normals = [*drawn, *(np.ascontiguousarray(image[:, ::-1]) for image in drawn[:3]), *brighter]
    names = [f"sartaj/Training/no_tumor/image({i}).jpg" for i in range(1, 17)]
    names += [f"sartaj/Testing/no_tumor/image({i}).jpg" for i in range(1, 7)]
    names += [f"br35h/no/no{i}.jpg" for i in range(1, 19)]
    yield from zip(names, map(jpeg, normals), strict=True)
    for kind in TUMOURS:
        for i in range(4):
            part = "Training" if i < 2 else "Testing"
            yield f"sartaj/{part}/{kind}_tumor/image({i + 1}).jpg", jpeg(drawings.head_slice(rng, (512, 512), True))
    yield "br35h/no/no90.jpg", jpeg(normals[7])
    yield "br35h/no/no91.jpg", cut(jpeg(drawings.head_slice(rng, _odd_size(rng))))


def _oct(rng: np.random.Generator) -> Files:
    """40 training normals of 20 patients, one of whom is in the test; 12 test normals; 4 of each kind."""
    train = "OCT2017/train/NORMAL"
    for i in range(40):
        name = f"{train}/NORMAL-{100100 + 7 * (i // 2)}-{i % 2 + 1}.jpeg"
        data = jpeg(drawings.oct_scan(rng, _oct_width(rng)))
        yield name, data
        if i == 8:
            yield f"{train}/NORMAL-{100100 + 7 * 4}-9.jpeg", data
        if i == 12:
            yield f"{train}/NORMAL-{100100 + 7 * 6}-9.jpeg", cut(data)
    for i in range(12):
        patient = 100100 + 7 * 19 if i == 0 else 200100 + 11 * i
        yield f"OCT2017/test/NORMAL/NORMAL-{patient}-{9 - i % 3}.jpeg", jpeg(drawings.oct_scan(rng, _oct_width(rng)))
    for k, kind in enumerate(OCT_ABNORMAL):
        for i in range(4):
            image = drawings.oct_scan(rng, _oct_width(rng), kind)
            yield f"OCT2017/test/{kind}/{kind}-{300100 + 1000 * k + 13 * i}-1.jpeg", jpeg(image)


def _idrid(rng: np.random.Generator) -> Files:
    """14 normals, one copy, one truncated file; 4 annotated images, one with RGBA masks, some without soft exudates."""
    folder = "B. Disease Grading/1. Original Images/a. Training Set"
    lines = ["Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,"]
    normals = [jpeg(drawings.fundus(rng)) for _ in range(15)]
    for i, data in enumerate([*normals[:14], cut(normals[14]), normals[0]]):
        yield f"{folder}/IDRiD_{200 + i}.jpg", data
        lines.append(f"IDRiD_{200 + i},0,0,,,,,,,,,")
    lines += [f"IDRiD_{i:03d},{i % 4 + 1},1,,,,,,,,," for i in range(1, 9)]
    labels = "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"
    yield labels, ("\r\n".join(lines) + "\r\n").encode()
    for i in range(1, 5):
        present = tuple(lesion for lesion in LESIONS if lesion != "SE" or i % 2)
        image, masks = drawings.plant_fundus_lesions(rng, drawings.fundus(rng), present)
        yield f"A. Segmentation/1. Original Images/a. Training Set/IDRiD_{i:02d}.jpg", jpeg(image)
        truths = "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set"
        for lesion, mask in masks.items():
            yield f"{truths}/{LESIONS[lesion]}/IDRiD_{i:02d}_{lesion}.tif", tiff(mask, rgba=i == 4)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """JPEG file of a gray or colour image."""
    Image.fromarray(image).save(buffer := io.BytesIO(), "JPEG", quality=92)
    return buffer.getvalue()


def tiff(mask: NDArray[np.bool_], rgba: bool = False) -> bytes:
    """Mask like the official files: a palette TIFF of {0, 1}, or RGBA with an opaque alpha plane."""
    if rgba:
        pixels = np.zeros((*mask.shape, 4), np.uint8)
        pixels[..., 0], pixels[..., 3] = 255 * mask, 255
        image = Image.fromarray(pixels)
    else:
        image = Image.fromarray(mask.astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(buffer := io.BytesIO(), "TIFF", compression="tiff_lzw")
    return buffer.getvalue()


def cut(data: bytes) -> bytes:
    """First 60 % of a file, like an interrupted download."""
    return data[: len(data) * 3 // 5]


def _odd_size(rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(190, 281)), int(rng.integers(180, 261))


def _oct_width(rng: np.random.Generator) -> int:
    return 512 if rng.random() < 0.7 else 768
