"""Layout of the two brain MRI downloads: Sartaj's four folders, twice, and Br35H's folder of normals.

Both come as ``archive.zip`` from Kaggle, so a file is identified by the folders above it, not by the archive's name.
Br35H's tumours (``yes``) have no type and are not used.
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
            key = f"{part}/{klass}/{match['name']}"
            found.append(Candidate(path=path, key=key, klass=klass, part=part, source="Sartaj"))
        elif match := _BR35H.search(path):
            key = f"br35h/no/{match['name']}"
            found.append(Candidate(path=path, key=key, klass="normal", part="br35h/no", source="Br35H"))
    return first_copies(raw, found)
