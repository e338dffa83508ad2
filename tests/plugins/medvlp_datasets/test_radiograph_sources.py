"""Published radiograph collections, on small files in exactly their layout."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp_datasets.chestxray14 import LABELS, ChestXray14Source
from medvlp_datasets.chexpert import ChexpertSource
from medvlp_datasets.covid_rural import CovidRuralSource
from medvlp_datasets.covidx_cxr2 import CovidxCxr2Source
from medvlp_datasets.edema_severity import EdemaSeveritySource
from medvlp_datasets.mimic_cxr import MimicCxrSource
from medvlp_datasets.rsna_pneumonia import RsnaPneumoniaSource
from medvlp_datasets.siim_pneumothorax import SiimPneumothoraxSource, decode_runs
from medvlp_toolkit.data.records import Box
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.preparing.prepare import Prepare


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def picture(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (16, 16), value).save(path)
    return path


class TestChestXray14:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        write(
            tmp_path / "Data_Entry_2017.csv",
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
            "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
            "00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
            "00000002_000.png,No Finding,0,2,081Y,F,AP,2500,2048,0.171,0.171,\n"
            "00000003_000.png,Fracture,0,3,081Y,F,AP,2500,2048,0.171,0.171,\n",
        )
        write(
            tmp_path / "BBox_List_2017.csv",
            "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
            "00000001_000.png,Infiltrate,256.0,512.0,128.0,256.0,,,\n"
            "00000001_000.png,Cardiomegaly,0,0,512,2048\n",
        )
        write(tmp_path / "train_val_list.txt", "00000001_000.png\n")
        write(tmp_path / "test_list.txt", "00000002_000.png\n00000003_000.png")
        picture(tmp_path / "images_002" / "images" / "00000002_000.png")
        return tmp_path

    def test_labels_boxes_and_official_splits(self, root: Path) -> None:
        source = ChestXray14Source(root)
        first, second = source
        assert (first.id, first.patient_id, first.split) == ("00000001_000", "1", "train")
        assert [label for label in LABELS if first.labels[label]] == ["Cardiomegaly", "Emphysema"]
        assert set(second.labels.values()) == {0}
        assert first.boxes == (Box("Infiltration", 0.25, 0.5, 0.125, 0.25), Box("Cardiomegaly", 0, 0, 0.5, 1.0))
        assert first.metadata == {"sex": "M", "age": 58.0, "view": "PA"}
        assert second.split == "test"
        assert [item.study_id for item in source.rejected] == ["00000003_000.png"]

    def test_images_are_found_in_any_of_the_folders(self, root: Path) -> None:
        _, second = ChestXray14Source(root)
        assert second.image == root / "images_002" / "images" / "00000002_000.png"
        picture(root / "images" / "00000001_000.png")
        first, _ = ChestXray14Source(root)
        assert first.image == root / "images" / "00000001_000.png"

    def test_folder_without_table_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"has no Data_Entry_2017"):
            ChestXray14Source(tmp_path)


class TestChexpert:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        header = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Edema,Pleural Effusion\n"
        folder = "CheXpert-v1.0-small"
        write(
            tmp_path / "train.csv",
            f"{header}{folder}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,\n"
            f"{folder}/train/patient00001/study1/view2_lateral.jpg,Female,68,Lateral,,,0.0,-1.0,1.0\n"
            "elsewhere.jpg,Female,68,Lateral,,,0.0,-1.0,1.0\n",
        )
        write(
            tmp_path / "valid.csv",
            f"{header}{folder}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,PA,0.0,1.0,0.0,0.0\n",
        )
        return tmp_path

    def test_labels_paths_and_splits(self, root: Path) -> None:
        source = ChexpertSource(root)
        first, second, third = source
        assert first.image == root / "train" / "patient00001" / "study1" / "view1_frontal.jpg"
        assert first.labels == {"No Finding": 1}
        assert second.labels == {"Cardiomegaly": 0, "Edema": -1, "Pleural Effusion": 1}
        assert (first.patient_id, third.patient_id) == ("patient00001", "patient64541")
        assert [study.split for study in (first, second, third)] == ["train", "train", "validate"]
        assert first.metadata == {"sex": "Female", "age": 68.0, "view": "AP"}
        assert second.metadata["view"] == "Lateral"
        assert first.id == second.id == "train/patient00001/study1"
        assert len({study.image_id for study in source}) == 3
        assert [item.detail[:6] for item in source.rejected] == ["line 4"]

    def test_lateral_views_can_be_left_out(self, root: Path) -> None:
        assert all("frontal" in str(study.image_id) for study in ChexpertSource(root, frontal_only=True))


class TestCovidx:
    def test_lines_of_the_lists(self, tmp_path: Path) -> None:
        write(
            tmp_path / "train.txt",
            "379 1-s2.0-S0929664620300449-gr3_lrg-a.jpg positive cohen\n"
            "P1 with spaces 1.png negative rsna\n\nbroken line\n",
        )
        write(tmp_path / "test.txt", "P1 x.png negative ricord\n")
        source = CovidxCxr2Source(tmp_path)
        first, second, third = source
        assert first.labels == {"COVID-19": 1}
        assert first.image == tmp_path / "train" / "1-s2.0-S0929664620300449-gr3_lrg-a.jpg"
        assert second.image == tmp_path / "train" / "with spaces 1.png"
        assert second.patient_id != third.patient_id  # the same id in another source
        assert third.split == "test"
        assert [item.detail[:6] for item in source.rejected] == ["line 4"]


class TestCovidRural:
    def test_masks_are_of_the_images_that_have_one(self, tmp_path: Path) -> None:
        for name in ("COVID-19-AR-16406488_01-08-2012-XR", "COVID-19-AR-16406488_01-15-2012-XR"):
            picture(tmp_path / "jpgs" / f"{name}.jpg")
        mask = Image.new("P", (16, 16), 0)
        mask.paste(1, (0, 0, 8, 16))
        mask.putpalette([0, 0, 0, 128, 0, 0])
        (tmp_path / "pngs_masks").mkdir()
        mask.save(tmp_path / "pngs_masks" / "COVID-19-AR-16406488_01-15-2012-XR.png")
        write(tmp_path / "covid_rural_patient_info.csv", "PATIENT_ID,AGE,SEX\nCOVID-19-AR-16406488,67,M\n")
        source = CovidRuralSource(tmp_path)
        without, with_mask = source
        assert [study.labels["Opacity"] for study in (without, with_mask)] == [0, 1]
        assert with_mask.metadata == {"sex": "M", "age": 67.0}
        assert source.read_mask(without) is None
        pixels = source.read_mask(with_mask)
        assert pixels is not None
        assert pixels[:, :8].all()
        assert not pixels[:, 8:].any()
        Prepare(source, tmp_path / "store", 8, require_report=False, workers=0, on_leak="report").run()
        masks = PackedStore.open(tmp_path / "store").masks
        assert not masks[0].any()
        assert masks[1, 0, :, :4].all()

    def test_damaged_mask_rejects_the_study(self, tmp_path: Path) -> None:
        picture(tmp_path / "jpgs" / "A_1-XR.jpg")
        picture(tmp_path / "jpgs" / "B_1-XR.jpg", 50)
        write(tmp_path / "pngs_masks" / "A_1-XR.png", "no picture")
        summary = Prepare(CovidRuralSource(tmp_path), tmp_path / "store", 8, require_report=False, workers=0).run()
        assert summary.rejected == {"unreadable image": 1}


class TestRsna:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        write(
            tmp_path / "stage_2_train_labels.csv",
            "patientId,x,y,width,height,Target\naaa,,,,,0\nbbb,256.0,128.0,512.0,256.0,1\nccc,,,,,0\n"
            "bbb,0,0,1024,1024,1\nddd,x,0,1,1,1\n",
        )
        write(
            tmp_path / "stage_2_detailed_class_info.csv",
            "patientId,class\naaa,No Lung Opacity / Not Normal\nbbb,Lung Opacity\nbbb,Lung Opacity\nccc,Normal\n",
        )
        return tmp_path

    def test_boxes_of_one_image_are_gathered(self, root: Path) -> None:
        source = RsnaPneumoniaSource(root)
        first, second, third = source
        assert [study.id for study in (first, second, third)] == ["aaa", "bbb", "ccc"]
        assert [study.labels["Pneumonia"] for study in (first, second, third)] == [0, 1, 0]
        assert second.boxes == (Box("Pneumonia", 0.25, 0.125, 0.5, 0.25), Box("Pneumonia", 0, 0, 1, 1))
        assert second.image == root / "stage_2_train_images" / "bbb.dcm"
        assert first.metadata["class"] == "No Lung Opacity / Not Normal"
        assert [item.study_id for item in source.rejected] == ["ddd"]

    def test_splits_come_from_a_table(self, root: Path) -> None:
        splits = write(root / "splits.csv", "patientId,split\naaa,train\nbbb,test\n")
        assert [study.split for study in RsnaPneumoniaSource(root, splits)] == ["train", "test", None]


class TestSiim:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        # Skip 1024 × 2 + 10 pixels (two columns and ten rows), a run of 5; then to the next column, a run of 5.
        write(
            tmp_path / "train-rle.csv",
            "ImageId, EncodedPixels\n1.2.3, -1\n1.2.4, 2058 5 1019 5\n1.2.4, 0 1\n1.2.5, 9 9 9\n1.2.6, 1048576 1\n",
        )
        (tmp_path / "dicom-images-train" / "s" / "t").mkdir(parents=True)
        (tmp_path / "dicom-images-train" / "s" / "t" / "1.2.4.dcm").touch()
        return tmp_path

    def test_runs_go_down_the_columns(self) -> None:
        mask = decode_runs("2058 5 1019 5")
        assert mask.sum() == 10
        assert mask[10:15, 2:4].all()

    def test_annotations_of_one_image_are_gathered(self, root: Path) -> None:
        source = SiimPneumothoraxSource(root)
        first, second = source
        assert [study.labels["Pneumothorax"] for study in (first, second)] == [0, 1]
        assert second.image == root / "dicom-images-train" / "s" / "t" / "1.2.4.dcm"
        assert second.boxes == (
            Box("Pneumothorax", 2 / 1024, 10 / 1024, 2 / 1024, 5 / 1024),
            Box("Pneumothorax", 0, 0, 1 / 1024, 1 / 1024),
        )
        assert source.read_mask(first) is None
        mask = source.read_mask(second)
        assert mask is not None
        assert mask.sum() == 11
        assert [item.study_id for item in source.rejected] == ["1.2.5", "1.2.6"]

    def test_masks_are_read_after_travelling_to_a_worker(self, root: Path) -> None:
        import pickle

        source = SiimPneumothoraxSource(root)
        _, second = source
        assert source.read_mask(second) is not None
        sent = pickle.loads(pickle.dumps(source))
        assert np.array_equal(sent.read_mask(second), source.read_mask(second))


REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ with cough.

 FINDINGS:

 No focal consolidation.

 IMPRESSION:

 No acute process.
"""


class TestMimicCxr:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "jpg"
        write(
            root / "mimic-cxr-2.0.0-metadata.csv.gz",
            "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate\n"
            "d1,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506\n"
            "d2,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506\n"
            "d3,10000764,57375967,CHEST,AP,3056,2544,21321015\n",
        )
        write(
            root / "mimic-cxr-2.0.0-split.csv.gz",
            "dicom_id,study_id,subject_id,split\nd1,50414267,10000032,train\nd2,50414267,10000032,train\n"
            "d3,57375967,10000764,validate\n",
        )
        write(
            root / "mimic-cxr-2.0.0-chexpert.csv.gz",
            "subject_id,study_id,Atelectasis,Cardiomegaly,No Finding,Pneumonia\n"
            "10000032,50414267,,,1.0,\n10000764,57375967,-1.0,0.0,,1.0\n",
        )
        return root

    def check(self, source: MimicCxrSource, folder: Path, suffix: str) -> None:
        first, second, third = source
        assert [study.id for study in (first, second, third)] == ["50414267", "50414267", "57375967"]
        assert [study.image_id for study in (first, second, third)] == ["d1", "d2", "d3"]
        assert first.image == folder / f"files/p10/p10000032/s50414267/d1{suffix}"
        assert first.patient_id == "10000032"
        assert first.report is not None
        assert first.report is second.report or first.report == second.report
        assert first.report.id == "p10/p10000032/s50414267.txt"
        assert "No focal consolidation." in first.report.text
        assert third.report is None
        assert [study.split for study in (first, second, third)] == ["train", "train", "validate"]
        assert first.labels == {"No Finding": 1}
        assert third.labels == {"Atelectasis": -1, "Cardiomegaly": 0, "Pneumonia": 1}
        assert [study.metadata["view"] for study in (first, second, third)] == ["PA", "LATERAL", "AP"]

    def test_jpg_edition_with_a_folder_of_reports(self, root: Path, tmp_path: Path) -> None:
        write(tmp_path / "reports" / "files" / "p10" / "p10000032" / "s50414267.txt", REPORT)
        self.check(MimicCxrSource(root, tmp_path / "reports"), root, ".jpg")

    def test_jpg_edition_with_the_archive_of_reports(self, root: Path, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "mimic-cxr-reports.zip", "w") as archive:
            archive.writestr("files/p10/p10000032/s50414267.txt", REPORT)
        self.check(MimicCxrSource(root, tmp_path / "mimic-cxr-reports.zip"), root, ".jpg")

    def test_jpg_edition_with_sectioned_reports(self, root: Path, tmp_path: Path) -> None:
        table = write(
            tmp_path / "mimic_cxr_sectioned.csv",
            "study,impression,findings,last_paragraph,comparison\n"
            's50414267,No acute process.,"No focal consolidation.",ignored,\n',
        )
        source = MimicCxrSource(root, table)
        self.check(source, root, ".jpg")
        first = next(iter(source))
        assert first.report is not None
        assert first.report.sections == {"findings": "No focal consolidation.", "impression": "No acute process."}

    def test_last_paragraph_stands_for_a_report_without_headings(self, root: Path, tmp_path: Path) -> None:
        table = write(
            tmp_path / "mimic_cxr_sectioned.csv",
            "study,impression,findings,last_paragraph,comparison\ns50414267,,,Lungs are clear.,\n",
        )
        first = next(iter(MimicCxrSource(root, table)))
        assert first.report is not None
        assert first.report.sections == {"findings": "Lungs are clear."}

    def test_dicom_edition_with_the_tables_of_the_other(self, root: Path, tmp_path: Path) -> None:
        dicom = tmp_path / "dicom"
        rows = [("10000032", "50414267", "d1"), ("10000032", "50414267", "d2"), ("10000764", "57375967", "d3")]
        lines = [f"{s},{t},{d},files/p10/p{s}/s{t}/{d}.dcm" for s, t, d in rows]
        write(dicom / "cxr-record-list.csv.gz", "\n".join(["subject_id,study_id,dicom_id,path", *lines]))
        write(dicom / "files" / "p10" / "p10000032" / "s50414267.txt", REPORT)
        self.check(MimicCxrSource(dicom, tables=root), dicom, ".dcm")

    def test_views_and_patients(self, root: Path, tmp_path: Path) -> None:
        patients = write(tmp_path / "patients.csv", "subject_id,gender,anchor_age\n10000764,M,86\n")
        (study,) = MimicCxrSource(root, views=["AP"], patients=patients)
        assert study.metadata == {"sex": "M", "age": 86.0, "view": "AP", "imaging_study": "57375967"}

    def test_raw_report_is_divided_when_it_is_packed(self, root: Path, tmp_path: Path) -> None:
        write(tmp_path / "reports" / "files" / "p10" / "p10000032" / "s50414267.txt", REPORT)
        for name in ("d1", "d2"):
            picture(root / "files" / "p10" / "p10000032" / "s50414267" / f"{name}.jpg")
        summary = Prepare(MimicCxrSource(root, tmp_path / "reports"), tmp_path / "store", 8, workers=0).run()
        assert summary.stored == 2
        assert (
            PackedStore.open(tmp_path / "store").studies.column("text").to_pylist()
            == ["No focal consolidation.\nNo acute process."] * 2
        )

    @pytest.mark.parametrize(
        ("options", "words"),
        [({"edition": "png"}, "edition is auto or jpg"), ({"labels": "vision"}, "labels is chexpert or negbio")],
    )
    def test_wrong_options_are_one_line(self, root: Path, options: dict[str, str], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            MimicCxrSource(root, **options)  # type: ignore[arg-type]

    def test_folder_without_tables_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"metadata.csv.gz"):
            MimicCxrSource(tmp_path)


class TestEdemaSeverity:
    root = TestMimicCxr.root

    @pytest.fixture
    def grades(self, tmp_path: Path) -> Path:
        folder = tmp_path / "grades"
        write(
            folder / "regex_report_edema_severity.csv",
            "subject_id,study_id,edema_severity\n10000032,50414267,2\n10000764,57375967,9\n1,2,0\n",
        )
        write(
            folder / "consensus_image_edema_severity.csv",
            "subject_id,study_id,dicom_id,edema_severity\n10000032,50414267,d2,0\n",
        )
        return folder

    def test_grade_of_a_report_holds_for_its_images(self, root: Path, grades: Path) -> None:
        source = EdemaSeveritySource(grades, MimicCxrSource(root))
        first, second = source
        assert [first.image_id, second.image_id] == ["d1", "d2"]
        assert first.labels == {
            "No edema": 0, "Vascular congestion": 0, "Interstitial edema": 1, "Alveolar edema": 0,
        }  # fmt: skip
        assert first.metadata["edema_severity"] == 2
        assert sorted(item.study_id for item in source.rejected) == ["2", "57375967"]

    def test_grade_of_an_image_holds_for_it_alone(self, root: Path, grades: Path) -> None:
        (study,) = EdemaSeveritySource(grades, MimicCxrSource(root), grades="consensus", split="test")
        assert (study.image_id, study.split) == ("d2", "test")
        assert study.labels["No edema"] == 1
