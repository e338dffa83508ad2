"""What the heads of questions, classes and retrieval read of ARL is the published pair feature."""

from __future__ import annotations

import json
from pathlib import Path

import arl
import comparison
import pytest
import torch
from safetensors import safe_open
from seeded_weights import state_dict
from torch import Tensor

from medvlp_toolkit.data.batches.answers import AnswerVocabulary
from medvlp_toolkit.downstream.pair_classifier import PairClassifier
from medvlp_toolkit.downstream.pair_encoder import PairEncoder
from medvlp_toolkit.downstream.pair_scorer import PairScorer

GOLDEN = Path(__file__).parents[1] / "golden" / "arl"


@pytest.fixture(scope="module")
def reference() -> tuple[PairEncoder, torch.nn.Linear, dict[str, Tensor], dict[str, Tensor]]:
    """The model with the reference weights, its matching head, the recorded batch and outputs."""
    config = json.loads((GOLDEN / "config.json").read_text())
    with safe_open(GOLDEN / "golden.safetensors", "pt") as golden:
        seed = int(golden.metadata()["seed"])
        recorded = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118 - no mapping
    model = arl.imported(state_dict(GOLDEN / "keys.json", seed), config, share=True).eval()
    head = model.losses["matching"].head
    batch = arl.the_batch(config, recorded, seed)
    return PairEncoder(model.model).eval(), head, batch, recorded


@torch.no_grad()
def test_pair_feature_is_the_recorded_one(reference: tuple[PairEncoder, torch.nn.Linear, dict, dict]) -> None:
    pairs, _, batch, recorded = reference
    feature = pairs(batch).pooled
    assert feature.shape == (2, pairs.width)
    assert arl.distance(feature, recorded["eval.cls"]) <= comparison.OUTPUT_TOLERANCE
    bare = {name: value for name, value in batch.items() if not name.startswith("linked")}
    assert arl.distance(pairs(bare).pooled, recorded["eval.cls_without_entities"]) <= comparison.OUTPUT_TOLERANCE


@torch.no_grad()
def test_shared_images_do_not_change_it(reference: tuple[PairEncoder, torch.nn.Linear, dict, dict]) -> None:
    pairs, _, batch, recorded = reference
    shared = {**batch, "image": batch["image"].flip(0), "image_index": torch.tensor([1, 0])}
    assert arl.distance(pairs(shared).pooled, recorded["eval.cls"]) <= comparison.OUTPUT_TOLERANCE


@torch.no_grad()
def test_retrieval_scores_by_the_recorded_matching_logit(
    reference: tuple[PairEncoder, torch.nn.Linear, dict, dict],
) -> None:
    pairs, head, batch, recorded = reference
    tokenizer = _any_tokenizer()
    scores = PairScorer(pairs, head, tokenizer).eval()(batch)
    assert arl.distance(scores, recorded["eval.itm_logits"][:, 1]) <= comparison.OUTPUT_TOLERANCE


def test_answer_head_is_as_wide_as_the_pair_feature(
    reference: tuple[PairEncoder, torch.nn.Linear, dict, dict],
) -> None:
    pairs, _, batch, recorded = reference
    network = PairClassifier(pairs, AnswerVocabulary(("no", "yes")), _any_tokenizer())
    width = recorded["eval.cls"].shape[1]
    assert network.head.dense.weight.shape == (width, width)
    assert network.head.output.weight.shape == (2, width)
    assert network(batch).shape == (2, 2)


def _any_tokenizer() -> object:
    from medvlp_encoders.vocabulary import wordpiece_tokenizer

    return wordpiece_tokenizer(["is there an effusion"])
