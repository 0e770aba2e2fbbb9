"""Drawn heads of some slices, as DICOM series, NIfTI volumes and stacks of pages."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

SIDE, SLICES = 64, 6
Volume = NDArray[np.uint16]


def head(seed: int, *, lesion: bool = False, air: int = 1) -> Volume:
    """A textured ball (SLICES, SIDE, SIDE) with ``air`` empty slices at its upper end; ``lesion`` in two slices."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    drawn = np.zeros((SLICES, SIDE, SIDE))
    for at in range(SLICES - air):
        radius = 27 - 3 * abs(at - 2) + rng.uniform(-1, 1)
        texture = np.kron(rng.normal(0, 60, (16, 16)), np.ones((4, 4)))
        drawn[at] = np.where(np.hypot(ys, xs) < radius, 500 + texture, 0)
        if lesion and at in (2, 3):
            drawn[at][np.hypot(ys + 6, xs - 5) < 6] = 1000
    return drawn.clip(0, 1023).astype(np.uint16)


def series(folder: Path, volume: Volume, patient: str, uid: str, **fields: object) -> Path:
    """A folder with a DICOM file for each slice."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(volume):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        meta.MediaStorageSOPInstanceUID = f"{uid}.{number}"
        file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID, file.Modality = MRImageStorage, f"{uid}.{number}", "MR"
        file.PatientID, file.StudyInstanceUID, file.SeriesInstanceUID = patient, f"{uid}.1000", uid
        file.Rows, file.Columns, file.SamplesPerPixel = *pixels.shape, 1
        file.PhotometricInterpretation, file.PixelRepresentation = "MONOCHROME2", 0
        file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
        file.WindowCenter, file.WindowWidth = 512, 1024
        file.ImageOrientationPatient, file.PixelSpacing = [1, 0, 0, 0, 1, 0], [2, 2]
        file.ImagePositionPatient, file.SliceThickness = [0, 0, 4 * number], 4
        for name, value in fields.items():
            setattr(file, name, value)
        file.PixelData = pixels.tobytes()
        pydicom.dcmwrite(folder / f"{number:02d}.dcm", file)
    return folder


def nifti(path: Path, volume: Volume, spacing: tuple[float, float, float] = (2, 2, 4)) -> Path:
    """A NIfTI file with a slice for each of the volume."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.transpose(volume, (2, 1, 0)).astype(np.int16), np.diag([*spacing, 1.0]))
    nibabel.save(image, path)
    return path


def stack(path: Path, volume: Volume) -> Path:
    """A TIFF with a page of 8 bits for each slice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = (Image.fromarray((pixels // 4).astype(np.uint8)) for pixels in volume)
    first.save(path, save_all=True, append_images=rest)
    return path
