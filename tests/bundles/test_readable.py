"""What a person reads of a training: a recipe's page, and what the bundles for pairs have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medvlp_toolkit.shipped_bundles import copy_bundle
from medvlp_toolkit.verification.bundle import verify_bundle
from tests.bundles.running import BUNDLES

PAIR_BUNDLES = ("vqa", "image_text_classification", "retrieval")
#: Ids by which the trainings on pairs of image and text differ: their data, task, head and loss. The rest is the same.
OF_THE_TASK = {
    "imports", "bundle_root", "dataset_dir", "output_dir", "epochs", "batch_size", "head_factor", "text_length",
    "train_questions", "validation_questions", "train_pairs", "validation_pairs", "training_texts", "vocabulary",
    "answer_splits", "categories", "min_answer_count", "label", "fewest_words", "negatives", "images", "by_image",
    "texts_per_image", "head_dropout", "matching_head", "choice", "network_def", "network", "loss",
}  # fmt: skip
OF_THE_TASK_WITHIN = {
    "optimizer": {"network"},
    "train": {"dataset", "step"},
    "validate": {"dataset", "loader", "key_metric"},
    "training": {"weights"},
}


@pytest.mark.parametrize("recipe", ["medklip", "arl", "contrastive", "kad"])
def test_a_recipe_is_read_in_one_go(recipe: str) -> None:
    lines = (BUNDLES / recipe / "configs" / "train.yaml").read_text().splitlines()
    assert len(lines) <= 200
    assert sum("$" in line for line in lines) <= 25
    assert max(map(len, lines)) <= 120


def shared(bundle: str) -> dict[str, Any]:
    """A training of pairs without what is its task's."""
    config = yaml.safe_load((BUNDLES / bundle / "configs" / "train.yaml").read_text())
    kept = {id_: value for id_, value in config.items() if id_ not in OF_THE_TASK}
    for id_, inner in OF_THE_TASK_WITHIN.items():
        kept[id_] = {name: value for name, value in kept[id_].items() if name not in inner}
    return kept


def test_trainings_on_pairs_differ_by_their_task_alone() -> None:
    first, *others = (shared(bundle) for bundle in PAIR_BUNDLES)
    assert len(first) >= 40
    for other in others:
        assert other == first


@pytest.mark.parametrize("name", ["medklip", "arl", "contrastive", "kad", *PAIR_BUNDLES])
def test_a_copy_of_one_bundle_stands_alone_wherever_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy_bundle(name, Path("mine"))
    found = verify_bundle("mine", ["mine/configs/train.yaml"])
    assert [str(problem) for problem in found.problems] == []
