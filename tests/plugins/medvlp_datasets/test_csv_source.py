"""Studies from a CSV table."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from medvlp_datasets.csv_source import CsvSource
from medvlp_datasets.open_i import OpenISource
from medvlp_toolkit.data.records import Box
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.preparing.prepare import Prepare

TABLE = """image,split,patient_id,age,sex,view,labels,report
a.jpg,train,1,61,M,AP,Edema|Effusion,There is edema.
b.jpg,train,1,058Y,F,,,
c.jpg,eval,2,,M,PA,No Finding,"Clear, no edema."
"""
OPEN_I = """<eCitation><uId id="{name}"/><Abstract><AbstractText Label="FINDINGS">{text}</AbstractText></Abstract>
<MeSH><major>normal</major></MeSH><parentImage id="{name}_1"/><parentImage id="{name}_2"/></eCitation>"""


def write(path: Path, text: str = TABLE) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_become_fields(tmp_path: Path) -> None:
    source = CsvSource(write(tmp_path / "t.csv"), report_column="report", labels_column="labels")
    first, second, third = source
    assert (first.id, first.patient_id, first.split) == ("a.jpg", "1", "train")
    assert first.image == tmp_path / "a.jpg"
    assert first.report is not None
    assert (first.report.id, first.report.text) == ("a.jpg", "There is edema.")
    assert first.metadata == {"age": 61.0, "sex": "M", "view": "AP"}
    assert second.metadata == {"age": 58.0, "sex": "F", "view": None}
    assert third.report is not None
    assert third.report.text == "Clear, no edema."


def test_joined_labels_are_absent_where_they_are_not_named(tmp_path: Path) -> None:
    first, second, third = CsvSource(write(tmp_path / "t.csv"), labels_column="labels")
    assert first.labels == {"Edema": 1, "Effusion": 1}
    assert second.labels == third.labels == {"Edema": 0, "Effusion": 0}


def test_given_labels_are_the_only_ones(tmp_path: Path) -> None:
    source = CsvSource(write(tmp_path / "t.csv"), labels_column="labels", labels=["Edema", "Mass"])
    assert [study.id for study in source] == ["b.jpg", "c.jpg"]
    assert [item.study_id for item in source.rejected] == ["a.jpg"]
    assert "1 of its 2 labels are not among those given" in source.rejected[0].detail


def test_label_columns_are_one_zero_minus_one_or_nothing(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "image,Edema,Mass\na.png,1.0,-1\nb.png,0,\nc.png,2,0\n")
    source = CsvSource(table, label_columns=["Edema", "Mass"])
    assert [study.labels for study in source] == [{"Edema": 1, "Mass": -1}, {"Edema": 0}]
    assert "label 'Edema' is 1, 0, -1 or empty" in source.rejected[0].detail


def test_splits_can_be_chosen(tmp_path: Path) -> None:
    assert [study.id for study in CsvSource(write(tmp_path / "t.csv"), splits=["eval"])] == ["c.jpg"]


def test_usual_words_for_splits_are_the_toolkits(tmp_path: Path) -> None:
    words = ("Training", "val", "VALID", "dev", "testing", "fold 3")
    table = write(tmp_path / "t.csv", "image,Split\n" + "".join(f"{n}.png,{word}\n" for n, word in enumerate(words)))
    found = [study.split for study in CsvSource(table)]
    assert found == ["train", "validate", "validate", "validate", "test", "fold 3"]
    assert [study.id for study in CsvSource(table, splits="validation")] == ["1.png", "2.png", "3.png"]


def test_table_without_patients_has_one_per_study(tmp_path: Path) -> None:
    source = CsvSource(write(tmp_path / "t.csv", "image\na.png\nb.png\n"))
    assert [study.patient_id for study in source] == ["a.png", "b.png"]


def test_study_id_column_names_the_study(tmp_path: Path) -> None:
    source = CsvSource(write(tmp_path / "t.csv", "study_id,image\ns1,a.png\n"))
    assert [(study.id, study.image) for study in source] == [("s1", tmp_path / "a.png")]


def test_boxes_join_by_image(tmp_path: Path) -> None:
    boxes = write(tmp_path / "b.csv", "image,label,x,y,w,h\nc.jpg,Mass,0.1,0.2,0.3,0.4\nc.jpg,Edema,0,0,1,1\n")
    *_, third = CsvSource(write(tmp_path / "t.csv"), boxes=boxes)
    assert third.boxes == (Box("Mass", 0.1, 0.2, 0.3, 0.4), Box("Edema", 0, 0, 1, 1))


def test_columns_of_joined_tables_count(tmp_path: Path) -> None:
    pairs = write(tmp_path / "p.csv", "image,uid\na.jpg,CXR1\n")
    (study,) = CsvSource(pairs, join=write(tmp_path / "t.csv"), labels_column="labels")
    assert study.patient_id == "1"
    assert study.split == "train"
    assert study.labels["Edema"] == 1


class TestReportsFromElsewhere:
    def archive(self, path: Path) -> Path:
        with tarfile.open(path, "w:gz") as archive:
            for name, text in (("CXR1", "Edema &amp; effusion."), ("CXR2", "Clear.")):
                content = OPEN_I.format(name=name, text=text).encode()
                info = tarfile.TarInfo(f"ecgen-radiology/{name[3:]}.xml")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    def pairs(self, tmp_path: Path) -> Path:
        return write(tmp_path / "p.csv", "image,uid\na.jpg,CXR2\nb.jpg,CXR1\nc.jpg,CXR9\n")

    def test_open_i_archive_gives_text_by_id(self, tmp_path: Path) -> None:
        source = CsvSource(self.pairs(tmp_path), reports=self.archive(tmp_path / "reports.tgz"), report_id_column="uid")
        first, second, third = source
        assert first.report is not None
        assert first.report.id == "CXR2"
        assert first.report.sections == {"findings": "Clear."}
        assert second.report is not None
        assert second.report.text == "FINDINGS: Edema & effusion."
        assert third.report is None

    def test_another_source_does_too(self, tmp_path: Path) -> None:
        reports = OpenISource(self.archive(tmp_path / "reports.tgz"))
        first, *_ = CsvSource(self.pairs(tmp_path), reports=reports, report_id_column="uid")
        assert first.report is not None

    def test_table_does_too(self, tmp_path: Path) -> None:
        reports = write(tmp_path / "r.csv", "id,text\nCXR1,Edema.\n")
        _, second, _ = CsvSource(self.pairs(tmp_path), reports=reports, report_id_column="uid")
        assert second.report is not None
        assert second.report.text == "Edema."


class TestEncodings:
    def test_compressed_tables(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv.gz").write_bytes(gzip.compress(TABLE.encode()))
        with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
            archive.writestr("inside.csv", TABLE)
        for name in ("t.csv.gz", "t.csv.zip"):
            assert [study.id for study in CsvSource(tmp_path / name)] == ["a.jpg", "b.jpg", "c.jpg"]

    def test_latin1_utf8_and_byte_order_mark(self, tmp_path: Path) -> None:
        text = "image,report\na.png,opacité\n"
        for encoding in ("latin-1", "utf-8", "utf-8-sig"):
            (tmp_path / "t.csv").write_bytes(text.encode(encoding))
            (study,) = CsvSource(tmp_path / "t.csv", report_column="report")
            assert study.report is not None
            assert study.report.text == "opacité"

    def test_nul_and_a_megabyte_of_text(self, tmp_path: Path) -> None:
        long = "effusion " * 130_000
        (tmp_path / "t.csv").write_bytes(f"image,report\na.png,ef\x00fusion\nb.png,{long}\n".encode())
        first, second = CsvSource(tmp_path / "t.csv", report_column="report")
        assert first.report is not None
        assert first.report.text == "ef fusion"
        assert second.report is not None
        assert len(second.report.text) == len(long) - 1

    def test_line_breaks_inside_quotes_belong_to_the_text(self, tmp_path: Path) -> None:
        (study,) = CsvSource(write(tmp_path / "t.csv", 'image,report\na.png,"one\ntwo"\n'), report_column="report")
        assert study.report is not None
        assert study.report.text == "one\ntwo"


class TestBadInput:
    def test_rows_of_another_length_are_rejected_with_their_line(self, tmp_path: Path) -> None:
        rows = "image,split\na.png,train\nb.png\nc.png,train,more\n\nd.png,test\n"
        source = CsvSource(write(tmp_path / "t.csv", rows))
        assert [study.id for study in source] == ["a.png", "d.png"]
        assert [item.detail[:6] for item in source.rejected] == ["line 3", "line 4"]

    def test_missing_column_names_those_there(self, tmp_path: Path) -> None:
        table = write(tmp_path / "t.csv", "image,split\n")
        with pytest.raises(ValueError, match=r"no column 'text'; its columns are image, split; set report_column"):
            CsvSource(table, report_column="text")
        with pytest.raises(ValueError, match=r"no column 'mass', 'cyst'; its columns are image, split"):
            CsvSource(table, label_columns=["mass", "cyst"])

    @pytest.mark.parametrize("option", ["boxes", "join", "reports", "image_root"])
    def test_missing_file_is_named(self, tmp_path: Path, option: str) -> None:
        with pytest.raises(FileNotFoundError, match=r"nowhere"):
            CsvSource(write(tmp_path / "t.csv"), **{option: tmp_path / "nowhere"})  # type: ignore[arg-type]
        with pytest.raises(FileNotFoundError, match=r"nowhere"):
            CsvSource(tmp_path / "nowhere.csv")

    def test_damaged_compression_is_one_line(self, tmp_path: Path) -> None:
        content = gzip.compress((TABLE * 200).encode())
        (tmp_path / "t.csv.gz").write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=r"the table is damaged"):
            list(CsvSource(tmp_path / "t.csv.gz"))
        (tmp_path / "u.csv.gz").write_bytes(b"plain text")
        with pytest.raises(ValueError, match=r"the table is damaged"):
            CsvSource(tmp_path / "u.csv.gz")

    def test_empty_table_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"no column 'image'"):
            CsvSource(write(tmp_path / "t.csv", ""))

    def test_reports_have_one_place(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"not both"):
            CsvSource(write(tmp_path / "t.csv"), report_column="report", reports=[])

    def test_box_that_is_none_is_rejected(self, tmp_path: Path) -> None:
        boxes = write(tmp_path / "b.csv", "image,label,x,y,w,h\nc.jpg,Mass,0.1,wide,0.3,0.4\n")
        source = CsvSource(write(tmp_path / "t.csv"), boxes=boxes)
        assert [study.id for study in source] == ["a.jpg", "b.jpg"]
        assert "not numbers" in source.rejected[0].detail


class TestInTheWild:
    @pytest.mark.parametrize(
        ("header", "row"),
        [
            ("filepath,subject_id,accession,Report Text,ViewPosition,gender", "a.png,p1,s1,Edema.,PA,F"),
            ("Path;Patient ID;Study UID;Narrative;Projection;Sex", "a.png;p1;s1;Edema.;PA;F"),
            ("dicom_id,MRN,AccessionNumber,TEXT,view_position,Gender", "a,p1,s1,Edema.,PA,F"),
        ],
    )
    def test_columns_under_other_names_are_found(self, tmp_path: Path, header: str, row: str) -> None:
        (tmp_path / "a.png").touch()
        (study,) = CsvSource(write(tmp_path / "t.csv", f"{header}\n{row}\n"), report_column="report")
        assert (study.id, study.patient_id, study.image) == ("s1", "p1", tmp_path / "a.png")
        assert study.report is not None
        assert study.report.text == "Edema."
        assert study.metadata == {"view": "PA", "sex": "F"}

    def test_findings_and_impression_are_a_report(self, tmp_path: Path) -> None:
        table = write(tmp_path / "t.csv", "image,Findings,Impression\na.png,Edema.,Normal heart.\nb.png,,NaN\n")
        first, second = CsvSource(table, report_column="report")
        assert first.report is not None
        assert first.report.sections == {"findings": "Edema.", "impression": "Normal heart."}
        assert first.report.text == "FINDINGS: Edema.\nIMPRESSION: Normal heart."
        assert second.report is not None
        assert second.report.text == ""

    def test_what_may_be_two_columns_is_asked_for_in_one_line(self, tmp_path: Path) -> None:
        table = write(tmp_path / "t.csv", "path,filename,report\na,b,c\n")
        with pytest.raises(ValueError, match="'path' and 'filename' may both be the image; set image_column") as caught:
            CsvSource(table)
        assert "\n" not in str(caught.value)
        (study,) = CsvSource(table, image_column="filename")
        assert study.image == tmp_path / "b"

    def test_of_several_columns_that_are_not_needed_none_is_taken(self, tmp_path: Path) -> None:
        table = write(tmp_path / "t.csv", "image,gender,patient_sex,dicom_id,sop_uid\na.png,F,M,d,i\n")
        (study,) = CsvSource(table)
        assert (study.metadata, study.image_id) == ({}, None)

    def test_a_table_without_patients_says_so(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        CsvSource(write(tmp_path / "t.csv", "image\na.png\n"))
        assert "no column of patient ids; each study counts as a patient" in caplog.text

    def test_paths_written_on_windows_and_ids_with_invisible_characters(self, tmp_path: Path) -> None:
        (tmp_path / "img").mkdir()
        (tmp_path / "img" / "0.png").touch()
        table = write(tmp_path / "t.csv", "image,patient_id\nimg\\0.png,\u200bp1\xa0\n")
        (study,) = CsvSource(table)
        assert (study.image, study.patient_id) == (tmp_path / "img" / "0.png", "p1")

    def test_words_for_nothing_are_nothing(self, tmp_path: Path) -> None:
        rows = "image,patient_id,report,age,Edema\na.png,NaN,nan,NULL,NaN\nb.png,None,Edema.,N/A,1\n"
        first, second = CsvSource(write(tmp_path / "t.csv", rows), report_column="report", label_columns=["Edema"])
        assert (first.patient_id, second.patient_id) == ("a.png", "b.png")
        assert (first.metadata["age"], first.labels, second.labels) == (None, {}, {"Edema": 1})
        assert first.report is not None
        assert first.report.text == ""

    def test_ids_that_a_spreadsheet_has_rounded_are_rejected(self, tmp_path: Path) -> None:
        rows = "study_id,image,patient_id\n5.0E+15,a.png,p1\n5.0E+15,b.png,p2\ns3,c.png,1.2E+11\ns4,d.png,p4\n"
        source = CsvSource(write(tmp_path / "t.csv", rows))
        assert [study.id for study in source] == ["s4"]
        assert [item.detail[:7] for item in source.rejected] == ["line 2:", "line 3:", "line 4:"]
        assert all("rounded" in item.detail for item in source.rejected)

    def test_a_workbook_is_a_table(self, tmp_path: Path) -> None:
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in [["Image", "Subject ID", "Report"], ["a.png", 10000032, "Edema."], ["b.png", 10000033, None]]:
            book.active.append(row)
        book.save(tmp_path / "t.xlsx")
        first, second = CsvSource(tmp_path / "t.xlsx", report_column="report")
        assert (first.patient_id, second.patient_id) == ("10000032", "10000033")

    def test_an_open_quote_costs_its_row(self, tmp_path: Path) -> None:
        rows = [f"img/{n}.png,p{n},FINDINGS: effusion {n}." for n in range(200)]
        rows[49], rows[119] = 'img/1.png,p49,"FINDINGS: effusion 49.', 'img/7.png,p119,FINDINGS: "bat wing" edema.'
        table = write(tmp_path / "t.csv", "\n".join(["image,patient_id,report", *rows]))
        source = CsvSource(table, report_column="report", id_column="patient_id")
        studies = list(source)
        assert len(studies) + len(source.rejected) == 200
        assert [item.detail for item in source.rejected] == ["line 51: an opening quote is never closed"]
        assert max(len(study.report.text) for study in studies if study.report) < 40

    def test_bad_rows_of_further_tables_are_rejected_too(self, tmp_path: Path) -> None:
        main = write(tmp_path / "t.csv", "image,uid\n" + "".join(f"{n}.png,r{n}\n" for n in range(4)))
        texts = [f"r{n},FINDINGS: effusion {n}." for n in range(4)]
        texts[1] = 'r1,"FINDINGS: open.'
        reports = write(tmp_path / "r.csv", "\n".join(["id,text", *texts]))
        boxes = write(tmp_path / "b.csv", "image,label,x,y,w,h\n0.png,Mass,0,0,1,1\n1.png,Mass,0,0\n")
        source = CsvSource(main, reports=reports, report_id_column="uid", boxes=boxes)
        studies = list(source)
        assert [study.report and study.report.text[-2] for study in studies] == ["0", None, "2", "3"]
        assert [(Path(item.path).name, item.detail) for item in source.rejected] == [
            ("b.csv", "line 3: 4 fields instead of 6"),
            ("r.csv", "line 3: an opening quote is never closed"),
        ]

    def test_of_several_reports_of_one_id_none_is_chosen(self, tmp_path: Path) -> None:
        reports = write(tmp_path / "r.csv", "id,text\nr1,Edema.\nr1,No edema.\n")
        main = write(tmp_path / "t.csv", "image,uid\na.png,r1\n")
        source = CsvSource(main, reports=reports, report_id_column="uid")
        assert not list(source)
        assert source.rejected[0].detail == "line 2: 2 reports have its id"

    def test_boxes_of_a_study_with_several_images_must_say_which(self, tmp_path: Path) -> None:
        main = write(tmp_path / "t.csv", "study_id,patient_id,image\ns1,p,a.png\ns1,p,b.png\ns2,q,c.png\n")
        by_study = write(tmp_path / "b.csv", "study_id,label,x,y,w,h\ns1,Mass,0,0,1,1\n")
        source = CsvSource(main, boxes=by_study)
        assert [len(study.boxes) for study in source] == [1, 0]
        assert "names its study, which has several images" in source.rejected[0].detail
        by_image = write(tmp_path / "b.csv", "study_id,image,label,x,y,w,h\ns1,b.png,Mass,0,0,1,1\n")
        assert [len(study.boxes) for study in CsvSource(main, boxes=by_image)] == [0, 1, 0]


def test_rows_of_one_study_id_are_its_images(tmp_path: Path) -> None:
    rows = [("s1", "p1", "0", "PA"), ("s1", "p1", "1", "LATERAL"), ("s2", "p2", "2", "AP"), ("s3", "p3", "3", "PA")]
    rows.append(("s3", "p3", "4", "LATERAL"))
    texts = {
        "s1": "FINDINGS: Small left effusion.",
        "s2": "FINDINGS: No pneumothorax.",
        "s3": "FINDINGS: Cardiomegaly.",
    }
    for *_, image, _ in rows:
        Image.new("L", (16, 16), int(image) * 20).save(tmp_path / f"{image}.png")
    lines = [f"{study},{patient},{image}.png,{texts[study]},{view}" for study, patient, image, view in rows]
    table = write(tmp_path / "t.csv", "\n".join(["study_id,patient_id,image,report,view", *lines]))
    summary = Prepare(CsvSource(table, report_column="report"), tmp_path / "store", 16, workers=0).run()
    assert (summary.stored, summary.studies, summary.rejected) == (5, 3, {})
    studies = PackedStore.open(tmp_path / "store").studies
    assert studies.column("view").to_pylist() == ["PA", "LATERAL", "AP", "PA", "LATERAL"]
    assert len(studies.column("text").unique()) == 3


def test_real_tables_of_radiographs(shared_data: Path) -> None:
    folder = shared_data / "nih_cxr"
    source = CsvSource(
        folder / "labels.csv", image_root=folder / "images", labels_column="labels", boxes=folder / "boxes.csv"
    )
    studies = list(source)
    assert len(studies) == 1237
    assert not source.rejected
    assert sum(study.split == "eval" for study in studies) == 338
    assert sum(len(study.boxes) for study in studies) == 29
    assert all(study.image is not None and study.image.is_file() for study in studies)
    patients = [{study.patient_id for study in studies if study.split == split} for split in ("train", "eval")]
    assert not patients[0] & patients[1]


def test_columns_called_like_a_finding_are_labels_where_they_hold_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(
        "image,report,Pleural Effusion,edema,mass,smoker\na.png,text,1.0,,big,1\nb.png,text,0,-1,0,0\n"
    )
    source = CsvSource(
        tmp_path / "table.csv", report_column="report", known_labels=["pleural_effusion", "Edema", "Mass", "report"]
    )
    assert [study.labels for study in source] == [{"Pleural Effusion": 1}, {"Pleural Effusion": 0, "edema": -1}]
    assert not source.rejected
