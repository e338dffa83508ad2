"""A study's text for KAD is what its report states, in the published form."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medvlp_encoders.vocabulary import wordpiece_tokenizer
from medvlp_kad.dataset import EntityTextDataset
from medvlp_kad.entity_text import entity_segment
from medvlp_reports.entity_linker import EntityLinker
from medvlp_toolkit.data.records import Concept, Finding, Presence, Report, Study
from medvlp_toolkit.preparing import Prepare

REPORTS = (
    "Heart is large. No pleural effusion. Possible edema in the left lung.",
    "The picture shows nothing. It was taken twice.",
    "Pleural effusion.",
    "The heart rests.",
)
WORDS = {"pleural effusion": "effusion", "edema": "edema", "large": "large_heart"}


class Knowledge:
    """Names of findings, positions and linked concepts."""

    concepts = (Concept("effusion", "pleural effusion"), Concept("left_lung", "left lung"), Concept("C1", "heart"))
    triples = ()


class Statements:
    """Findings by their words: absent after "No", uncertain after "Possible"."""

    entities = tuple(WORDS.values())
    positions = ("left_lung",)

    def __call__(self, reports: list[Report]) -> list[list[Finding]]:
        return [self._read(report.text) for report in reports]

    def _read(self, text: str) -> list[Finding]:
        found = []
        for word, entity in WORDS.items():
            start = text.lower().find(word)
            if start >= 0:
                before = text[:start].split()[-1:]
                presence = {"No": Presence.ABSENT, "Possible": Presence.UNCERTAIN}.get("".join(before))
                position = "left_lung" if entity == "edema" else None
                found.append(Finding(entity, presence or Presence.PRESENT, position, (start, start + len(word))))
        return found


class Studies:
    def __iter__(self) -> Any:
        for number, text in enumerate(REPORTS):
            yield Study(f"s{number}", f"p{number}", Path(str(number)), Report(f"s{number}", text), split="train")

    def read_image(self, study: Study) -> np.ndarray:
        return np.full((1, 8, 8), int(study.id[1:]), dtype=np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("entity_text") / "store"
    linker = EntityLinker((Concept("C1", "heart"), Concept("C2", "picture"), Concept("C3", "effusion")))
    Prepare(
        Studies(), folder, image_size=8, report_filter=Statements(), entity_linker=linker, require_findings=False,
        workers=0,
    ).run()  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    segments = [entity_segment("pleural effusion heart edema", presence, "left lung") for presence in Presence]
    return wordpiece_tokenizer([*REPORTS, *segments], 400)


def dataset(store: Path, tokenizer: Any, **options: Any) -> EntityTextDataset:
    return EntityTextDataset(store, tokenizer, Knowledge(), **{"text_length": 64, **options})


def text_of(made: EntityTextDataset, tokenizer: Any, study: int) -> str:
    batch = made.__getitems__([study])
    ids = batch["input_ids"][0][batch["attention_mask"][0].bool()]
    return str(tokenizer.decode(ids))


def test_findings_and_links_stand_in_the_reports_order_with_what_is_said_of_them(store: Path, tokenizer: Any) -> None:
    read = text_of(dataset(store, tokenizer), tokenizer, 0)
    published = (
        "[CLS] [ENT] heart [SEP] [ENT] large heart Observation Definitely Present [SEP] "
        "[ENT] pleural effusion Observation Definitely Absent [SEP] "
        "[ENT] edema Observation Uncertain [ENT] left lung Anatomy Definitely Present [SEP] [SEP]"
    )
    assert read == str(tokenizer.decode(tokenizer(published, add_special_tokens=False)["input_ids"]))


def test_the_tokens_are_those_of_the_whole_text_at_once(store: Path, tokenizer: Any) -> None:
    batch = dataset(store, tokenizer).__getitems__([2])
    at_once = tokenizer(f" {entity_segment('pleural effusion', Presence.PRESENT)} ")["input_ids"]
    assert batch["input_ids"][0, : len(at_once)].tolist() == at_once
    assert int(batch["attention_mask"].sum()) == len(at_once)


def test_a_report_without_entities_is_read_by_its_sentences(store: Path, tokenizer: Any) -> None:
    """ "picture" is linked, but no knowledge names it."""
    read = text_of(dataset(store, tokenizer), tokenizer, 1)
    assert read == "[CLS] the picture shows nothing [SEP] it was taken twice [SEP] [SEP]"


def test_a_linked_entity_within_a_finding_is_that_finding(store: Path, tokenizer: Any) -> None:
    assert text_of(dataset(store, tokenizer), tokenizer, 2).count("effusion") == 1


def test_texts_are_silent_about_excluded_entities(store: Path, tokenizer: Any) -> None:
    made = dataset(store, tokenizer, excluded_from_text=["effusion", "C1"])
    assert text_of(made, tokenizer, 2) == "[CLS] [SEP]"
    assert "effusion" not in text_of(made, tokenizer, 0)
    assert "heart" in text_of(made, tokenizer, 0)  # of the finding "large heart"
    assert text_of(made, tokenizer, 0).count("heart") == 1


def test_long_texts_are_cut_and_counted_and_end_in_the_separator(
    store: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        batch = dataset(store, tokenizer, text_length=12).__getitems__([0, 2])
    assert "of 4 entity texts are longer than 12 tokens" in caplog.text
    assert "effusion" not in caplog.text
    assert batch["input_ids"].shape == (2, 12)
    assert batch["input_ids"][0, -1] == tokenizer.sep_token_id


def test_a_validation_reads_its_own_studies_and_a_batch_keeps_their_order(store: Path, tokenizer: Any) -> None:
    whole = dataset(store, tokenizer)
    one = whole.replace(study_ids=["s3", "s2"])
    assert torch.equal(one.__getitems__([1, 0])["input_ids"], whole.__getitems__([3, 2])["input_ids"])
