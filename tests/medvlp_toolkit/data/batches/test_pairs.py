"""Pairs of images and texts: every image once, its own texts, and the controls that show another image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medvlp_datasets.questions import VqaMed2019Source
from medvlp_encoders.vocabulary import wordpiece_tokenizer
from medvlp_toolkit.data.batches.answers import AnswerVocabulary
from medvlp_toolkit.data.batches.pairs import PairDataset, PairTable, captions, questions
from medvlp_toolkit.data.batches.text_links import TextLinks
from medvlp_toolkit.data.records import Finding, Report, Study
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.preparing.prepare import Prepare
from medvlp_toolkit.preparing.resplit import Resplit
from tests.question_store import QUESTIONS, question_store, write_questions


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PackedStore:
    return question_store(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def table(store: PackedStore) -> PairTable:
    return questions(store, ["train"])


def dataset(store: PackedStore, table: PairTable, **options: Any) -> PairDataset:
    return PairDataset(store, table, wordpiece_tokenizer(table.text), **options)


def test_an_image_with_several_questions_is_stored_and_batched_once(store: PackedStore, table: PairTable) -> None:
    assert len(store) == 40
    assert len(table) == 48
    batch = dataset(store, table, by_image=True).__getitems__([0, 1, 2])
    assert len(batch["image"]) == 3
    assert batch["image_index"].tolist() == [0, 0, 1, 1, 2, 2]
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert len(batch["input_ids"]) == 6


def test_every_question_comes_with_its_own_image(store: PackedStore, table: PairTable) -> None:
    for by_image in (True, False):
        data = dataset(store, table, by_image=by_image)
        batch = data.__getitems__([3, 0, 5])
        rows = batch["image_row"][batch["image_index"]]
        assert rows.tolist() == table.row[batch["pair"]].tolist()
        stored = torch.from_numpy(np.asarray(store.images)[rows.numpy()])
        assert torch.equal(batch["image"][batch["image_index"]], stored)


def test_shuffled_images_are_all_there_and_none_is_its_own(store: PackedStore, table: PairTable) -> None:
    data = dataset(store, table, by_image=True, images="shuffled")
    batch = data.__getitems__(range(len(data)))
    shown = batch["image_row"][batch["image_index"]].numpy()
    assert sorted(set(shown)) == sorted(set(table.row))
    assert not np.any(shown == table.row[batch["pair"].numpy()])


def test_blank_images_are_black(store: PackedStore, table: PairTable) -> None:
    assert not dataset(store, table, images="blank").__getitems__([0, 1])["image"].any()


def test_a_part_of_an_images_questions_changes_with_the_epoch(store: PackedStore, table: PairTable) -> None:
    data = dataset(store, table, by_image=True, texts_per_image=1)
    seen = set()
    for epoch in range(4):
        data.set_epoch(epoch)
        batch = data.__getitems__(range(len(data)))
        assert len(batch["pair"]) == len(data) == 24
        seen.add(tuple(batch["pair"].tolist()))
    assert len(seen) > 1


def test_answers_that_training_lacks_are_marked(store: PackedStore, table: PairTable) -> None:
    vocabulary = AnswerVocabulary.of([str(answer) for answer in table.answer])
    tests = questions(store, ["test"])
    labels = dataset(store, tests, vocabulary=vocabulary).answers
    assert labels is not None
    assert int((labels == -1).sum()) == 1
    assert tests.answer[int((labels == -1).int().argmax())] == "in the picture"


def test_questions_of_some_categories(store: PackedStore) -> None:
    chosen = questions(store, ["train"], ["plane"])
    assert set(chosen.category) == {"plane"}
    with pytest.raises(ValueError, match=r"of category organ; .* categories modality, plane"):
        questions(store, ["train"], ["organ"])


def test_an_unknown_split_names_those_there_are(store: PackedStore) -> None:
    with pytest.raises(ValueError, match=r"no question in dev; .* test, train, validate"):
        questions(store, ["dev"])


def test_a_vocabulary_of_another_data_set_is_one_line(store: PackedStore, table: PairTable) -> None:
    with pytest.raises(ValueError, match=r"none of the 48 answers is among the 2 .* of another data set") as caught:
        dataset(store, table, vocabulary=AnswerVocabulary(("axial", "sagittal")))
    assert "\n" not in str(caught.value)


def test_questions_without_images_are_one_line(tmp_path: Path) -> None:
    root = write_questions(tmp_path / "source", images=4, tests=4)
    source = VqaMed2019Source(root)
    Prepare(source, tmp_path / "store", image_size=None, require_report=False, workers=0, progress=False).run()
    store = PackedStore.open(tmp_path / "store")
    with pytest.raises(ValueError, match="8 texts without an image"):
        dataset(store, questions(store, ["train"]))


def test_images_without_questions_are_one_line(tmp_path: Path) -> None:
    root = write_questions(tmp_path / "source", images=4, tests=4)
    studies = [Study("a", "a", root / "images" / "train0.png", split="train")]
    Prepare(studies, tmp_path / "store", image_size=32, require_report=False, workers=0, progress=False).run()
    with pytest.raises(ValueError, match="images without questions"):
        questions(PackedStore.open(tmp_path / "store"), ["train"])


def test_captions_with_a_class(tmp_path: Path) -> None:
    root = write_questions(tmp_path / "source", images=4, tests=4)
    studies = [
        Study(f"{n}", f"{n}", root / "images" / f"train{n}.png", Report(f"{n}", text), "train", metadata={"kind": kind})
        for n, (text, kind) in enumerate([("A short blot", "blot"), ("gel", "gel"), ("Another long blot", None)])
    ]
    Prepare(studies, tmp_path / "store", image_size=32, workers=0, progress=False, require_findings=False).run()
    store = PackedStore.open(tmp_path / "store")
    assert captions(store, ["train"], "kind").answer == ["blot", "gel"]
    assert captions(store, ["train"]).text == ["A short blot", "gel", "Another long blot"]
    assert captions(store, ["train"], fewest_words=3).id == ["0", "2"]
    assert len(captions(store, ["train"], most=2)) == 2
    with pytest.raises(ValueError, match="no column colour"):
        captions(store, ["train"], "colour")


def test_a_validation_part_takes_whole_images_from_training(tmp_path: Path) -> None:
    root = write_questions(tmp_path / "source")
    divided = list(Resplit(VqaMed2019Source(root), fractions={"train": 0.5, "validate": 0.5}))
    for study in divided:
        assert {question.split for question in study.questions} == {study.split}
    assert {study.split for study in divided if study.id.startswith("train")} == {"train", "validate"}
    assert {study.split for study in divided if study.id.startswith("test")} == {"test"}


class BrightLinker:
    """Finds the word "bright"."""

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        found = []
        for report in reports:
            start = report.text.find("bright")
            found.append([Finding("bright", span=(start, start + 6), concept_id="C1")] if start >= 0 else [])
        return found


def test_entities_of_questions_cover_their_tokens(store: PackedStore, table: PairTable) -> None:
    links = TextLinks(BrightLinker(), ["C0", "C1"], max_entities=3)
    tokenizer = wordpiece_tokenizer(table.text)
    data = PairDataset(store, table, tokenizer, links=links)
    batch = data.__getitems__([0])
    assert batch["linked_entities"][0].tolist() == [1, -100, -100]
    covered = batch["linked_entity_alignment"][0, 0].bool()
    words = tokenizer.convert_ids_to_tokens(batch["input_ids"][0][covered].tolist())
    assert "".join(word.removeprefix("##") for word in words) == "bright"
    assert not batch["linked_entity_alignment"][0, 1:].any()
    assert data.table.text[0] == QUESTIONS["plane"]
