"""Layout of the two brain MRI downloads: Sartaj's four folders, twice, and Br35H's folder of normals.

Notable: both come as ``archive.zip`` from Kaggle, so a file is known by the folders right above it and not by the
archive's name. Br35H's tumours (``yes``) have no kind and are not used.
"""

import re

from pipeline.data.layouts.candidate import Candidate, first_copies
from pipeline.data.raw import RawFolder

LAYOUT = """sartaj/{Training,Testing}/{no_tumor,glioma_tumor,meningioma_tumor,pituitary_tumor}/*.jpg
br35h/no/no1.jpg
or the same inside archives (archive.zip)"""

_SARTAJ = re.compile(
    r"(?:^|/)(?P<part>Training|Testing)/(?P<klass>no|glioma|meningioma|pituitary)_tumor/(?P<name>[^/]+\.(?:jpe?g|png))$"
)
_BR35H = re.compile(r"(?:^|/)no/(?P<name>[Nn]o ?\d+\.(?:jpe?g|png))$")


def scan(raw: RawFolder) -> list[Candidate]:
    """Normals of both sources and Sartaj's tumours."""
    found = []
    for path in raw.paths():
        if match := _SARTAJ.search(path):
            klass = "normal" if match["klass"] == "no" else match["klass"]
            part = f"sartaj/{match['part']}"
            found.append(
                Candidate(path=path, key=f"{part}/{klass}/{match['name']}", klass=klass, part=part, source="Sartaj")
            )
        elif match := _BR35H.search(path):
            found.append(
                Candidate(path=path, key=f"br35h/no/{match['name']}", klass="normal", part="br35h/no", source="Br35H")
            )
    return first_copies(raw, found)
