"""What lies in the folder in which the commands of a page run: small files of every kind that the pages name."""

from __future__ import annotations

import csv
import json
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from medvlp_medklip.label_maps import CHESTXRAY14_TO_MEDKLIP
from medvlp_phantom import Phantom
from tests.docs.commands import ROOT, fenced

STUDIES = 150
OPEN_I = """<eCitation><uId id="CXR{0}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="FINDINGS">The lungs are clear. No effusion.</AbstractText>
<AbstractText Label="IMPRESSION">Normal.</AbstractText></Abstract></Article></MedlineCitation></eCitation>"""
GRAPH = {
    "text": "There is a small left pleural effusion .",
    "entities": {"1": {"tokens": "effusion", "label": "OBS-DP", "start_ix": 6, "end_ix": 6, "relations": []}},
}
ONTOLOGY = """format-version: 1.2

[Term]
id: HP:1
name: pleural effusion

[Term]
id: HP:2
name: consolidation
is_a: HP:1

[Term]
id: HP:3
name: pneumothorax
is_a: HP:1
"""


def files(folder: Path, page: str, runs: bool) -> Path:
    """Images with reports, labels and captions; tables of reports; the page's own files.

    For ``runs`` of a bundle, data sets in their layouts and a text model as well.
    """
    shutil.copytree(ROOT / "bundles", folder / "bundles", ignore=shutil.ignore_patterns("models"))
    for name in ("prepare.yaml", "demo.yaml"):
        shutil.copy(ROOT / "bundles/medklip/configs" / name, folder)
    shutil.copytree(ROOT / "plugins/medvlp-example", folder / "example", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("plugins", "constraints.txt", "requirements.txt"):
        (folder / name).symlink_to(ROOT / name)
    own_images(folder / "my")
    reports(folder)
    if runs:
        published(folder)
        weak_pairs(folder)
        text_model(folder / "bert")
    source = "source:\n  _target_: medvlp_toolkit.data_sources.phantom\n  count: 40\n  size: 64\n"
    (folder / "my_source.yaml").write_text(source)
    (folder / "my_lexicon.yaml").write_text(
        "extends: default\nfindings:\n- concept: silicosis\n  entity: opacity\n  phrases: [silicosis]\n"
    )
    (folder / "my_scheme.yaml").write_text("extends: nih14\nomit: [Hernia]\n")
    (folder / "my_overlay.yaml").write_text("epochs: 2\n")
    (folder / "my_headings.yaml").write_text("sections: {findings: [what we saw]}\n")
    shown_files(folder, page)
    return folder


def shown_files(folder: Path, page: str) -> None:
    """The YAML that a page shows, under the name in its first line."""
    for text in fenced(ROOT / page, "yaml"):
        named = re.match(r"# (\w+\.yaml)", text)
        if named is not None:
            (folder / named.group(1)).write_text(text)


def own_images(folder: Path) -> None:
    """``studies.csv`` as the README describes it, the same with labels, and single images and texts."""
    folder.mkdir()
    phantom = Phantom(seed=3, size=64)
    tables = {"studies": ["image", "report", "patient_id"]}
    tables |= {"labelled": [*tables["studies"], "water in the chest"], "table": ["image", "text", "kind"]}
    rows: dict[str, list[list[object]]] = {name: [header] for name, header in tables.items()}
    for index in range(STUDIES):
        study, image = phantom.study(index), f"{index}.png"
        Image.fromarray(study.image).save(folder / image)
        text, patient, kind = study.report.text, f"p{index}", ("odd", "even")[index % 2]
        rows["studies"].append([image, text, patient])
        rows["labelled"].append([image, text, patient, index % 2])
        rows["table"].append([image, f"{kind}: {text}", kind])
    for name, lines in rows.items():
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(lines)
    for name in ("image.png", "figure.png"):
        shutil.copy(folder / "0.png", folder / name)
    (folder / "captions.txt").write_text("left effusion\nno effusion\nan enlarged heart\n")
    dicom(folder / "radiograph.dcm", phantom.study(0).image)
    scans(folder)


def scans(folder: Path) -> None:
    """``scans.csv``: folders with two DICOM series each."""
    lines = ["image,report,patient_id"]
    for number in range(4):
        place = folder / f"scan{number}"
        place.mkdir()
        for series, slices in ((3, 6), (4, 8)):
            for index in range(slices):
                pixels = np.add.outer(np.arange(16), np.arange(16)) * (index + number + 1) % 200
                dicom(place / f"{series}_{index}.dcm", pixels, series=series, place=2.0 * index)
        lines.append(f"scan{number},Small left effusion. No pneumothorax.,p{number}")
    (folder / "scans.csv").write_text("\n".join(lines) + "\n")


def dicom(path: Path, pixels: np.ndarray, series: int | None = None, place: float = 0.0) -> None:
    """A radiograph as DICOM, or with ``series`` the slice of a CT at a place in millimetres."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PhotometricInterpretation = "CR", "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    if series is not None:
        dataset.Modality, dataset.SeriesNumber, dataset.SeriesInstanceUID = "CT", series, f"1.2.3.{series}"
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, place], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [2, 2], 2
    dataset.PixelData = pixels.astype(np.uint8).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def reports(folder: Path) -> None:
    """Reports as tables, as Open-i's archive, as MIMIC-CXR's files with RadGraph's graphs; a small ontology."""
    texts = ["Left effusion. No edema.", "Possible pneumothorax.", "Meniscus sign on the left."]
    for name, header in (("reports", "id,text"), ("hospital", "accession,narrative")):
        lines = [header, *(f'{number},"{text}"' for number, text in enumerate(texts))]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    documents = folder / "ecgen-radiology"
    documents.mkdir()
    for number in range(3):
        (documents / f"{number}.xml").write_text(OPEN_I.format(number))
    with tarfile.open(folder / "NLMCXR_reports.tgz", "w:gz") as archive:
        archive.add(documents, documents.name)
    name = "p10/p10000032/s50414267.txt"
    (folder / "mimic-cxr/files" / name).parent.mkdir(parents=True)
    (folder / "mimic-cxr/files" / name).write_text("FINDINGS: There is a small left pleural effusion.\n")
    (folder / "MIMIC-CXR_graphs.json").write_text(json.dumps({name: GRAPH}))
    (folder / "hp.obo").write_text(ONTOLOGY)


def published(folder: Path) -> None:
    """ROCO and VQA-Med 2019, a few images each, in the layouts of their downloads."""
    from tests.question_store import write_questions

    questions = write_questions(folder / "data" / "vqa-med-2019", images=48)
    figures = folder / "data" / "roco-dataset" / "data"
    for split, name in (("train", "train"), ("validation", "validate"), ("test", "test")):
        place = figures / split / "radiology"
        (place / "images").mkdir(parents=True)
        lines = []
        for number, image in enumerate(sorted((questions / "images").glob(f"{name}*.png"))):
            figure = f"ROCO_{split}_{number}"
            Image.open(image).convert("RGB").save(place / "images" / f"{figure}.jpg")
            lines.append(f"{figure}\tpicture {number} is bright in half {number % 4}")
        (place / "captions.txt").write_text("\n".join(lines) + "\n")


def weak_pairs(folder: Path) -> None:
    """What MedKLIP's ``weak_pairs.yaml`` reads: images with labels, boxes, another's report, and images with notes."""
    draw, nih, covid = np.random.default_rng(0), folder / "data" / "nih_cxr", folder / "data" / "covid_cxr"
    for place in (nih, covid):
        (place / "images").mkdir(parents=True)
        for number in range(60):
            Image.fromarray(draw.integers(0, 255, (40, 40), np.uint8)).save(place / "images" / f"{number}.png")
    labels = list(CHESTXRAY14_TO_MEDKLIP)
    lines = {
        nih / "labels.csv": ["image,split,patient_id,age,sex,view,labels"],
        nih / "weak_pairs.csv": ["image,openi_uid"],
        nih / "boxes.csv": ["image,label,x,y,w,h", "59.png,Effusion,0.1,0.1,0.2,0.2"],
        covid / "pairs.csv": ["image,patient_id,note"],
    }
    for number in range(60):
        split, found = ("train", "") if number < 30 else ("eval", "|".join(labels[number % 2 :: 2]))
        lines[nih / "labels.csv"].append(f"{number}.png,{split},{number},50,F,PA,{found}")
        lines[covid / "pairs.csv"].append(f"{number}.png,c{number},{('Left effusion.', 'No effusion.')[number % 2]}")
        if split == "train":
            lines[nih / "weak_pairs.csv"].append(f"{number}.png,CXR{number % 3}")
    for path, rows in lines.items():
        path.write_text("\n".join(rows) + "\n")
    shutil.copy(folder / "NLMCXR_reports.tgz", folder / "data")


def text_model(folder: Path) -> None:
    """A text model as a hub gives it, with a layer and a few words."""
    from transformers import BertConfig, BertModel

    from medvlp_encoders.vocabulary import wordpiece_tokenizer

    tokenizer = wordpiece_tokenizer(["fluid in the left pleural space", "opacity of the lung"], 200)
    shape = {"hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 12, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
