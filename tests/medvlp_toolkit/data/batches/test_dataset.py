"""Batches from a packed store."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medvlp_toolkit.data.batches.dataset import AUGMENTATION_DRAWS, StudyDataset, study_loader
from medvlp_toolkit.data.records import Finding, Presence, Report, Study
from medvlp_toolkit.data.store.store import PackedStore, StoreError
from medvlp_toolkit.preparing.prepare import Prepare

COUNT, SIDE = 40, 16
LABELS = (1, 0, -1, None)


class Spelled:
    """Reads findings written out as ``entity:presence:position``."""

    entities = ("effusion", "nodule", "edema")
    positions = ("left", "right", "apex", "base", "hilum", "unspecified")

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        return [[self.finding(word) for word in report.text.split()] for report in reports]

    def finding(self, word: str) -> Finding:
        entity, presence, position = word.split(":")
        return Finding(entity, Presence(presence), position or None)


class Studies:
    """Forty studies, two a patient; the last eight are for testing."""

    def __init__(self, masks: bool = False) -> None:
        self.read_mask = self._mask if masks else None

    def __iter__(self) -> Iterator[Study]:
        for number in range(COUNT):
            place = Spelled.positions[number % 5]
            words = [f"nodule:present:{place}", f"edema:{('absent', 'uncertain')[number % 2]}:"]
            if number % 4 == 0:
                words.append("effusion:present:")
            label = LABELS[number % 4]
            yield Study(
                id=f"study-{number}",
                patient_id=f"patient-{number // 2}",
                image=None,
                report=Report(f"report-{number}", " ".join(words)),
                split="train" if number < 32 else "test",
                labels={} if label is None else {"Edema": label},
            )

    def read_image(self, study: Study) -> np.ndarray:
        number = int(study.id.rpartition("-")[2])
        return np.random.default_rng(number).integers(0, 256, (1, SIDE, SIDE), dtype=np.uint8)

    def _mask(self, study: Study) -> np.ndarray:
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[: int(study.id.rpartition("-")[2]) % SIDE] = 1
        return mask


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "store"
    Prepare(Studies(masks=True), folder, image_size=SIDE, report_filter=Spelled(), workers=0).run()
    return folder


def make(store: Path, **options: Any) -> StudyDataset:
    return StudyDataset(store, **{"candidates": 4, **options})


def assert_same(one: dict[str, Any], other: dict[str, Any], rows: Sequence[int] | None = None) -> None:
    """One batch is some rows of the other."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            expected = other[key] if rows is None else other[key][list(rows)]
            assert value.dtype == expected.dtype
            assert torch.equal(value, expected), key
        else:
            assert value == (other[key] if rows is None else [other[key][row] for row in rows])


class TestBatch:
    def test_every_key_is_of_the_study_asked_for(self, store: Path) -> None:
        batch = make(store, labels=["Edema"], masks=True).__getitems__([33, 4])
        packed = PackedStore.open(store)
        assert batch["study_id"] == ["study-33", "study-4"]
        assert batch["patient_id"] == ["patient-16", "patient-2"]
        assert batch["row"].tolist() == [33, 4]
        assert np.array_equal(batch["image"].numpy(), packed.images[[33, 4]])
        assert np.array_equal(batch["mask"].numpy(), packed.masks[[33, 4]])
        assert batch["entity_presence"].tolist() == [[-1, 1, 2], [1, 1, 0]]
        assert batch["entity_position_candidates"].shape == (2, 3, 4)
        assert batch["entity_position_candidates"][:, 1, 0].tolist() == [3, 4]
        assert batch["entity_position_candidates"][1, 0, 0] == Spelled.positions.index("unspecified")
        assert batch["augmentation_draws"].shape == (2, AUGMENTATION_DRAWS)

    def test_dtypes_are_those_of_the_batch_table(self, store: Path) -> None:
        batch = make(store, labels=["Edema"], masks=True).__getitems__([0])
        assert {key: value.dtype for key, value in batch.items() if isinstance(value, torch.Tensor)} == {
            "row": torch.int64,
            "image": torch.uint8,
            "mask": torch.uint8,
            "entity_presence": torch.int8,
            "entity_position_candidates": torch.int64,
            "augmentation_draws": torch.float32,
            "targets": torch.int8,
        }

    def test_one_study_is_the_row_of_its_batch(self, store: Path) -> None:
        dataset = make(store)
        assert_same({key: [value] if isinstance(value, str) else value[None] for key, value in dataset[5].items()},
                    dataset.__getitems__([5]))  # fmt: skip

    def test_writing_into_a_batch_leaves_the_store_alone(self, store: Path) -> None:
        dataset = make(store)
        before = dataset.__getitems__([0])["image"].clone()
        dataset.__getitems__([0])["image"].zero_()
        assert torch.equal(dataset.__getitems__([0])["image"], before)

    def test_unknown_and_uncertain_labels_are_minus_one(self, store: Path) -> None:
        targets = make(store, labels=["Edema"]).__getitems__([0, 1, 2, 3])["targets"]
        assert targets[:, 0].tolist() == [1, 0, -1, -1]

    def test_entities_and_positions_come_in_the_order_asked_for(self, store: Path) -> None:
        dataset = make(store, entities=["edema", "nodule"], positions=["base", "left", "right"], candidates=3)
        batch = dataset.__getitems__([0, 3])
        assert batch["entity_presence"].tolist() == [[0, 1], [2, 1]]
        assert batch["entity_position_candidates"][:, 1, 0].tolist() == [1, 0]

    def test_excluded_entities_carry_no_loss(self, store: Path) -> None:
        batch = make(store, excluded_entities=["nodule"]).__getitems__([0, 1])
        assert batch["entity_presence"].tolist() == [[1, -1, 0], [-1, -1, 2]]


class TestRandomness:
    def test_a_study_draws_the_same_in_any_batch(self, store: Path) -> None:
        dataset = make(store)
        together = dataset.__getitems__(range(COUNT))
        for rows in ([7], [39, 7, 0], list(range(COUNT - 1, -1, -1))):
            assert_same(dataset.__getitems__(rows), together, rows)

    def test_a_study_draws_the_same_in_any_split(self, store: Path) -> None:
        whole, test = make(store), make(store, splits=["test"])
        assert_same(test.__getitems__([0, 5]), whole.__getitems__(range(COUNT)), [32, 37])

    def test_draws_change_with_the_epoch_and_come_back(self, store: Path) -> None:
        dataset = make(store)
        first = dataset.__getitems__(range(COUNT))
        dataset.set_epoch(1)
        second = dataset.__getitems__(range(COUNT))
        for key in ("augmentation_draws", "entity_position_candidates"):
            assert not torch.equal(first[key], second[key])
        assert torch.equal(first["entity_presence"], second["entity_presence"])
        dataset.set_epoch(0)
        assert_same(dataset.__getitems__(range(COUNT)), first)

    def test_another_seed_draws_otherwise(self, store: Path) -> None:
        first, second = (make(store, seed=seed).__getitems__([0])["augmentation_draws"] for seed in (0, 1))
        assert not torch.equal(first, second)

    def test_workers_give_the_batches_of_one_process_in_every_epoch(self, store: Path) -> None:
        loaders = [
            study_loader(make(store, seed=3), batch_size=8, shuffle=True, num_workers=workers) for workers in (0, 2)
        ]
        for epoch in range(2):
            for loader in loaders:
                loader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
            for one, other in zip(*loaders, strict=True):
                assert_same(one, other)

    def test_ranks_share_the_studies_of_one_process_and_their_draws(
        self, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset = make(store, seed=3)
        together = dataset.__getitems__(range(COUNT))

        def studies(rank: int, ranks: int) -> list[dict[str, Any]]:
            monkeypatch.setattr("torch.distributed.is_initialized", lambda: ranks > 1)
            monkeypatch.setattr("torch.distributed.get_world_size", lambda: ranks)
            monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)
            return list(study_loader(dataset, batch_size=5, shuffle=True))

        seen: list[int] = []
        for rank in range(4):
            for batch in studies(rank, 4):
                rows = batch["row"].tolist()
                assert_same(batch, together, rows)
                seen += rows
        assert sorted(seen) == list(range(COUNT))
        alone = [row for batch in studies(0, 1) for row in batch["row"].tolist()]
        # Rank r takes every fourth study of the same order.
        assert [seen[rank * 10 + step] for step in range(10) for rank in range(4)] == alone


class TestChoice:
    def test_a_split_has_its_studies_only(self, store: Path) -> None:
        assert make(store, splits=["test"]).study_ids == [f"study-{number}" for number in range(32, COUNT)]
        assert len(make(store, splits="train")) == 32
        assert len(make(store, splits=["train", "test"])) == len(make(store)) == COUNT

    def test_an_unknown_split_is_refused_with_those_there_are(self, store: Path) -> None:
        with pytest.raises(ValueError, match="no study in split tset; the store has the splits test, train"):
            make(store, splits=["tset"])

    def test_a_recipe_may_have_positions_that_the_filter_does_not_know(self, store: Path) -> None:
        more = ["chin", *Spelled.positions]
        batch = make(store, positions=more).__getitems__([33, 4])
        assert batch["entity_position_candidates"][:, 1, 0].tolist() == [4, 5]

    def test_no_candidates_are_drawn_of_a_stores_own_positions_that_are_too_few(self, store: Path) -> None:
        """A recipe that reads no positions takes any filter; one that names its positions needs enough of them."""
        assert "entity_position_candidates" not in make(store, candidates=8).__getitems__([0, 1])
        with pytest.raises(ValueError, match="8 position candidates requested, and there are 6 positions"):
            make(store, candidates=8, positions=Spelled.positions).__getitems__([0, 1])

    def test_a_list_of_studies_limits_the_splits(self, store: Path) -> None:
        dataset = make(store, splits=["train"], study_ids=["study-9", "study-3"])
        assert dataset.study_ids == ["study-3", "study-9"]
        assert dataset.__getitems__([1])["row"].tolist() == [9]
        assert dataset.__getitems__([0])["entity_position_candidates"][0, 1, 0] == 3

    def test_studies_of_another_list_are_counted_and_not_named(self, store: Path) -> None:
        with pytest.raises(ValueError, match="1 of 2 listed studies are not in these splits") as caught:
            make(store, splits=["train"], study_ids=["study-3", "study-39"])
        assert "study-39" not in str(caught.value)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"entities": ["nodule", "hernia"]}, "was prepared without the entities hernia"),
            ({"positions": ["left", "chin"]}, "was prepared without the positions chin"),
            ({"labels": ["Oedema"]}, "has no label Oedema; it has Edema"),
            ({"excluded_entities": ["hernia"]}, "excluded entities hernia are not among the 3 trained ones"),
        ],
    )
    def test_what_the_store_does_not_know_is_refused(self, store: Path, options: Any, message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            make(store, **options)

    def test_masks_are_refused_where_the_store_has_none(self, tmp_path: Path) -> None:
        Prepare(Studies(), tmp_path / "store", image_size=SIDE, report_filter=Spelled(), workers=0).run()
        with pytest.raises(StoreError, match="has no masks"):
            make(tmp_path / "store", masks=True)

    def test_a_folder_that_is_no_store_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="not a store"):
            make(tmp_path)

    def test_dropping_the_only_batch_is_refused(self, store: Path) -> None:
        with pytest.raises(ValueError, match="8 studies are fewer than one batch of 16"):
            study_loader(make(store, splits=["test"]), batch_size=16, drop_last=True)


class TestLoader:
    def test_an_epoch_visits_every_study_once(self, store: Path) -> None:
        loader = study_loader(make(store), batch_size=7, shuffle=True)
        rows = [row for batch in loader for row in batch["row"].tolist()]
        assert sorted(rows) == list(range(COUNT))
        assert rows != list(range(COUNT))

    def test_the_order_follows_from_seed_and_epoch(self, store: Path) -> None:
        def order(seed: int, epoch: int) -> list[int]:
            loader = study_loader(make(store), batch_size=8, shuffle=True, seed=seed)
            loader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
            return [row for batch in loader for row in batch["row"].tolist()]

        assert order(0, 1) == order(0, 1)
        assert order(0, 1) != order(0, 2)
        assert order(0, 1) != order(1, 1)

    def test_the_sampler_tells_the_data_set_its_epoch(self, store: Path) -> None:
        dataset = make(store)
        loader = study_loader(dataset, batch_size=8)
        before = next(iter(loader))["augmentation_draws"]
        loader.sampler.set_epoch(5)  # type: ignore[union-attr]
        after = next(iter(loader))["augmentation_draws"]
        assert not torch.equal(before, after)

    def test_what_a_worker_process_is_sent_holds_no_pixels(self, store: Path) -> None:
        dataset = make(store, masks=True)
        before = dataset.__getitems__([0, 1])  # opens the memory maps
        sent = pickle.dumps(dataset)
        assert PackedStore.open(store).images[0].tobytes() not in sent
        assert PackedStore.open(store).masks[9].tobytes() not in sent
        assert_same(pickle.loads(sent).__getitems__([0, 1]), before)
