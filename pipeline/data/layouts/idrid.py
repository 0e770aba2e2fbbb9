"""Layout of the IDRiD download: part A with lesion masks, part B with a grade for each image in a CSV file.

Both parts use the same file names for different images, so the folder of ground truths beside the images tells the
part. The CSV has blanks in its header, empty trailing columns and Windows line ends.
"""

import csv
import io
import re

from pipeline.data.layouts.candidate import Candidate, first_copies
from pipeline.data.raw import RawFolder
from pipeline.errors import DatasetUnusable, UnusableImage

LESIONS = {"MA": "1. Microaneurysms", "HE": "2. Haemorrhages", "EX": "3. Hard Exudates", "SE": "4. Soft Exudates"}
LAYOUT = """A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg
A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_01_MA.tif
B. Disease Grading/1. Original Images/a. Training Set/IDRiD_001.jpg
B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv
or the same inside archives (A. Segmentation.zip, B. Disease Grading.zip)"""

_IMAGE = re.compile(
    r"(?P<top>.*?)1\. Original Images/(?P<set>a\. Training Set|b\. Testing Set)/(?P<name>IDRiD_\d+)\.jpg$"
)
_MASK = re.compile(
    r"(?P<top>.*?)2\. All Segmentation Groundtruths/(?P<set>[^/]+)/"
    r"\d\. [^/]+/(?P<name>IDRiD_\d+)_(?P<lesion>MA|HE|EX|SE)\.tif$"
)
_LABELS = re.compile(r"(?P<top>.*?)2\. Groundtruths/(?P<letter>[ab])\. IDRiD_Disease Grading_[^/]*\.csv$")
_SETS = {"a. Training Set": "train", "b. Testing Set": "test"}
_NAME, _GRADE = "image name", "retinopathy grade"


def scan(raw: RawFolder) -> list[Candidate]:
    """Grade-0 images of part B and all images of part A, with their masks."""
    images = [match for path in raw.paths() if (match := _IMAGE.search(path))]
    masks: dict[tuple[str, str, str], dict[str, str]] = {}
    labels: dict[tuple[str, str], dict[str, int]] = {}
    for path in raw.paths():
        if match := _MASK.search(path):
            masks.setdefault((match["top"], match["set"], match["name"]), {})[match["lesion"]] = path
        elif match := _LABELS.search(path):
            grades = read_grades(raw, path)
            labels[match["top"], "a. Training Set" if match["letter"] == "a" else "b. Testing Set"] = grades
    annotated, graded = {key[0] for key in masks}, {key[0] for key in labels}
    found = []
    for match in images:
        top, part = match["top"], match["set"]
        place = (top, part, match["name"])
        if top in annotated:
            ordered = {lesion: masks[place][lesion] for lesion in LESIONS if lesion in masks.get(place, {})}
            found.append(_candidate(match, "A", "diabetic_retinopathy", ordered))
        elif top in graded:
            if labels.get((top, part), {}).get(match["name"], -1) == 0:
                found.append(_candidate(match, "B", "normal", {}))
        elif "Disease Grading" in top:
            raise DatasetUnusable(
                f"IDRiD: images in '{top}1. Original Images' have no labels; expected a file "
                f"'{top}2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv', got none"
            )
    return first_copies(raw, found)


def read_grades(raw: RawFolder, path: str) -> dict[str, int]:
    """Grade (0 to 4) by image name; raises ``DatasetUnusable`` for a missing column or a grade that is no number."""
    try:
        text = raw.read(path).decode("utf-8-sig")
    except (UnusableImage, UnicodeDecodeError) as error:
        raise DatasetUnusable(f"{path}: expected a readable CSV file, got: {error}") from error
    rows = csv.reader(io.StringIO(text, newline=""))
    header = [" ".join(cell.split()).lower() for cell in next(rows, [])]
    missing = [column for column in (_NAME, _GRADE) if column not in header]
    if missing:
        wanted = " and ".join(f"'{column.capitalize()}'" for column in (_NAME, _GRADE))
        got = ", ".join(f"'{cell}'" for cell in header if cell) or "none"
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


def _candidate(match: re.Match[str], part: str, klass: str, masks: dict[str, str]) -> Candidate:
    official = _SETS[match["set"]]
    return Candidate(
        path=match.string,
        key=f"{part}/{official}/{match['name']}",
        klass=klass,
        part=f"{part}/{official}",
        source="A. Segmentation" if part == "A" else "B. Disease Grading",
        official=official,
        masks=masks,
    )
