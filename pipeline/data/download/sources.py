"""Where each data set can be downloaded: its files, where their checksums are published, and the steps by hand.

Addresses and checksums come from public sources that each row names; a file without one is recorded when it comes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a download."""

    name: str  # below <raw>/<data set>/; the layouts find images in archives of any name
    url: str = ""  # empty: only behind a login
    sha256: str = ""  # hex; empty: not known
    reported_by: str = ""  # who reports the checksum
    size: int = 0  # bytes, as users report; only to check the disk space; 0: not known


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one data set can be downloaded."""

    files: tuple[RemoteFile, ...]
    page: str  # the official page
    steps: tuple[str, ...]  # by hand, in order; {folder} is where the files belong
    record: str = ""  # URL of the site's list of files with checksums (JSON); empty: there is none
    note: str = ""  # what the user should know before the download

    @property
    def login(self) -> bool:
        """Whether a file needs a login and must be placed by hand."""
        return any(not file.url for file in self.files)


_TWO_USERS = "two projects that published it independently; not checked by this one"

IDRID = Source(
    page="https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid",
    record="https://zenodo.org/api/records/17219542",
    note="IEEE DataPort, the official site, requires a login. These files come from a copy on Zenodo "
    "(doi:10.5281/zenodo.17219542), uploaded by others than the data set's authors under the same licence. "
    "Cite the authors.",
    files=(
        RemoteFile(
            name="A. Segmentation.zip",
            url="https://zenodo.org/records/17219542/files/A.%20Segmentation.zip?download=1",
            sha256="f9a7fc0f7d228e326ca8ba61cfc99d54de689c52e44f52bde9917c78b07a1eaf",
            reported_by=_TWO_USERS,
            size=584_315_841,
        ),
        RemoteFile(
            name="B. Disease Grading.zip",
            url="https://zenodo.org/records/17219542/files/B.%20Disease%20Grading.zip?download=1",
            sha256="8a9f4752b35d74cc35ff48b21ad44f295a6f800110ec218fc2d1c264803e4d8c",
            reported_by=_TWO_USERS,
            size=212_405_123,
        ),
    ),
    steps=(
        "Create a free account at https://ieee-dataport.org and sign in.",
        "Open https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid",
        "Under 'Dataset Files' download 'A. Segmentation.zip' (584 MB) and 'B. Disease Grading.zip' (212 MB); "
        "'C. Localization.zip' is not used.",
        "Put both into {folder}, packed or unpacked.",
    ),
)

OCT = Source(
    page="https://data.mendeley.com/datasets/rscbjbr9sj/2",
    record="https://data.mendeley.com/public-api/datasets/rscbjbr9sj/files?folder_id=root&version=2",
    note="Version 2 of the publication, with 26,315 training normals. Version 3 (ZhangLabData.zip) is supported too.",
    files=(
        RemoteFile(
            name="OCT2017.tar.gz",
            url="https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/"
            "5699a1d8-d1b6-45db-bb92-b61051445347/file_downloaded",
            size=5_793_183_169,
        ),
    ),
    steps=(
        "Open https://data.mendeley.com/datasets/rscbjbr9sj/2 (no account needed).",
        "Under 'Files' download 'OCT2017.tar.gz' (5.8 GB). 'ChestXRay2017.zip' is not used.",
        "Put it into {folder}, packed or unpacked.",
    ),
)

BRAIN_MRI = Source(
    page="https://www.kaggle.com/datasets/sartajbhuvaji/brain-tumor-classification-mri",
    note="Both sets are on Kaggle, which requires a login: place them by hand.",
    files=(RemoteFile(name="sartaj.zip"), RemoteFile(name="br35h.zip")),
    steps=(
        "Create a free account at https://www.kaggle.com and sign in.",
        "Open https://www.kaggle.com/datasets/sartajbhuvaji/brain-tumor-classification-mri, press 'Download', "
        "'Download dataset as zip', and save the file as {folder}/sartaj.zip",
        "Open https://www.kaggle.com/datasets/ahmedhamada0/brain-tumor-detection and save its zip as "
        "{folder}/br35h.zip (its folder 'no' is used).",
        "Kaggle's own program does the same with an API token: kaggle datasets download "
        "sartajbhuvaji/brain-tumor-classification-mri -p '{folder}', then ahmedhamada0/brain-tumor-detection. The "
        "archives may have any name, and may be unpacked.",
    ),
)

SOURCES: dict[str, Source] = {"brain_mri": BRAIN_MRI, "oct": OCT, "idrid": IDRID}
