"""Every published collection's source keeps the contract of data sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

import medvlp_toolkit as mv
from medvlp_toolkit.testing import DataSourceSuite

QUESTION = {
    "qid": 1, "question": "What?", "answer": "Lung", "answer_type": "OPEN", "image_name": "a.jpg",
    "img_name": "xmlab1/source.jpg", "q_lang": "en", "phrase_type": "freeform",
}  # fmt: skip


class FolderSuite(DataSourceSuite):
    """Builds the source on ``files``, written to a folder."""

    files: ClassVar[dict[str, str]] = {}

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        for name, text in self.files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        self.root = tmp_path

    def build(self) -> Any:
        return self.target(self.root)


class TestChestXray14(FolderSuite):
    plugin = "chestxray14"
    files: ClassVar[dict[str, str]] = {
        "Data_Entry_2017.csv": "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position\n"
        "1_0.png,Edema|Mass,1,58,M,PA\n1_1.png,No Finding,1,59,M,PA\n",
        "BBox_List_2017.csv": "Image Index,Finding Label,Bbox [x,y,w,h],,,\n1_0.png,Mass,1000,0,100,10\n",
    }


class TestChexpert(FolderSuite):
    plugin = "chexpert"
    files: ClassVar[dict[str, str]] = {"train.csv": "Path,Edema\nC/train/patient1/study1/view1_frontal.jpg,-1.0\n"}


class TestCovidxCxr2(FolderSuite):
    plugin = "covidx_cxr2"
    files: ClassVar[dict[str, str]] = {"train.txt": "1 a.png positive cohen\n2 b.png negative rsna\n"}


class TestCovidRural(FolderSuite):
    plugin = "covid_rural"

    def build(self) -> Any:
        for folder in ("jpgs", "pngs_masks"):
            (self.root / folder).mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(self.root / "jpgs" / "A_1-XR.jpg")
        return self.target(self.root)


class TestRsnaPneumonia(FolderSuite):
    plugin = "rsna_pneumonia"
    files: ClassVar[dict[str, str]] = {
        "stage_2_train_labels.csv": "patientId,x,y,width,height,Target\na,,,,,0\nb,1000,1,100,3,1\n"
    }


class TestSiimPneumothorax(FolderSuite):
    plugin = "siim_pneumothorax"
    files: ClassVar[dict[str, str]] = {"train-rle.csv": "ImageId, EncodedPixels\na, -1\nb, 10 20\n"}


class TestMimicCxr(FolderSuite):
    plugin = "mimic_cxr"
    files: ClassVar[dict[str, str]] = {
        "mimic-cxr-2.0.0-metadata.csv": "dicom_id,subject_id,study_id,ViewPosition\nd1,10000032,5,PA\nd2,10000032,5,\n",
        "files/p10/p10000032/s5.txt": "FINDINGS: Clear.",
    }


class TestEdemaSeverity(TestMimicCxr):
    plugin = "edema_severity"
    files: ClassVar[dict[str, str]] = {
        **TestMimicCxr.files,
        "regex_report_edema_severity.csv": "subject_id,study_id,edema_severity\n10000032,5,3\n",
    }

    def build(self) -> Any:
        return self.target(self.root, mv.data_sources.mimic_cxr(self.root))


class TestRoco(FolderSuite):
    plugin = "roco"
    files: ClassVar[dict[str, str]] = {"train/radiology/captions.txt": "ROCO_1\tA lung.\nROCO_2\tA heart.\n"}


class TestMedicat(FolderSuite):
    plugin = "medicat"
    files: ClassVar[dict[str, str]] = {
        "a.jsonl": json.dumps({"pdf_hash": "1", "fig_uri": "1.png", "s2_caption": "A lung.", "radiology": True})
    }


class TestMelinda(FolderSuite):
    plugin = "melinda"
    files: ClassVar[dict[str, str]] = {
        "train.csv": "figure_file,caption,i_meth,p_meth,i_meth_label,p_meth_label\na.png,A blot.,w,x,y,z\n",
        "melinda_images/a.png": "",
    }


class TestVqaRad(FolderSuite):
    plugin = "vqa_rad"
    files: ClassVar[dict[str, str]] = {"VQA_RAD Dataset Public.json": json.dumps([QUESTION])}


class TestSlake(FolderSuite):
    plugin = "slake"
    files: ClassVar[dict[str, str]] = {"train.json": json.dumps([QUESTION])}


class TestVqaMed2019(FolderSuite):
    plugin = "vqa_med_2019"
    files: ClassVar[dict[str, str]] = {"train.csv": "image,category,question,answer\na.jpg,plane,Which?,axial\n"}


class TestVqaMed2021(FolderSuite):
    plugin = "vqa_med_2021"
    files: ClassVar[dict[str, str]] = {"VQAnswering_2020_Train_QA_pairs.txt": "synpic1|What is wrong?|A cyst\n"}
