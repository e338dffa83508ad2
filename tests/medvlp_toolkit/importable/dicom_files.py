"""Small DICOM radiographs written for tests: there is no real one that may be carried along."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

from medvlp_toolkit.images.syntax_samples import SAMPLES, sample_values

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"


def radiograph(pixels: np.ndarray, **attributes: Any) -> FileDataset:
    """A dataset of uint8 or (u)int16 pixels, 12 bits stored of 16, with more attributes as given."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = COMPUTED_RADIOGRAPHY
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(pixels.shape)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientName = "Doe^Jane"
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = 8 if pixels.dtype == np.uint8 else 12
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.HighBit = max(dataset.BitsStored - 1, 0)
    return dataset


def write_radiograph(path: Path, pixels: np.ndarray, **attributes: Any) -> Path:
    """Write `radiograph` to a file."""
    radiograph(pixels, **attributes).save_as(path, enforce_file_format=True)
    return path


def code_stream_of(syntax: str) -> bytes:
    return zlib.decompress(base64.b64decode(SAMPLES[syntax]))


def write_sample(path: Path, syntax: str, stated: str | None = None, content: bytes | None = None) -> Path:
    """The sample of a transfer syntax as a file, which may state another one."""
    eight = syntax == JPEGBaseline8Bit
    values = sample_values() >> (4 if eight else 0)
    dataset = radiograph(values.astype(np.uint8 if eight else np.uint16))
    dataset.file_meta.TransferSyntaxUID = UID(stated or syntax)
    dataset.PixelData = encapsulate([content or code_stream_of(syntax)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)
    return path
