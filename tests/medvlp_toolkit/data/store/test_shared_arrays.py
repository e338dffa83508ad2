"""Arrays that processes share, and the order of studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler

from medvlp_toolkit.data.batches import dataset as dataset_module
from medvlp_toolkit.data.batches.dataset import StudyDataset, StudySampler
from medvlp_toolkit.data.store.shared_arrays import TextColumn, shared_arrays
from tests.medvlp_toolkit.engines.training import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "store", studies=23)


def test_arrays_are_made_once_and_mapped_by_all(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"values": np.arange(5), "empty": np.zeros((0, 2))}

    for _ in range(2):
        found = shared_arrays(tmp_path / "arrays", {"seed": 1}, make)
        assert isinstance(found["values"], np.memmap)
        assert found["values"].tolist() == [0, 1, 2, 3, 4]
        assert not found["values"].flags.writeable
    assert len(made) == 1
    shared_arrays(tmp_path / "arrays", {"seed": 2}, make)
    assert len(made) == 2


def test_a_folder_that_cannot_be_written_to_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "arrays").write_text("a file where the folder would be")
    assert shared_arrays(tmp_path / "arrays", {}, lambda: {"values": np.arange(3)})["values"].sum() == 3


def test_nothing_is_left_of_arrays_that_could_not_be_made(tmp_path: Path) -> None:
    def fail() -> dict[str, np.ndarray]:
        raise ValueError("no such split")

    with pytest.raises(ValueError, match="no such split"):
        shared_arrays(tmp_path / "arrays", {}, fail)
    assert not list((tmp_path / "arrays").glob("[!.]*"))


def test_texts_come_back_as_they_were() -> None:
    texts = ["a", "Größe", ""]
    column = TextColumn(TextColumn.pack(texts))
    assert list(column) == texts
    assert column[1:] == texts[1:]
    assert len(column) == 3


def test_a_large_stores_batches_are_those_of_a_small_one(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = StudyDataset(store)
    monkeypatch.setattr(dataset_module, "SHARED_FROM", 1)
    for _ in range(2):  # made, then read
        shared = StudyDataset(store)
        assert isinstance(shared._entity_labels.presence, np.memmap)
        one, other = plain.__getitems__(range(23)), shared.__getitems__(range(23))
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
    assert len(list((store / "arrays").glob("[!.]*"))) == 1


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("rank", "ranks"), [(0, 1), (0, 4), (3, 4)])
def test_the_order_of_training_is_torchs(rank: int, ranks: int, drop_last: bool, store: Path) -> None:
    dataset = StudyDataset(store)
    sampler = StudySampler(dataset, shuffle=True, seed=5, drop_last=drop_last)
    torchs = DistributedSampler(dataset, ranks, rank, shuffle=True, seed=5, drop_last=drop_last)
    sampler.num_replicas, sampler.rank = ranks, rank
    sampler.num_samples, sampler.total_size = torchs.num_samples, torchs.total_size
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        torchs.set_epoch(epoch)
        assert list(sampler) == list(torchs)
    sampler.start_at(2)
    assert list(sampler) == list(torchs)[2:]
    assert list(sampler) == list(torchs)  # only the next pass begins there
