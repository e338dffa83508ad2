"""Every built-in report filter keeps its contract."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import medvlp_toolkit as mv
from medvlp_toolkit.data.records import Concept, Report
from medvlp_toolkit.testing import ReportFilterSuite
from tests.chat_server import chat_server


class TestRules(ReportFilterSuite):
    plugin = "rules"


@pytest.mark.skipif("entity_linker" not in mv.report_filters, reason="medvlp-reports offers no entity_linker")
class TestEntityLinker(ReportFilterSuite):
    plugin = "entity_linker"
    presence = False

    @pytest.fixture(autouse=True)
    def _knowledge(self) -> None:
        concepts = [Concept("C1", "pleural effusion", ("effusion",)), Concept("C2", "heart", kind="anatomy")]
        self.arguments = {"knowledge": concepts}


@pytest.mark.skipif("radgraph" not in mv.report_filters, reason="medvlp-reports offers no radgraph")
class TestRadGraph(ReportFilterSuite):
    plugin = "radgraph"

    @pytest.fixture(autouse=True)
    def _graphs(self, tmp_path: Path) -> None:
        graphs = {
            f"p10/p10000032/s5000000{number}.txt": {
                "text": "There is a small left pleural effusion . No pneumothorax .",
                "entities": {
                    "1": {"tokens": "pleural", "label": "ANAT-DP", "start_ix": 5, "end_ix": 5, "relations": []},
                    "2": {
                        "tokens": "left",
                        "label": "ANAT-DP",
                        "start_ix": 4,
                        "end_ix": 4,
                        "relations": [["modify", "1"]],
                    },
                    "3": {
                        "tokens": "effusion",
                        "label": "OBS-DP",
                        "start_ix": 6,
                        "end_ix": 6,
                        "relations": [["located_at", "1"]],
                    },
                    "4": {"tokens": "pneumothorax", "label": "OBS-DA", "start_ix": 9, "end_ix": 9, "relations": []},
                },
            }
            for number in range(3)
        }
        (tmp_path / "graphs.json").write_text(json.dumps(graphs))
        self.arguments = {"path": tmp_path / "graphs.json"}

    def reports(self) -> list[Report]:
        """The JSON's studies, and one that it lacks."""
        return [Report(f"s5000000{number}", "") for number in range(4)]


@pytest.mark.skipif("llm" not in mv.report_filters, reason="medvlp-reports offers no llm")
class TestLlm(ReportFilterSuite):
    plugin = "llm"

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path) -> Iterator[None]:
        with chat_server() as server:
            self.arguments = {"model": "m", "base_url": server.url, "cache_dir": tmp_path / "cache"}
            yield


class TestExample(ReportFilterSuite):
    plugin = "example"
