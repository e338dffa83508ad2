"""Part of the labels: which studies a seed chooses, and the list that says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.data.batches.label_fraction import choose_labelled, read_ids, write_ids
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.preparing.prepare import Prepare


def studies(count: int) -> list[Study]:
    """Every tenth study says nothing of the label, every fifth is for testing."""
    return [
        Study(
            f"study-{n}",
            f"patient-{n}",
            None,
            split="test" if n % 5 == 0 else "train",
            labels={"other": 1} if n % 10 == 1 else {"edema": n % 2, "other": -1},
        )
        for n in range(count)
    ]


class Listed:
    """Studies of a list as a data source."""

    def __init__(self, items: list[Study]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Study]:
        return iter(self.items)


def prepared(folder: Path, items: list[Study]) -> PackedStore:
    Prepare(Listed(items), folder, image_size=None, require_report=False, workers=0, progress=False).run()
    return PackedStore.open(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PackedStore:
    return prepared(tmp_path_factory.mktemp("fraction") / "store", studies(300))


def test_the_fraction_is_of_the_studies_whose_label_is_known(store: PackedStore) -> None:
    everything = choose_labelled(store, "train", ["edema"])
    assert len(everything) == 210  # 240 for training, 30 of them without the label
    assert len(choose_labelled(store, "train", ["edema"], fraction=0.1)) == 21
    assert len(choose_labelled(store, "train", fraction=1.0)) == 240


def test_a_seed_chooses_the_same_studies_whatever_their_order(store: PackedStore, tmp_path: Path) -> None:
    turned = prepared(tmp_path / "turned", studies(300)[::-1])
    assert choose_labelled(store, "train", ["edema"], 0.1, seed=1) == choose_labelled(
        turned, "train", ["edema"], 0.1, 1
    )


def test_seeds_differ(store: PackedStore) -> None:
    chosen = [set(choose_labelled(store, "train", ["edema"], 0.1, seed=seed)) for seed in (0, 1, 2)]
    assert len(chosen[0] & chosen[1]) < 10
    assert len(chosen[1] & chosen[2]) < 10


def test_published_choices_do_not_change(store: PackedStore) -> None:
    assert choose_labelled(store, "train", ["edema"], 0.01, seed=0) == ["study-259", "study-68"]


def test_a_smaller_fraction_lies_within_a_larger_one(store: PackedStore) -> None:
    small, large = (set(choose_labelled(store, "train", ["edema"], share, seed=2)) for share in (0.05, 0.5))
    assert small < large


def test_at_least_one_study_is_chosen(store: PackedStore) -> None:
    assert len(choose_labelled(store, "train", ["edema"], 0.0001)) == 1


def test_a_list_of_ids_is_written_and_read_back(store: PackedStore, tmp_path: Path) -> None:
    chosen = choose_labelled(store, "train", ["edema"], 0.1)
    path = write_ids(tmp_path / "lists" / "ids.txt", chosen)
    assert read_ids(path) == chosen
    assert choose_labelled(store, "train", ["edema"], fraction=1.0, id_list=path) == chosen
    dataset = StudyDataset(store, ["train"], entities=[], positions=[], labels=["edema"], study_ids=chosen)
    assert sorted(dataset.study_ids) == chosen


def test_an_id_of_another_split_is_refused_without_being_named(store: PackedStore) -> None:
    with pytest.raises(ValueError, match="1 of 2 listed studies are not in these splits") as caught:
        StudyDataset(store, ["train"], study_ids=["study-2", "study-5"])
    assert "study-5" not in str(caught.value)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_a_share_outside_its_range_is_refused(store: PackedStore, fraction: float) -> None:
    with pytest.raises(ValueError, match="label_fraction"):
        choose_labelled(store, "train", ["edema"], fraction)


def test_unknown_labels_and_splits_are_named(store: PackedStore) -> None:
    with pytest.raises(ValueError, match="no label oedema; it has edema, other"):
        choose_labelled(store, "train", ["oedema"])
    with pytest.raises(ValueError, match=r"split 'trian'.*test 60, train 240"):
        choose_labelled(store, "trian", ["edema"])


def test_lists_that_name_nothing_are_refused(store: PackedStore, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(ValueError, match="contains no id"):
        read_ids(empty)
    empty.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        read_ids(empty)
    with pytest.raises(FileNotFoundError, match="no list of ids"):
        read_ids(tmp_path / "absent.txt")
