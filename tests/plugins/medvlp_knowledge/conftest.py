"""A store of a few reports with linked entities, and the knowledge they were linked with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from medvlp_reports.entity_linker import EntityLinker
from medvlp_toolkit.data.records import Concept, Report, Study, Triple
from medvlp_toolkit.preparing.prepare import Prepare

TEXTS = (
    "Pleural effusion and edema. Heart enlarged.",
    "Effusion of the pleura. No edema of the lung.",
    "The heart is normal. Lung clear.",
    "Effusion, effusion and edema.",
)


class Knowledge:
    """Five concepts; one is never mentioned."""

    concepts = (
        Concept("C1", "effusion"),
        Concept("C2", "edema"),
        Concept("C3", "heart"),
        Concept("C4", "lung"),
        Concept("C9", "hernia"),
    )
    triples = (
        Triple("C2", "located_in", "C4"),
        Triple("C1", "located_in", "C9"),
        Triple("C1", "seen_with", "C2"),
        Triple("C3", "adjacent_to", "C4"),
    )


class Reports:
    """One report a study."""

    def __iter__(self) -> Iterator[Study]:
        for number, text in enumerate(TEXTS):
            split = "train" if number < 3 else "test"
            yield Study(f"s{number}", f"p{number}", None, Report(f"s{number}", text), split=split)


@pytest.fixture(scope="session")
def knowledge() -> Knowledge:
    return Knowledge()


@pytest.fixture(scope="session")
def linked_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linked") / "store"
    Prepare(Reports(), folder, image_size=None, entity_linker=EntityLinker(Knowledge()), workers=0).run()
    return folder


@pytest.fixture(scope="session")
def unlinked_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unlinked") / "store"
    Prepare(Reports(), folder, image_size=None, workers=0).run()
    return folder
