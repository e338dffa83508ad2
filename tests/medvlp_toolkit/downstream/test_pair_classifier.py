"""Answers from the pair feature of any model: the head as published, shared images, the loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import medvlp_toolkit as mv
from medvlp_toolkit.data.batches.answers import AnswerVocabulary
from medvlp_toolkit.downstream.optimisation import finetuning_groups
from medvlp_toolkit.downstream.pair_classifier import AnswerHead, AnswerLoss, PairClassifier, load_answerer
from medvlp_toolkit.downstream.pair_encoder import PairEncoder
from medvlp_toolkit.downstream.tokenizer_state import checkpoint_tokenizer
from medvlp_toolkit.model.vision_language import VisionLanguageModel
from tests.medvlp_toolkit.downstream.small_pairs import TEXTS, one_pair, pair_batch, small_model, small_pairs

VOCABULARY = AnswerVocabulary(("left", "no", "yes"))


def classifier() -> PairClassifier:
    return PairClassifier(small_pairs(), VOCABULARY)


def test_head_has_the_published_shapes_and_initial_values() -> None:
    torch.manual_seed(0)
    head = AnswerHead(1536, AnswerVocabulary(tuple(f"answer {n}" for n in range(498))))
    shapes = {name: tuple(value.shape) for name, value in head.named_parameters()}
    assert shapes == {
        "dense.weight": (1536, 1536),
        "dense.bias": (1536,),
        "norm.weight": (1536,),
        "norm.bias": (1536,),
        "output.weight": (498, 1536),
        "output.bias": (498,),
    }
    for layer in (head.dense, head.output):
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.01)
        assert float(layer.weight.detach().mean()) == pytest.approx(0.0, abs=1e-4)
        assert not layer.bias.any()
    assert head.norm.eps == 1e-5
    features = torch.randn(2, 1536)
    expected = head.output(F.gelu(head.norm(head.dense(features))))
    assert torch.equal(head.eval()(features), expected)


def test_shared_images_give_the_answers_of_pairs_alone() -> None:
    network = classifier().eval()
    batch = pair_batch(network.pairs)
    together = network(batch)
    alone = torch.cat([network(one_pair(batch, number)) for number in range(len(TEXTS))])
    assert torch.allclose(together, alone, atol=1e-6)


def test_an_image_tower_runs_once_per_image() -> None:
    network = classifier().eval()
    seen: list[int] = []
    network.pairs.model.image_encoder.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    network(pair_batch(network.pairs, images=2))
    assert seen == [2]


def test_a_model_without_pooled_feature_answers_too() -> None:
    parts = small_model()
    fusion = mv.fusion_modules.entity_query_decoder(width=16, layers=1, heads=2, feed_forward=16)
    model = VisionLanguageModel(
        parts.image_encoder,
        fusion,
        parts.image_projection,
        text_projection=parts.text_projection,
        entity_bank=torch.randn(3, 16),
    )
    network = PairClassifier(PairEncoder(model, parts.text_encoder), VOCABULARY).eval()
    batch = pair_batch(network.pairs)
    assert network.pairs.width == 32
    assert network(batch).shape == (len(TEXTS), 3)
    assert "pairs.model.entity_bank" not in network.state_dict()


def test_a_model_that_reads_no_text_is_one_line() -> None:
    parts = small_model()
    model = VisionLanguageModel(parts.image_encoder, parts.fusion, parts.image_projection)
    with pytest.raises(ValueError, match="has no text encoder, so it cannot read a question") as caught:
        PairEncoder(model)
    assert "\n" not in str(caught.value)


def test_attention_of_questions_over_the_image() -> None:
    network = classifier().eval()
    batch = pair_batch(network.pairs)
    logits, fused = network.answer(batch, need_attention=True)
    assert torch.allclose(logits, network(batch), atol=1e-5)
    assert fused.attention is not None
    assert fused.attention.shape == (len(TEXTS), 2, batch["input_ids"].shape[1], 5)


def test_published_loss_is_binary_cross_entropy_times_the_classes() -> None:
    logits, answer = torch.randn(4, 3), torch.tensor([0, 1, 2, -1])
    target = torch.cat([torch.eye(3), torch.zeros(1, 3)])
    expected = F.binary_cross_entropy_with_logits(logits, target) * 3
    assert torch.allclose(AnswerLoss()(logits, answer), expected)


def test_exclusive_loss_leaves_unknown_answers_out() -> None:
    logits = torch.randn(3, 4)
    expected = F.cross_entropy(logits[:2], torch.tensor([1, 3]))
    assert torch.allclose(AnswerLoss("exclusive")(logits, torch.tensor([1, 3, -1])), expected)
    nothing = AnswerLoss("exclusive")(logits.requires_grad_(), torch.tensor([-1, -1, -1]))
    nothing.backward()
    assert float(nothing) == 0.0


def test_learning_reaches_towers_fusion_and_head() -> None:
    network = classifier()
    batch = pair_batch(network.pairs)
    AnswerLoss()(network(batch), batch["answer"]).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_answers_and_tokenizer_travel_in_the_checkpoint(tmp_path: Path) -> None:
    network = classifier()
    torch.save({"model": network.state_dict()}, tmp_path / "best.pt")
    restored = load_answerer(classifier(), tmp_path / "best.pt")
    assert restored.vocabulary == VOCABULARY
    given = network.pairs.tokenizer("Which half is bright?")["input_ids"]
    assert checkpoint_tokenizer(tmp_path / "best.pt").encode("Which half is bright?").ids == given


def test_a_checkpoint_of_another_data_set_is_one_line(tmp_path: Path) -> None:
    torch.save({"model": classifier().state_dict()}, tmp_path / "best.pt")
    other = PairClassifier(small_pairs(), AnswerVocabulary(("axial", "no")))
    with pytest.raises(ValueError, match="answer vocabulary is from another data set") as caught:
        load_answerer(other, tmp_path / "best.pt")
    assert "\n" not in str(caught.value)


def test_six_groups_learn_at_the_published_rates() -> None:
    network = classifier()
    groups = finetuning_groups(network, 5e-6, decayed="published")
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    of = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert set(of) == set(names.values())
    base, fast, head = 5e-6, 2.5e-5, 2.5e-4
    assert of["head.dense.weight"] == (head, 0.01)
    assert of["head.output.bias"] == (head, 0.0)
    assert of["head.norm.weight"] == (head, 0.01)  # its published name does not match the list of norms
    assert of["pairs.model.image_encoder.ln_pre.weight"] == (base, 0.01)  # nor do CLIP's
    assert of["pairs.model.image_projection.type_embedding"] == (base, 0.01)
    assert of["pairs.model.image_projection.linear.weight"] == (fast, 0.01)
    assert of["pairs.model.fusion.text_pooler.weight"] == (fast, 0.01)
    assert of["pairs.model.text_encoder.model.embeddings.LayerNorm.weight"] == (base, 0.0)
    matrices = finetuning_groups(network, 5e-6)
    assert all(p.ndim > 1 for g in matrices if g["weight_decay"] for p in g["params"])
