"""Layouts of the official downloads: candidate images by the folders above a file, before any pixel is read."""

import csv
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

_PICTURE = r"\.(?:jpe?g|png|tiff?|bmp)$"
_COPY = r"(?: ?\(\d+\)| - Copy)?"  # what browsers and Windows add to a name that is there already
_FILE = rf"(?P<name>[^/]+{_PICTURE})"


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern of paths; names and suffixes match in any case."""
    return re.compile(text, re.IGNORECASE)


_SARTAJ_FOLDER = r"(?:^|/)(?P<part>Training|Testing)/(?P<klass>no|glioma|meningioma|pituitary)_tumor/"
_SARTAJ = _pattern(_SARTAJ_FOLDER + _FILE)
_BR35H = _pattern(rf"(?:^|/)no/(?P<name>no ?\d+{_COPY}{_PICTURE})")
_BRAIN_FOLDER = _pattern(rf"{_SARTAJ_FOLDER}|(?:^|/)no/[^/]+$")
_OCT_FOLDER = r"(?:^|/)(?P<split>train|test)/(?P<klass>NORMAL|CNV|DME|DRUSEN)/"
_OCT = _pattern(_OCT_FOLDER + _FILE)
_OCT_LIKE = _pattern(rf"{_OCT_FOLDER}|/(?:NORMAL|CNV|DME|DRUSEN)-\d+-\d+\.[^/]*$")
_PATIENT = _pattern(r"(?:NORMAL|CNV|DME|DRUSEN)-(\d+)-\d+")
_ORDER = _pattern(r"normal_train_(\d+)")
_ORIGINALS = r"(?P<top>.*?)1\. Original Images/(?P<set>a\. Training Set|b\. Testing Set)/"
_IMAGE = _pattern(rf"{_ORIGINALS}(?P<name>IDRiD_\d+){_PICTURE}")
_TRUTHS = r"(?P<top>.*?)2\. All Segmentation Groundtruths/(?P<set>[^/]+)/\d\. [^/]+/"
_MASK = _pattern(rf"{_TRUTHS}(?P<name>IDRiD_\d+)_(?P<lesion>MA|HE|EX|SE){_COPY}{_PICTURE}")
_DISC = _pattern(rf"{_TRUTHS}IDRiD_\d+_OD{_COPY}\.[^/]+$")  # no lesion
_NEAR_MASK = _pattern(
    r"(?P<top>.*?)2\. All Segmentation Groundtruths/(?P<set>[^/]+)/(?:.*/)?[^/\d]*(?P<number>\d*)[^/]*$"
)
_LABELS = _pattern(r"(?P<top>.*?)2\. Groundtruths/(?P<letter>[ab])\. IDRiD_Disease Grading_[^/]*\.csv$")
_NEAR_IDRID = _pattern(r"1\. Original Images/|2\. Groundtruths/|(?:^|/)IDRiD_\d+[^/]*$")
_UNUSED_IDRID = _pattern(r"C\. Localization|3\. Groundtruths")  # places of the optic disc and of the fovea
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
            klass, part = match["klass"].lower(), f"sartaj/{match['part'].capitalize()}"
            klass = "normal" if klass == "no" else klass
            key = f"{part}/{klass}/{match['name']}"
            found.append(Candidate(path, key, klass, part=part, source="Sartaj"))
        elif match := _BR35H.search(path):
            found.append(Candidate(path, f"br35h/no/{match['name']}", "normal", part="br35h/no", source="Br35H"))
        elif _BRAIN_FOLDER.search(path) and not path.lower().endswith(".csv"):
            raw.odd[path] = "expected image(1).jpg or no1.jpg in this folder: not used under this name"
    return _first_copies(raw, found)


def scan_oct(raw: RawFolder) -> list[Candidate]:
    """Test images of all classes and training normals, without the chest X-rays of the same publication."""
    found = []
    for path in raw.paths():
        match = _OCT.search(path)
        if "chest_xray" in path:
            continue
        if match is None:
            if _OCT_LIKE.search(path) and "/val/" not in path.lower():  # the eight images of version 3 are not used
                raw.odd[path] = "expected it in a folder like test/CNV with an image's suffix: not used under this name"
            continue
        split, klass, name = match["split"].lower(), match["klass"].upper(), match["name"]
        if split == "train" and klass != "NORMAL":
            continue
        patient = numbers[1] if (numbers := _PATIENT.match(name)) else ""
        order = int(numbers[1]) if (numbers := _ORDER.match(name)) else -1
        key, label = f"{split}/{klass}/{name}", "normal" if klass == "NORMAL" else klass
        found.append(
            Candidate(path, key, label, part=split, source="OCT2017", official=split, patient=patient, order=order)
        )
    return _first_copies(raw, found)


def scan_idrid(raw: RawFolder) -> list[Candidate]:
    """Images of part A with masks and of part B with grade 0; the ground truths beside them tell the part."""
    images, masks, near, labels = _sorted_idrid(raw)
    annotated, graded = {top for top, *_ in masks}, {top for top, _ in labels}
    found, without = [], dict[tuple[str, str], int]()
    for match in images:
        top, letter, name = match["top"], match["set"][0].lower(), _official(match["name"])
        official, own = "train" if letter == "a" else "test", masks.get((top, letter, name), {})
        refused, path = "", match.string
        if top in annotated:
            part, klass, source = f"A/{official}", "diabetic_retinopathy", "A. Segmentation"
            own, refused = _one_of_each(raw, own)
            if other := near.get((top, letter, _number(name))):
                refused = f"{other} may be a mask of it, and a missing lesion would count as normal"
        elif top not in graded:
            if "disease grading" in top.lower():
                raise DatasetUnusable(
                    f"IDRiD: images in '{top}1. Original Images' have no labels; expected a file "
                    f"'{top}2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv', got none"
                )
            raw.odd[path] = "not used: expected masks or labels in folders beside that of the images, got none"
            continue
        else:
            part, klass, source = f"B/{official}", "normal", "B. Disease Grading"
            grades = labels.get((top, letter), {}).get(name)
            if grades is None:
                without[top, letter] = without.get((top, letter), 0) + 1
                raw.odd[path] = "not used: no label file has a row for it"
            if grades is None or 0 not in grades:
                continue
            if len(grades) > 1:
                refused = f"conflicting labels: its rows or columns have the grades {sorted(grades)}"
        ordered = {lesion: own[lesion][0] for lesion in LESIONS if lesion in own}
        key, origin = f"{part}/{name}", (klass, part, source, official)
        found.append(Candidate(path, key, *origin, masks=ordered, refused=refused))
    for (top, letter), count in without.items():
        beside = f"{top}2. Groundtruths ({letter})"
        raw.odd[beside] = f"{count} images have no row in its labels: if a file was cut or edited, download it again"
    return _first_copies(raw, found)


Place = tuple[str, str, str]
"""Folder above the parts of IDRiD, letter of the set (a training, b testing), and name or number of an image."""


def _sorted_idrid(
    raw: RawFolder,
) -> tuple[
    list[re.Match[str]],
    dict[Place, dict[str, list[str]]],
    dict[Place, str],
    dict[tuple[str, str], dict[str, set[int]]],
]:
    """Images, their masks by lesion, files that may be a mask, and grades by label files; the rest is named."""
    images: list[re.Match[str]] = []
    masks: dict[Place, dict[str, list[str]]] = {}
    near: dict[Place, str] = {}
    labels: dict[tuple[str, str], dict[str, set[int]]] = {}
    for path in raw.paths():
        if match := _MASK.search(path):
            place = match["top"], match["set"][0].lower(), _official(match["name"])
            masks.setdefault(place, {}).setdefault(match["lesion"].upper(), []).append(path)
        elif match := _LABELS.search(path):
            grades = labels.setdefault((match["top"], match["letter"].lower()), {})
            for name, given in read_grades(raw, path).items():
                grades.setdefault(name, set()).update(given)
        elif match := _IMAGE.search(path):
            images.append(match)
        elif _DISC.search(path) or _UNUSED_IDRID.search(path):
            continue
        elif match := _NEAR_MASK.search(path):
            raw.odd[path] = "looks like a mask, but is not named like IDRiD_01_MA.tif: not used"
            if match["number"]:
                near[match["top"], match["set"][0].lower(), match["number"].lstrip("0")] = path
        elif _NEAR_IDRID.search(path):
            raw.odd[path] = "looks like a file of IDRiD, but has not the name or place that it has there: not used"
    return [match for match in images if not _UNUSED_IDRID.search(match.string)], masks, near, labels


def _official(name: str) -> str:
    """Name of an IDRiD image as the authors write it."""
    return re.sub("^idrid_", "IDRiD_", name, flags=re.IGNORECASE)


def _number(name: str) -> str:
    return name.rpartition("_")[2].lstrip("0")


def _one_of_each(raw: RawFolder, masks: Mapping[str, list[str]]) -> tuple[dict[str, list[str]], str]:
    """Masks by lesion, and why they cannot be used: two files of one lesion that differ."""
    for lesion, paths in masks.items():
        if len(paths) > 1 and len({_content(raw, path) for path in paths}) > 1:
            return dict(masks), f"expected one mask of the lesion {lesion}, got {' and '.join(paths)}, which differ"
    return dict(masks), ""


def read_grades(raw: RawFolder, path: str) -> dict[str, set[int]]:
    """Grades (0 to 4) by image name: several where rows or columns differ.

    A line with a stray quotation mark, or without a name or grade, is no label and is named in ``raw.odd``. Raises
    ``DatasetUnusable`` for a missing column or a grade that is no number.
    """
    raw.labels.add(path)
    try:
        lines = raw.read(path).decode("utf-8-sig").splitlines()
        rows = [next(csv.reader([line]), []) for line in lines]  # each by itself: a stray quotation mark ends with it
    except (UnusableImage, UnicodeDecodeError, csv.Error) as error:
        raise DatasetUnusable(f"{path}: expected a readable CSV file, got: {error}") from error
    header = [" ".join(cell.split()).lower() for cell in next(iter(rows), [])]
    columns = [place for place, cell in enumerate(header) if cell.startswith(_GRADE)]
    if header.count(_NAME) != 1 or not columns:
        got = ", ".join(f"'{cell}'" for cell in header if cell) or "none"
        wanted = f"'{_NAME.capitalize()}' and '{_GRADE.capitalize()}'"
        raise DatasetUnusable(f"{path}: expected the columns {wanted}, got {got}; download the file again")
    named, lost = header.index(_NAME), list[str]()
    grades: dict[str, set[int]] = {}
    for line, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        name = cells[named].strip() if named < len(cells) else ""
        given = {cells[place].strip() for place in columns if place < len(cells)} - {""}
        if lines[line - 1].count('"') % 2 or not name or not given:
            lost.append(str(line))
            continue
        if wrong := sorted(given - set("01234")):
            raise DatasetUnusable(f"{path}, line {line}: expected a grade from 0 to 4, got '{wrong[0]}'")
        grades.setdefault(_official(name), set()).update(map(int, given))
    if lost:
        told = ", ".join(lost[:5]) + (" and more" if len(lost) > 5 else "")
        raw.odd[path] = f"lines without a name and a grade, or with a stray quotation mark: {told} ({len(lost)} in all)"
    return grades


def _content(raw: RawFolder, path: str) -> str | None:
    """Content hash of a file; nothing for one that cannot be read."""
    try:
        return raw.sha256(path)
    except UnusableImage:
        return None


def _first_copies(raw: RawFolder, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates ordered by path; of copies of one official file (equal names and contents) only the first.

    A damaged copy in an archive is named and the sound one is used.
    """
    kept: dict[str, list[Candidate]] = {}
    for item in sorted(candidates, key=lambda item: ("!/" in item.path, item.path)):
        twins = [twin for twin in kept.get(item.key, []) if raw.sizes[twin.path] == raw.sizes[item.path]]
        same = [twin for twin in twins if _content(raw, twin.path) == _content(raw, item.path)]
        damaged = twins and not same and _content(raw, item.path) is None
        if damaged:
            raw.odd[item.path] = f"a damaged copy of {twins[0].path}, which is used"
        elif not same:
            kept.setdefault(item.key, []).append(item)
    return sorted((item for items in kept.values() for item in items), key=lambda item: item.path)
