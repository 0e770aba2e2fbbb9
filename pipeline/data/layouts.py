"""Layouts of the official downloads: candidate images by the folders above a file, before any pixel is read."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.data.raw import RawFolder
from pipeline.errors import DatasetUnusable, UnusableImage

BRAIN_MRI = """sartaj/{Training,Testing}/{no_tumor,glioma_tumor,meningioma_tumor,pituitary_tumor}/*.jpg
br35h/no/no1.jpg
or the same inside archives (archive.zip)"""
OCT = """OCT2017/test/{NORMAL,CNV,DME,DRUSEN}/CLASS-PATIENT-N.jpeg
OCT2017/train/NORMAL/NORMAL-PATIENT-N.jpeg (or neutral names normal_train_N.jpg)
or the same inside OCT2017.tar.gz, ZhangLabData.zip or archive.zip"""
IDRID = """A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg
A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_01_MA.tif
B. Disease Grading/1. Original Images/a. Training Set/IDRiD_001.jpg
B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv
or the same inside archives (A. Segmentation.zip, B. Disease Grading.zip)"""
LESIONS = {"MA": "1. Microaneurysms", "HE": "2. Haemorrhages", "EX": "3. Hard Exudates", "SE": "4. Soft Exudates"}
"""Name of a lesion in IDRiD → folder of its masks."""

_FILE = r"(?P<name>[^/]+\.(?:jpe?g|png))$"
_SARTAJ = re.compile(rf"(?:^|/)(?P<part>Training|Testing)/(?P<klass>no|glioma|meningioma|pituitary)_tumor/{_FILE}")
_BR35H = re.compile(r"(?:^|/)no/(?P<name>[Nn]o ?\d+\.(?:jpe?g|png))$")
_OCT = re.compile(rf"(?:^|/)(?P<split>train|test)/(?P<klass>NORMAL|CNV|DME|DRUSEN)/{_FILE}")
_PATIENT = re.compile(r"(?:NORMAL|CNV|DME|DRUSEN)-(\d+)-\d+\.")
_ORDER = re.compile(r"normal_train_(\d+)\.")
_IMAGE = re.compile(
    r"(?P<top>.*?)1\. Original Images/(?P<set>a\. Training Set|b\. Testing Set)/(?P<name>IDRiD_\d+)\.jpg$"
)
_MASK = re.compile(
    r"(?P<top>.*?)2\. All Segmentation Groundtruths/(?P<set>[^/]+)/"
    r"\d\. [^/]+/(?P<name>IDRiD_\d+)_(?P<lesion>MA|HE|EX|SE)\.tif$"
)
_LABELS = re.compile(r"(?P<top>.*?)2\. Groundtruths/(?P<letter>[ab])\. IDRiD_Disease Grading_[^/]*\.csv$")
_NAME, _GRADE = "image name", "retinopathy grade"


@dataclass(frozen=True)
class Candidate:
    """An image where the official layout expects one."""

    path: str  # as in RawFolder
    key: str  # part and name in the official layout, wherever the download is: "test/CNV/CNV-53018-1.jpeg"
    klass: str  # one of the data set's classes; the first of them is normal
    part: str  # part of the official download, as in the data set's official counts: "train"
    source: str  # data source in words, for the table
    official: str = ""  # split that the data set's authors put it in: "train", "test" or "" for none
    patient: str = ""  # patient id, if the name has one
    order: int = -1  # number in the official order, if the name has only that
    masks: Mapping[str, str] = field(default_factory=dict)  # lesion name → path of its mask
    refused: str = ""  # why it goes to the quarantine, if its name tells


def scan_brain_mri(raw: RawFolder) -> list[Candidate]:
    """Normals of Sartaj and Br35H, and Sartaj's tumours; those of Br35H (``yes``) have no type and are not used."""
    found = []
    for path in raw.paths():
        if match := _SARTAJ.search(path):
            klass, part = "normal" if match["klass"] == "no" else match["klass"], f"sartaj/{match['part']}"
            key = f"{part}/{klass}/{match['name']}"
            found.append(Candidate(path, key, klass, part=part, source="Sartaj"))
        elif match := _BR35H.search(path):
            found.append(Candidate(path, f"br35h/no/{match['name']}", "normal", part="br35h/no", source="Br35H"))
    return _first_copies(raw, found)


def scan_oct(raw: RawFolder) -> list[Candidate]:
    """Test images of all classes and training normals, without the chest X-rays of the same publication."""
    found = []
    for path in raw.paths():
        match = _OCT.search(path)
        if match is None or "chest_xray" in path or (match["split"] == "train" and match["klass"] != "NORMAL"):
            continue
        split, klass, name = match["split"], match["klass"], match["name"]
        patient = numbers[1] if (numbers := _PATIENT.match(name)) else ""
        order = int(numbers[1]) if (numbers := _ORDER.match(name)) else -1
        key, label = f"{split}/{klass}/{name}", "normal" if klass == "NORMAL" else klass
        found.append(
            Candidate(path, key, label, part=split, source="OCT2017", official=split, patient=patient, order=order)
        )
    return _first_copies(raw, found)


def scan_idrid(raw: RawFolder) -> list[Candidate]:
    """Images of part A with masks and of part B with grade 0; the ground truths beside them tell the part."""
    masks: dict[tuple[str, str, str], dict[str, str]] = {}
    labels: dict[tuple[str, str], dict[str, int]] = {}
    for path in raw.paths():
        if match := _MASK.search(path):
            masks.setdefault((match["top"], match["set"], match["name"]), {})[match["lesion"]] = path
        elif match := _LABELS.search(path):
            labels[match["top"], match["letter"]] = read_grades(raw, path)
    annotated, graded = {top for top, *_ in masks}, {top for top, _ in labels}
    found = []
    for match in filter(None, map(_IMAGE.search, raw.paths())):
        top, folder, name = match["top"], match["set"], match["name"]
        official, own = "train" if folder.startswith("a") else "test", masks.get((top, folder, name), {})
        if top in annotated:
            part, klass, source = f"A/{official}", "diabetic_retinopathy", "A. Segmentation"
        elif labels.get((top, folder[0]), {}).get(name) == 0:
            part, klass, source = f"B/{official}", "normal", "B. Disease Grading"
        elif top not in graded and "Disease Grading" in top:
            raise DatasetUnusable(
                f"IDRiD: images in '{top}1. Original Images' have no labels; expected a file "
                f"'{top}2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv', got none"
            )
        else:
            continue
        ordered = {lesion: own[lesion] for lesion in LESIONS if lesion in own}
        key = f"{part}/{name}"
        found.append(Candidate(match.string, key, klass, part=part, source=source, official=official, masks=ordered))
    return _first_copies(raw, found)


def read_grades(raw: RawFolder, path: str) -> dict[str, int]:
    """Grade (0 to 4) by image name; ``DatasetUnusable`` for a missing column or a grade that is no number."""
    try:
        text = raw.read(path).decode("utf-8-sig")
    except (UnusableImage, UnicodeDecodeError) as error:
        raise DatasetUnusable(f"{path}: expected a readable CSV file, got: {error}") from error
    rows = csv.reader(io.StringIO(text, newline=""))
    header = [" ".join(cell.split()).lower() for cell in next(rows, [])]
    if not {_NAME, _GRADE} <= set(header):
        got = ", ".join(f"'{cell}'" for cell in header if cell) or "none"
        wanted = f"'{_NAME.capitalize()}' and '{_GRADE.capitalize()}'"
        raise DatasetUnusable(f"{path}: expected the columns {wanted}, got {got}; download the file again")
    name, grade = header.index(_NAME), header.index(_GRADE)
    grades = {}
    for line, cells in enumerate(rows, start=2):
        if len(cells) <= max(name, grade) or not cells[name].strip():
            continue
        if not cells[grade].strip().isdecimal():
            raise DatasetUnusable(f"{path}, line {line}: expected a grade from 0 to 4, got '{cells[grade]}'")
        grades[cells[name].strip()] = int(cells[grade])
    return grades


def _first_copies(raw: RawFolder, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates ordered by path; of copies of one official file (equal names and contents) only the first."""
    kept: dict[str, list[Candidate]] = {}
    for item in sorted(candidates, key=lambda item: ("!/" in item.path, item.path)):
        twins = [twin for twin in kept.get(item.key, []) if raw.sizes[twin.path] == raw.sizes[item.path]]
        if not any(raw.sha256(twin.path) == raw.sha256(item.path) for twin in twins):
            kept.setdefault(item.key, []).append(item)
    return sorted((item for items in kept.values() for item in items), key=lambda item: item.path)
