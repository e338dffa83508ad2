"""Every built-in data source keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

from pathlib import Path
from typing import Any

import pytest

import medvlp_toolkit as mv
from medvlp_toolkit.testing import DataSourceSuite


class TestPhantom(DataSourceSuite):
    plugin = "phantom"
    arguments = {"seed": 3, "count": 12, "size": 48}


class TestCsv(DataSourceSuite):
    plugin = "csv"

    @pytest.fixture(autouse=True)
    def _table(self, tmp_path: Path) -> None:
        (tmp_path / "pairs.csv").write_text(
            "image,patient_id,split,labels,report,sex,age\n"
            "a.png,p1,train,Effusion|Edema,Small effusion.,F,61\n"
            "b.png,p1,train,,Clear lungs.,F,62\n"
            "c.png,p2,test,Edema,,M,\n"
        )
        self.arguments = {"file": tmp_path / "pairs.csv", "report_column": "report", "labels_column": "labels"}


class TestPhantomQuestions(DataSourceSuite):
    plugin = "phantom_questions"
    arguments = {"count": 6, "size": 32}


class TestOpenI(DataSourceSuite):
    plugin = "open_i"

    @pytest.fixture(autouse=True)
    def _archive(self, tmp_path: Path) -> None:
        for number in (1, 2):
            (tmp_path / f"{number}.xml").write_text(
                f'<eCitation><uId id="CXR{number}"/><MedlineCitation><Article><Abstract>'
                '<AbstractText Label="FINDINGS">The lungs are clear.</AbstractText>'
                '<AbstractText Label="IMPRESSION">No acute disease.</AbstractText>'
                "</Abstract></Article></MedlineCitation><MeSH><major>normal</major></MeSH>"
                f'<parentImage id="CXR{number}_1"/></eCitation>'
            )
        self.arguments = {"path": tmp_path, "images": tmp_path}


class TestJoined(DataSourceSuite):
    plugin = "joined"

    def build(self) -> Any:
        return self.target(sources=[self.tables["one"], self.tables["other"]])

    @pytest.fixture(autouse=True)
    def _tables(self, tmp_path: Path) -> None:
        self.tables = {}
        for name in ("one", "other"):
            (tmp_path / f"{name}.csv").write_text(f"image,report\n{name}.png,Clear lungs.\n")
            self.tables[name] = mv.data_sources.csv(file=tmp_path / f"{name}.csv", report_column="report")
