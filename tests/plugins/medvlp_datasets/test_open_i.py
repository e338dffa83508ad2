"""The Open-i collection."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from medvlp_datasets.open_i import OpenISource

DOCUMENT = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR{number}"/>
  <MedlineCitation><Article><Abstract>
    <AbstractText Label="COMPARISON">None.</AbstractText>
    <AbstractText Label="INDICATION"/>
    <AbstractText Label="FINDINGS">The lungs are clear. XXXX effusion.</AbstractText>
    <AbstractText Label="IMPRESSION">Normal.</AbstractText>
  </Abstract></Article></MedlineCitation>
  <MeSH><major>Opacity/lung/base/left</major><automatic>opacity</automatic><major>Granuloma</major></MeSH>
  {images}
</eCitation>"""


def write(folder: Path, count: int = 2) -> Path:
    folder.mkdir()
    for number in range(1, count + 1):
        images = "".join(f'<parentImage id="CXR{number}_IM-{view}"/>' for view in (1, 2)) if number == 1 else ""
        (folder / f"{number}.xml").write_text(DOCUMENT.format(number=number, images=images))
    return folder


def test_reports_alone(tmp_path: Path) -> None:
    first, second = OpenISource(write(tmp_path / "xml"))
    assert (first.id, first.patient_id, first.image) == ("CXR1", "CXR1", None)
    assert first.report is not None
    assert first.report.sections == {
        "comparison": "None.", "findings": "The lungs are clear. XXXX effusion.", "impression": "Normal.",
    }  # fmt: skip
    for text in first.report.sections.values():
        assert text in first.report.text
    assert first.metadata["mesh"] == "Opacity/lung/base/left|Granuloma"
    assert second.id == "CXR2"


def test_the_images_of_a_report_are_one_study(tmp_path: Path) -> None:
    (tmp_path / "png").mkdir()
    one, two, without = OpenISource(write(tmp_path / "xml"), tmp_path / "png")
    assert one.id == two.id == "CXR1"
    assert [study.image_id for study in (one, two)] == ["CXR1_IM-1", "CXR1_IM-2"]
    assert one.report == two.report
    assert one.patient_id == two.patient_id == "CXR1"
    assert one.image == tmp_path / "png" / "CXR1_IM-1.png"
    assert without.image is None


def test_archive_and_folder_give_the_same(tmp_path: Path) -> None:
    folder = write(tmp_path / "xml")
    with tarfile.open(tmp_path / "reports.tgz", "w:gz") as archive:
        archive.add(folder, "ecgen-radiology")
    assert list(OpenISource(tmp_path / "reports.tgz")) == list(OpenISource(folder))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<eCitation>",
        b"<eCitation><uId/></eCitation>",
        b'<?xml version="1.0" encoding="no-such"?><a/>',
        b"\x00\xff",
        b"<a>" * 100_000,
    ],
    ids=["empty", "cut", "no id", "unknown encoding", "binary", "deep"],
)
def test_damaged_document_is_rejected_and_the_rest_read(tmp_path: Path, content: bytes) -> None:
    folder = write(tmp_path / "xml")
    (folder / "1a.xml").write_bytes(content)
    source = OpenISource(folder)
    assert [study.id for study in source] == ["CXR1", "CXR2"]
    assert [item.study_id for item in source.rejected] == ["1a"]


def test_latin1_document_is_read_as_it_says(tmp_path: Path) -> None:
    folder = write(tmp_path / "xml", 1)
    text = (folder / "1.xml").read_text().replace("utf-8", "iso-8859-1").replace("clear", "clear à la base")
    (folder / "1.xml").write_bytes(text.encode("latin-1"))
    (study,) = OpenISource(folder)
    assert study.report is not None
    assert "à la base" in study.report.text


def test_truncated_archive_is_one_line(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(write(tmp_path / "xml", 40), "ecgen-radiology")
    (tmp_path / "reports.tgz").write_bytes(buffer.getvalue()[:-400])
    with pytest.raises(ValueError, match=r"the archive is damaged"):
        list(OpenISource(tmp_path / "reports.tgz"))


def test_folder_without_documents_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no .xml file"):
        list(OpenISource(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        OpenISource(tmp_path / "nowhere")
