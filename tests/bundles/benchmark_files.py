"""The six benchmarks in miniature: a few synthetic images in exactly the layout that each is published in."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE = 48


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number)).save(path)


def dicom(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PhotometricInterpretation = "CR", "MONOCHROME2"
    dataset.Rows, dataset.Columns = SIDE, SIDE
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels(number).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def chestxray14(root: Path) -> dict[str, str]:
    rows, names = [], [f"{n:08d}_000.png" for n in range(60)]
    for number, name in enumerate(names):
        found = "Effusion|Fibrosis" if number % 3 == 0 else "No Finding"
        rows.append(f"{name},{found},0,{number},058Y,M,PA,2682,2749,0.143,0.143,")
        picture(root / "images" / name, number)
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    write(root / "Data_Entry_2017.csv", f"{header}OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],", *rows)
    box = ",Effusion,256.0,512.0,128.0,256.0,,,"
    write(root / "BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,", names[48] + box)
    write(root / "train_val_list.txt", *names[:45])
    write(root / "test_list.txt", *names[45:])
    return {"root": str(root)}


def rsna_pneumonia(root: Path) -> dict[str, str]:
    rows = []
    for number in range(40):
        name = f"{number:04d}-aaaa"
        dicom(root / "stage_2_train_images" / f"{name}.dcm", number)
        rows.append(f"{name},256.0,128.0,300.0,400.0,1" if number % 2 else f"{name},,,,,0")
    write(root / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", *rows)
    return {"root": str(root)}


def siim_pneumothorax(root: Path) -> dict[str, str]:
    rows = []
    for number in range(40):
        name = f"1.2.{number}"
        dicom(root / "dicom-images-train" / f"study{number}" / "series" / f"{name}.dcm", number)
        # Pixels to skip, then a run's length, going down the columns: a block of 200 columns.
        code = " ".join(["409700 300", *["724 300"] * 199]) if number % 2 else "-1"
        rows.append(f"{name},{code}")
    write(root / "train-rle.csv", "ImageId,EncodedPixels", *rows)
    return {"root": str(root)}


def covidx_cxr2(root: Path) -> dict[str, str]:
    for split, count in (("train", 50), ("test", 16)):
        lines = []
        for number in range(count):
            picture(root / split / f"{split}{number}.png", number + 1000 * (split == "test"))
            lines.append(f"{split}{number} {split}{number}.png {'positive' if number % 2 else 'negative'} rsna")
        write(root / f"{split}.txt", *lines)
    return {"root": str(root)}


def covid_rural(root: Path) -> dict[str, str]:
    for number in range(40):
        name = f"COVID-19-AR-{number:03d}_20200101-XR"
        picture(root / "jpgs" / f"{name}.jpg", number)
        if number % 2:
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[10:30, 5:20] = 1
            (root / "pngs_masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(root / "pngs_masks" / f"{name}.png")
    return {"root": str(root)}


def edema_severity(root: Path) -> dict[str, str]:
    images, grades = root / "mimic-cxr-jpg", root / "grades"
    splits, metadata, graded = [], [], []
    for number in range(40):
        patient, study, name = 10000000 + number, 50000000 + number, f"image-{number:03d}"
        picture(images / "files" / "p10" / f"p{patient}" / f"s{study}" / f"{name}.jpg", number)
        split = "train" if number < 26 else "validate" if number < 32 else "test"
        splits.append(f"{name},{study},{patient},{split}")
        metadata.append(f"{name},{patient},{study},AP")
        graded.append(f"{patient},{study},{number % 4}")
    write(images / "mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split", *splits)
    write(images / "mimic-cxr-2.0.0-metadata.csv.gz", "dicom_id,subject_id,study_id,ViewPosition", *metadata)
    write(grades / "regex_report_edema_severity.csv", "subject_id,study_id,edema_severity", *graded)
    return {"root": str(grades), "mimic_cxr_root": str(images)}


BENCHMARKS: dict[str, Callable[[Path], dict[str, str]]] = {
    "chestxray14": chestxray14,
    "rsna_pneumonia": rsna_pneumonia,
    "siim_pneumothorax": siim_pneumothorax,
    "covidx_cxr2": covidx_cxr2,
    "covid_rural": covid_rural,
    "edema_severity": edema_severity,
}
