"""Layout of the OCT2017 download: ``{train,test}/{NORMAL,CNV,DME,DRUSEN}/CLASS-PATIENT-N.jpeg``.

The archive of the same publication also holds chest X-rays in ``train/NORMAL``; the Kaggle copy has a blank at the end
of a folder's name and the tree twice. Of the training split only the normals are used.
"""

import re

from pipeline.data.layouts.candidate import Candidate, first_copies
from pipeline.data.raw import RawFolder

LAYOUT = """OCT2017/test/{NORMAL,CNV,DME,DRUSEN}/CLASS-PATIENT-N.jpeg
OCT2017/train/NORMAL/NORMAL-PATIENT-N.jpeg (or neutral names normal_train_N.jpg)
or the same inside OCT2017.tar.gz, ZhangLabData.zip or archive.zip"""

_TAIL = re.compile(r"(?:^|/)(?P<split>train|test)/(?P<klass>NORMAL|CNV|DME|DRUSEN)/(?P<name>[^/]+\.(?:jpe?g|png))$")
_PATIENT = re.compile(r"(?:NORMAL|CNV|DME|DRUSEN)-(\d+)-\d+\.")
_ORDER = re.compile(r"normal_train_(\d+)\.")


def scan(raw: RawFolder) -> list[Candidate]:
    """Test images of all classes and training normals."""
    found = []
    for path in raw.paths():
        match = _TAIL.search(path)
        if match is None or "chest_xray" in path or (match["split"] == "train" and match["klass"] != "NORMAL"):
            continue
        patient, order = _PATIENT.match(match["name"]), _ORDER.match(match["name"])
        found.append(
            Candidate(
                path=path,
                key=f"{match['split']}/{match['klass']}/{match['name']}",
                klass="normal" if match["klass"] == "NORMAL" else match["klass"],
                part=match["split"],
                source="OCT2017",
                official=match["split"],
                patient=patient[1] if patient else "",
                order=int(order[1]) if order else -1,
            )
        )
    return first_copies(raw, found)
