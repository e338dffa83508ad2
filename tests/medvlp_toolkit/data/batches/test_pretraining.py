"""Batches for pre-training on reports: links aligned with tokens, negatives, and what is drawn for whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from medvlp_reports.entity_linker import EntityLinker
from medvlp_toolkit.data.batches.masking import WholeEntityMasking
from medvlp_toolkit.data.batches.mismatches import Mismatches
from medvlp_toolkit.data.batches.pretraining import PretrainingDataset, report_texts
from medvlp_toolkit.data.knowledge_graph import GraphError, KnowledgeGraph
from medvlp_toolkit.data.records import Concept, Finding, Presence, Report, Study
from medvlp_toolkit.data.store.store import StoreError
from medvlp_toolkit.interfaces import BATCH_KEYS
from medvlp_toolkit.preparing.prepare import Prepare

CONCEPTS = (Concept("C1", "pleural effusion"), Concept("C2", "heart"), Concept("C3", "edema"))
TEXTS = (
    "no pleural effusion . the heart is large",
    "edema and pleural effusion",
    "the heart is normal and the lungs are clear and nothing else is seen but edema",
    "clear",
)


class Denials:
    """States edema present and effusion after ``no`` absent."""

    entities = ("effusion", "edema")
    positions: tuple[str, ...] = ()

    def __call__(self, reports: list[Report]) -> list[list[Finding]]:
        return [self._read(report.text) for report in reports]

    def _read(self, text: str) -> list[Finding]:
        found = []
        if "pleural effusion" in text:
            start = text.index("pleural effusion")
            state = Presence.ABSENT if text.startswith("no") else Presence.PRESENT
            found.append(Finding("effusion", state, span=(start, start + len("pleural effusion"))))
        return found


class Studies:
    """Forty studies with images of one grey level each, labelled by their number modulo three."""

    def __iter__(self) -> Iterator[Study]:
        for number in range(40):
            yield Study(
                f"s{number}",
                f"p{number}",
                Path(f"{number}"),
                Report(f"s{number}", TEXTS[number % 4]),
                split="train" if number < 36 else "test",
                labels={"edema": int(number % 3 == 0), "effusion": int(number % 3 == 1)},
            )

    def read_image(self, study: Study) -> np.ndarray:
        return np.full((1, 8, 8), int(study.id[1:]), dtype=np.uint8)


def words() -> Tokenizer:
    vocabulary = {token: n for n, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    for text in TEXTS:
        for word in text.split():
            vocabulary.setdefault(word, len(vocabulary))
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretraining") / "store"
    linker = EntityLinker(CONCEPTS)
    Prepare(
        Studies(), folder, image_size=8, report_filter=Denials(), entity_linker=linker, require_findings=False,
        on_leak="report", workers=0,
    ).run()  # fmt: skip
    return folder


def graph(*ids: str) -> KnowledgeGraph:
    count = len(ids)
    return KnowledgeGraph(
        np.zeros((2, 1), np.int64), np.zeros(1, np.int64), np.zeros((count, 4), np.float32), ids, ids, ("r",)
    )


def dataset(store: Path, **options: Any) -> PretrainingDataset:
    settings: dict[str, Any] = {
        "tokenizer": words(), "text_length": 12, "graph": graph("C2", "C1", "C3"), "masking": WholeEntityMasking(0.4),
        "patches": (2, 2), "matching": "labels", "splits": ["train"],
    }  # fmt: skip
    return PretrainingDataset(store, **(settings | options))


def test_every_key_is_in_the_batch_table(store: Path) -> None:
    batch = dataset(store).__getitems__([0, 1, 2, 3])
    assert set(batch) - {"row"} <= BATCH_KEYS
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (4, 12)
    assert batch["linked_entities"].shape == (4, 24)
    assert batch["linked_entity_alignment"].shape == (4, 24, 12)
    assert batch["masked_labels"].shape == batch["masked_positions"].shape == (4, 5)
    assert batch["patch_noise"].shape == (4, 4)
    assert batch["image_entities"].shape == (4, 3)


def test_entities_cover_the_tokens_of_their_mentions(store: Path) -> None:
    batch = dataset(store).__getitems__([0, 1])
    assert batch["linked_entities"][0, :3].tolist() == [1, 0, -100]  # effusion, then heart, numbered by the graph
    # [CLS] no pleural effusion . the heart is large [SEP]
    assert batch["linked_entity_alignment"][0, 0].nonzero().flatten().tolist() == [2, 3]
    assert batch["linked_entity_alignment"][0, 1].nonzero().flatten().tolist() == [6]
    assert batch["linked_entities"][1, :2].tolist() == [2, 1]


def test_a_mention_that_was_cut_off_counts_for_the_image_only(store: Path) -> None:
    batch = dataset(store).__getitems__([2])
    assert batch["linked_entities"][0].tolist() == [0] + [-100] * 23
    assert batch["image_entities"][0].tolist() == [1, 0, 1]
    assert batch["text_entities"][0].tolist() == [1, 0, 0]


def test_only_the_first_entities_are_kept(store: Path) -> None:
    batch = dataset(store, max_entities=1).__getitems__([0])
    assert batch["linked_entities"].tolist() == [[1]]
    assert batch["text_entities"][0].tolist() == [1, 1, 0]


def test_denied_mentions_can_be_left_out_of_the_image(store: Path) -> None:
    batch = dataset(store, negated="drop").__getitems__([0, 1])
    assert batch["image_entities"].tolist() == [[1, 0, 0], [0, 1, 1]]
    assert batch["text_entities"][0].tolist() == [1, 1, 0]


def test_withheld_entities_touch_a_mask(store: Path) -> None:
    batch = dataset(store).__getitems__(list(range(36)))
    masked = batch["masked_input_ids"] != batch["input_ids"]
    left = batch["masked_linked_entity_alignment"]
    assert not ((left > 0) & masked[:, None, :]).any()
    assert ((batch["masked_linked_entities"] < 0) & (batch["linked_entities"] >= 0)).any()


def test_negatives_have_other_labels_and_are_as_many_as_the_mismatched(store: Path) -> None:
    data = dataset(store)
    batch = data.__getitems__(list(range(36)))
    rows = batch["row"][~batch["is_pair"]]
    shown = batch["negative_image"][:, 0, 0, 0].long()
    assert len(shown) == len(rows) > 5
    own = torch.tensor([data.store.studies.column("label:edema")[int(row)].as_py() for row in rows])
    other = torch.tensor([int(number % 3 == 0) for number in shown.tolist()])
    effusion = torch.tensor(
        [int(int(row) % 3 == 1) != int(number % 3 == 1) for row, number in zip(rows, shown, strict=True)]
    )
    assert ((own != other) | effusion).all()


def test_draws_depend_on_seed_epoch_and_study_alone(store: Path) -> None:
    data = dataset(store)
    whole, part = data.__getitems__(list(range(36))), data.__getitems__([7, 3])
    for key in ("masked_input_ids", "masked_labels", "patch_noise", "is_pair", "masked_linked_entities"):
        assert torch.equal(whole[key][[7, 3]], part[key]), key
    data.set_epoch(1)
    later = data.__getitems__(list(range(36)))
    assert not torch.equal(whole["is_pair"], later["is_pair"])
    assert not torch.equal(whole["patch_noise"], later["patch_noise"])


def test_about_half_of_the_studies_are_pairs() -> None:
    from medvlp_toolkit.data.batches.draws import study_keys

    count = 4000
    keys = study_keys([f"s{n}" for n in range(count)])
    is_pair, other = Mismatches([n % 7 for n in range(count)]).draw(np.arange(count), 0, 0, keys)
    assert is_pair.mean() == pytest.approx(0.5, abs=0.03)
    assert (other % 7 != np.arange(count) % 7).all()
    assert len(set(other.tolist())) > count / 2


def test_studies_that_do_not_differ_cannot_be_mismatched() -> None:
    with pytest.raises(ValueError, match="needs studies that differ"):
        Mismatches(["same"] * 5)


def test_without_knowledge_there_are_no_entities(store: Path) -> None:
    batch = dataset(store, graph=None).__getitems__([0, 1])
    assert "linked_entities" not in batch
    assert "masked_linked_entities" not in batch
    assert (batch["masked_labels"] >= 0).any()


def test_a_store_without_linked_entities_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    Prepare(Studies(), folder, image_size=8, require_findings=False, on_leak="report", workers=0).run()
    with pytest.raises(StoreError, match="no linked entities; prepare the store with an entity_linker") as caught:
        dataset(folder)
    assert "\n" not in str(caught.value)


def test_a_graph_of_other_knowledge_is_named(store: Path) -> None:
    with pytest.raises(GraphError, match="none of its 3 linked entities is in the knowledge graph"):
        dataset(store, graph=graph("X1", "X2"))


def test_long_reports_are_cut_with_a_line_or_refused(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        dataset(store, text_length=11).replace(seed=1)  # as a validation set is made from the training set
    assert caplog.text.count("10 of 40 reports are longer than 11 tokens") == 1
    with pytest.raises(ValueError, match="10 of 40 reports are longer than 12 tokens; raise text_length"):
        dataset(store, long_reports="refuse")


def test_a_tokenizer_without_a_mask_token_is_refused(store: Path) -> None:
    bare = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    with pytest.raises(ValueError, match="has no mask token"):
        dataset(store, tokenizer=bare)


def test_tokens_are_kept_in_the_store(store: Path) -> None:
    first, second = dataset(store), dataset(store)
    assert first.tokens.path == second.tokens.path
    assert first.tokens.path.parent == store / "tokens"


def test_the_texts_of_a_split_make_a_vocabulary(store: Path) -> None:
    assert len(report_texts(store, "test")) == 4
    with pytest.raises(ValueError, match="no reports in split nowhere"):
        report_texts(store, "nowhere")
