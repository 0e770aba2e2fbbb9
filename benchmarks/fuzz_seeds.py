"""Valid files of every kind that is read, made in code: what fuzzing damages."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Seeds = dict[str, bytes]
"""File name → content."""
SHAPE = (48, 64)


def picture() -> NDArray[np.uint8]:
    """A gradient with a bright and a dark block and some noise, (48, 64)."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    shown = 40 + rows * 2 + cols + np.random.default_rng(0).integers(0, 9, SHAPE)
    shown[5:15, 8:20], shown[30:40, 40:55] = 250, 5
    return shown.astype(np.uint8)


def colours() -> NDArray[np.uint8]:
    """The picture in three channels, (48, 64, 3)."""
    gray = picture()
    return np.stack([gray, gray[::-1], 255 - gray], axis=-1)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image in a format of Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def images() -> Seeds:
    """Ordinary formats, depths, modes and compressions."""
    gray, rgb = Image.fromarray(picture()), Image.fromarray(colours())
    deep = Image.fromarray(picture().astype(np.uint16) * 16)
    exif = rgb.getexif()
    exif[274] = 6
    modes = {"l": gray, "rgb": rgb, "rgba": rgb.convert("RGBA"), "p": rgb.quantize(16), "1": gray.convert("1")}
    found = {f"{name}.png": saved(image, "PNG") for name, image in (modes | {"16": deep}).items()}
    found |= {f"{name}.bmp": saved(image, "BMP") for name, image in modes.items()}
    found |= {f"{name}.jpg": saved(modes[name], "JPEG", quality=85) for name in ("l", "rgb")}
    found["progressive.jpg"] = saved(rgb, "JPEG", progressive=True)
    found["restart.jpg"] = saved(rgb, "JPEG", restart_marker_blocks=2)
    found["cmyk.jpg"] = saved(rgb.convert("CMYK"), "JPEG", optimize=True)
    found["turned.jpg"] = saved(rgb, "JPEG", exif=exif)
    found["moving.png"] = saved(rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)])
    found["lossless.webp"] = saved(rgb, "WEBP", lossless=True)
    found["lossy.webp"] = saved(rgb, "WEBP", exif=exif)
    found["a.gif"] = saved(rgb.quantize(64), "GIF", save_all=True, append_images=[gray.convert("P")])
    found |= {"a.ppm": saved(rgb, "PPM"), "a.tga": saved(rgb, "TGA", compression="tga_rle"), "a.sgi": saved(rgb, "SGI")}
    return found | {"a.jp2": saved(rgb, "JPEG2000"), "a.ico": saved(rgb, "ICO"), "a.pcx": saved(rgb, "PCX")}


def stacks() -> Seeds:
    """TIFF of many sample types and compressions, one page or several."""
    gray, rgb, found = Image.fromarray(picture()), Image.fromarray(colours()), Seeds()
    for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        found[f"{kind}.tif"] = saved(rgb, "TIFF", compression=kind)
    found["g4.tif"] = saved(gray.convert("1"), "TIFF", compression="group4")
    found["pages.tif"] = saved(gray, "TIFF", save_all=True, append_images=[gray.rotate(90), rgb])
    for kind in (np.uint16, np.int16, np.uint32, np.float32, np.float64):
        file = io.BytesIO()
        tifffile.imwrite(file, picture().astype(kind), photometric="minisblack")
        found[f"{np.dtype(kind).name}.tif"] = file.getvalue()
    for name, options in {"big": {"bigtiff": True}, "tiled": {"tile": (16, 16)}, "pyramid": {"subifds": 1}}.items():
        file = io.BytesIO()
        with tifffile.TiffWriter(file, bigtiff=bool(options.pop("bigtiff", False))) as tiff:
            tiff.write(colours().astype(np.uint16) * 256, photometric="rgb", **options)
            tiff.write(colours(), photometric="rgb", subfiletype=int(name == "pyramid"))
        found[f"{name}.tif"] = file.getvalue()
    return found


def dicom() -> Seeds:
    """Gray, colour, palette, several frames, packed and unpacked, with and without a header."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        JPEG2000Lossless,
        JPEGBaseline8Bit,
        RLELossless,
    )

    def file(pixels: NDArray[np.generic], syntax: str = ExplicitVRLittleEndian, **elements: object) -> bytes:
        made, out = Dataset(), io.BytesIO()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID, made.SOPClassUID = syntax, "1.2.840.10008.5.1.4.1.1.7"
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        bits = 8 * pixels.dtype.itemsize
        made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = *SHAPE, 1, "MONOCHROME2"
        made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
        made.PixelRepresentation = int(pixels.dtype.kind == "i")
        for name, value in elements.items():
            setattr(made, name, value)
        packed = {JPEGBaseline8Bit: "JPEG", JPEG2000Lossless: "JPEG2000"}.get(syntax)
        if syntax == RLELossless:
            made.compress(syntax, pixels, encoding_plugin="pydicom")
        else:
            content = encapsulate([saved(Image.fromarray(pixels), packed)]) if packed else pixels.tobytes()
            made["PixelData"] = _element(content, bits, packed)
        made.save_as(out, enforce_file_format=True)
        return out.getvalue()

    gray, deep = picture(), picture().astype(np.uint16) * 16
    stored = {"BitsStored": 12, "HighBit": 11}
    window = {"WindowCenter": "2000", "WindowWidth": "3000", "RescaleSlope": "1.5", "RescaleIntercept": "-20"}
    rgb = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    table = np.arange(256, dtype=np.uint16).tobytes()
    palette: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = table
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [4096, 0, 16], np.arange(4096, dtype=np.uint16).tobytes()
    found = {"8.dcm": file(gray), "12.dcm": file(deep, **stored), "window.dcm": file(deep, **stored, **window)}
    found["mono1.dcm"] = file(gray, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=250)
    found |= {"rgb.dcm": file(colours(), **rgb), "palette.dcm": file(gray, **palette)}
    found["frames.dcm"] = file(np.stack([gray, gray[::-1]]), NumberOfFrames="2", PixelSpacing=["1", "2"])
    found["lut.dcm"] = file(deep, **stored, VOILUTSequence=[lut])
    for syntax in (JPEGBaseline8Bit, JPEG2000Lossless, RLELossless, DeflatedExplicitVRLittleEndian):
        found[f"{syntax.name[:9].replace(' ', '_')}.dcm"] = file(gray, syntax)
    found["implicit.dcm"] = file(deep, ImplicitVRLittleEndian, **stored)
    found["big.dcm"] = file(deep.byteswap(), ExplicitVRBigEndian, **stored)
    return found | {"bare.dcm": found["12.dcm"][132:], "bare": found["implicit.dcm"][132:]}


def _element(content: bytes, bits: int, packed: str | None) -> object:
    from pydicom.dataelem import DataElement

    element = DataElement("PixelData", "OB" if packed or bits == 8 else "OW", content)
    element.is_undefined_length = packed is not None
    return element


def nifti() -> Seeds:
    """Volumes of many types, packed and unpacked, with three axes and four, and MGH."""
    import nibabel

    volume = np.stack([picture()] * 3, axis=-1)
    volume[..., 1] = 255 - volume[..., 1]
    affine, found = np.diag([1.0, 1.5, 3.0, 1.0]), Seeds()
    rgb = np.zeros(volume.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["R"] = volume
    kinds = {"u8": volume, "i16": volume.astype(np.int16), "f32": volume.astype(np.float32), "rgb": rgb}
    kinds |= {"f64": volume.astype(float), "c64": volume.astype(np.complex64), "4d": np.stack([volume] * 2, -1)}
    with TemporaryDirectory() as folder:
        for name, values in kinds.items():
            for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image) if name == "i16" else (nibabel.Nifti1Image,):
                path = Path(folder, "a.nii")
                nibabel.save(kind(values, affine), path)
                found[f"{name}-{kind.__name__}.nii"] = path.read_bytes()
        path = Path(folder, "a.mgh")
        nibabel.save(nibabel.MGHImage(volume.astype(np.float32), affine), path)
        found["a.mgh"] = path.read_bytes()
    return found | {"u8.nii.gz": gzip.compress(found["u8-Nifti1Image.nii"], mtime=0)}


def archives() -> Seeds:
    """Zip and tar, packed in every way, and a zip in a zip."""
    files = {"a/one.png": images()["rgb.png"], "two.jpg": images()["l.jpg"], "b/three.nii.gz": nifti()["u8.nii.gz"]}
    found = {"plain.zip": _zip(files, zipfile.ZIP_STORED), "packed.zip": _zip(files, zipfile.ZIP_DEFLATED)}
    found |= {"xz.zip": _zip(files, zipfile.ZIP_LZMA), "bz.zip": _zip(files, zipfile.ZIP_BZIP2)}
    for number, name in ((tarfile.GNU_FORMAT, "gnu.tar"), (tarfile.PAX_FORMAT, "pax.tar")):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=number) as tar:
            for inner, content in (files | {"ü" * 60 + ".png": files["a/one.png"]}).items():
                info = tarfile.TarInfo(inner)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "a/one.png"
            tar.addfile(link)
        found[name] = file.getvalue()
    packers: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    found |= {f"a.tar.{suffix}": pack(found["gnu.tar"]) for suffix, pack in packers.items()}
    return found | {"nested.zip": _zip({"inner.zip": found["packed.zip"], "in.tgz": found["a.tar.gz"]}, 0)}


def _zip(files: Seeds, method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def labels() -> Seeds:
    """Labels of IDRiD, and descriptions of own data."""
    rows = "\r\n".join(f"IDRiD_{100 + number},{number % 3},{number % 2}," for number in range(20))
    header = "Image name,Retinopathy grade,Risk of macular edema ,"
    full = {"title": "Clinic", "normal": ["ok"], "abnormal": {"cyst": "ill", "tear": ["worse"]}, "masks": "masks"}
    full |= {"shares": [0.6, 0.2, 0.1, 0.1], "split": {"by": "patient", "patient": "^(P\\d+)"}, "mask_suffix": "_m"}
    plain = b"# our ward\nnormal: ok\nabnormal: ill  # all kinds\nlicence: 'none'\n"
    return {"labels.csv": f"{header}\r\n{rows}\r\n".encode("utf-8-sig"), "clinic.yaml": plain} | {
        "full.yaml": json.dumps(full, indent=1).encode(),
    }
