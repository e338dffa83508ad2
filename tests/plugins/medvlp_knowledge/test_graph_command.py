"""``medvlp graph``: from a store to the graph file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medvlp_reports.entity_linker import EntityLinker
from medvlp_toolkit.cli.main import app
from medvlp_toolkit.data.knowledge_graph import KnowledgeGraph
from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.preparing.prepare import Prepare


class Reports:
    def __iter__(self) -> Iterator[Study]:
        for number in range(4):
            text = "Pleural effusion in the left lung. The heart is enlarged. Atelectasis of the lungs."
            yield Study(f"s{number}", f"p{number}", None, Report(f"s{number}", text), split="train")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import medvlp_toolkit as mv

    folder = tmp_path_factory.mktemp("cli") / "store"
    linker = EntityLinker(mv.knowledge_sources.chest_lexicon())
    Prepare(Reports(), folder, image_size=None, entity_linker=linker, workers=0).run()
    return folder


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["graph", *map(str, arguments)])
    return result.exit_code, result.output


def test_a_graph_is_written_and_summed_up(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "graph.safetensors"
    options = ("--knowledge", "chest_lexicon", "--threshold", "2", "--dimension", "8", "--epochs", "2")
    status, output = run(store, "--out", file, *options)
    assert status == 0, output
    graph = KnowledgeGraph.read(file)
    assert {"atelectasis", "pulmonary"} <= set(graph.entity_ids)
    assert graph.summary() in output
    assert graph.width == 8


def test_sources_are_joined(store: Path, tmp_path: Path) -> None:
    (tmp_path / "own.tsv").write_text("effusion\tseen_with\theart_size\n")
    options = ("--threshold", "2", "--dimension", "8", "--epochs", "1", "--out", tmp_path / "g")
    status, output = run(
        store, "--knowledge", "chest_lexicon", "--knowledge", f"triples:{tmp_path / 'own.tsv'}", *options
    )
    assert status == 0, output
    assert "seen_with" in KnowledgeGraph.read(tmp_path / "g").relation_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--knowledge", "chest_lexicon"), "no entity is linked more than 20 times"),
        (("--knowledge", "definitions:chest_entities", "--threshold", "1"), "none of the 0 triples"),
        (("--knowledge", "chest_lexikon"), "chest_lexicon"),
        (("--knowledge", "triples:nowhere.tsv"), "nowhere.tsv"),
    ],
)
def test_mistakes_are_reported_in_a_line(store: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    status, output = run(store, "--out", tmp_path / "g", *options)
    assert status == 2
    assert message in output
    assert "Traceback" not in output
