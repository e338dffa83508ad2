"""ARL's four losses, and how they share what they read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import medvlp_toolkit as mv
from medvlp_arl.masked_image import sine_cosine_table
from medvlp_toolkit.model.encodings import Encodings
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.testing.suites.stand_in import Sizes, stand_in_batch, stand_in_model


def gradients(model: PretrainingModel, batch: dict[str, Tensor]) -> tuple[dict[str, float], dict[str, Tensor]]:
    losses = model.train()(batch)
    losses["loss"].backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: value.item() for name, value in losses.items()}, found


def test_sharing_changes_neither_loss_nor_gradient(small_arl: Any, small_batch: Any) -> None:
    shared, repeated = small_arl(True), small_arl(False)
    repeated.load_state_dict(shared.state_dict())
    (losses, ours), (expected, theirs) = gradients(shared, small_batch()), gradients(repeated, small_batch())
    assert losses.keys() == {"loss", "masked_language", "masked_image", "matching", "alignment"}
    for name in losses:
        assert abs(losses[name] - expected[name]) <= 1e-5, name
    assert ours.keys() == theirs.keys() == dict(shared.named_parameters()).keys()
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6), name


def count_passes(model: PretrainingModel, batch: dict[str, Tensor]) -> Counter[str]:
    passes: Counter[str] = Counter()
    parts: dict[str, nn.Module] = dict(model.model.named_children())
    for name in ("image_encoder", "text_encoder", "knowledge_encoder", "fusion"):
        parts[name].register_forward_hook(lambda *_, name=name: passes.update([name]))
    model.model.image_encoder.register_forward_hook(  # type: ignore[union-attr]
        lambda _, given, __: passes.update({"images": len(given[0])})
    )
    model(batch)
    return passes


def test_each_tower_and_the_graph_run_once_for_all_losses(small_arl: Any, small_batch: Any) -> None:
    batch = small_batch()
    passes = count_passes(small_arl(), {**batch, "negative_image": batch["negative_image"][~batch["is_pair"]]})
    # whole, masked and negative image; report and masked report; a fusion each for language, image and matching
    assert passes == {
        "image_encoder": 3,
        "images": 4 + 4 + 2,
        "text_encoder": 2,
        "knowledge_encoder": 1,
        "fusion": 3,
    }


def test_without_sharing_the_published_passes_are_repeated(small_arl: Any, small_batch: Any) -> None:
    passes = count_passes(small_arl(share_encodings=False), small_batch())
    assert passes == {
        "image_encoder": 4,
        "images": 16,
        "text_encoder": 4,
        "knowledge_encoder": 5,
        "fusion": 3,
    }


def test_negatives_may_be_given_for_all_rows_or_for_those_that_are_no_pairs(small_arl: Any, small_batch: Any) -> None:
    batch = small_batch()
    compact = {**batch, "negative_image": batch["negative_image"][~batch["is_pair"]]}
    for share in (True, False):
        model = small_arl(share).eval()
        assert torch.allclose(model(batch)["matching"], model(compact)["matching"], atol=1e-6)


def test_matching_reads_the_own_image_of_pairs_and_the_negative_of_others(small_arl: Any, small_batch: Any) -> None:
    model, batch = small_arl().eval(), small_batch()
    tokens = Encodings(model.model, batch).image_tokens("matching")
    own = model.model.image_tokens(batch["image"])
    other = model.model.image_tokens(batch["negative_image"])
    for row, pair in enumerate(batch["is_pair"]):
        assert torch.allclose(tokens[row], own[row] if pair else other[row], atol=1e-6)


def test_language_loss_counts_labels_and_ignores_padding(small_arl: Any, small_batch: Any) -> None:
    model, batch = small_arl().eval(), small_batch()
    loss = model.losses["masked_language"]
    logits = loss.logits(Encodings(model.model, batch))
    total, count = loss(Encodings(model.model, batch))
    assert count.item() == 4 * 3
    by_hand = -logits.log_softmax(-1)[:, :3].gather(2, batch["masked_labels"][:, :3, None]).sum()
    assert torch.allclose(total, by_hand, rtol=1e-5)


def test_language_loss_reads_the_entities_that_touch_no_mask(small_arl: Any, small_batch: Any) -> None:
    model, batch = small_arl().eval(), small_batch()
    with_all = {**batch, "masked_linked_entities": batch["linked_entities"]}
    with_all["masked_linked_entity_alignment"] = batch["linked_entity_alignment"]
    without_report = {**batch, "linked_entities": torch.full_like(batch["linked_entities"], -100)}
    expected = model(batch)["masked_language"]
    assert not torch.allclose(model(with_all)["masked_language"], expected, atol=1e-7)
    assert torch.equal(model(without_report)["masked_language"], expected)


def test_image_loss_is_the_error_of_the_masked_patches_alone(small_arl: Any, small_batch: Any) -> None:
    model, batch = small_arl().eval(), small_batch()
    loss = model.losses["masked_image"]
    encodings = Encodings(model.model, batch, mask_ratio=0.6)
    predicted, masked = loss.predictions(encodings)
    assert masked.sum(dim=1).tolist() == [6, 6, 6, 6]  # 3 of 9 patches are seen
    seen = batch["patch_noise"].argsort(dim=1)[:, :3]
    assert not masked.gather(1, seen).any()
    total, count = loss(encodings)
    errors = ((predicted - loss.targets(batch["image"])) ** 2).mean(-1)
    assert torch.allclose(total / count, errors[masked].mean(), rtol=1e-5)


def test_image_targets_are_normalised_patches_row_by_row_with_channels_last() -> None:
    loss = mv.pretext_losses.masked_image_modelling(
        8, (2, 3), (8, 12), decoder_width=8, decoder_layers=1, decoder_heads=2
    )
    image = torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    targets = loss.targets(image)
    assert targets.shape == (1, 6, 48)
    patch = image[0, :, 4:8, 8:12]  # row 1, column 2
    pixels = patch.permute(1, 2, 0).flatten()
    assert torch.allclose(targets[0, 5], (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt(), atol=1e-5)
    grey = loss.targets(image[:, :1])
    assert torch.equal(grey[..., 0::3], grey[..., 1::3])


def test_place_encodings_are_sines_and_cosines_of_column_and_row() -> None:
    table = sine_cosine_table((2, 3), 8)
    assert table.shape == (6, 8)
    expected = [
        f(place * rate) for place in (2, 1) for f in (math.sin, math.cos) for rate in (1.0, 0.01)
    ]  # column 2, row 1
    assert torch.allclose(table[5], torch.tensor(expected), atol=1e-6)
    with pytest.raises(ValueError, match="multiple of 4"):
        sine_cosine_table((2, 2), 6)


def test_noise_for_another_grid_is_refused_in_a_line(small_arl: Any, small_batch: Any) -> None:
    batch = small_batch()
    with pytest.raises(ValueError, match="patch_noise is for 4 patches, and the masked-image loss for a grid of 3 × 3"):
        small_arl()({**batch, "patch_noise": batch["patch_noise"][:, :4]})


def test_alignment_is_the_mean_over_samples_and_entities_of_image_and_text(small_arl: Any, small_batch: Any) -> None:
    model, batch = small_arl().eval(), small_batch()
    logits = model.losses["alignment"].logits(Encodings(model.model, batch))
    by_hand = sum(
        F.binary_cross_entropy_with_logits(logits[side], batch[f"{side}_entities"]) for side in ("image", "text")
    )
    assert torch.allclose(model(batch)["alignment"], torch.as_tensor(by_hand), rtol=1e-5)


def test_alignment_of_the_image_alone_needs_no_report() -> None:
    loss = mv.pretext_losses.knowledge_alignment(16, 8, text=False)
    assert loss.needs == {"image", "image_entities"}
    assert "text_encoder" not in loss.reads


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("key", ["linked_entities", "masked_linked_entities"])
def test_entity_outside_the_graph_is_named_in_a_line(small_arl: Any, small_batch: Any, key: str, share: bool) -> None:
    batch = small_batch()
    batch[key][1, 1] = 11
    with pytest.raises(
        ValueError, match=rf"{key} names entity 11, and the knowledge graph has entities 0 to 10"
    ) as told:
        small_arl(share)(batch)
    assert "\n" not in str(told.value)


def test_padding_of_the_entities_is_zero(small_arl: Any, small_batch: Any) -> None:
    model, batch = small_arl().eval(), small_batch()
    encodings = Encodings(model.model, batch)
    embeddings = encodings.linked_entity_embeddings()
    assert torch.equal(embeddings[:, 2], torch.zeros(4, 8))
    assert torch.equal(embeddings[0, 0], encodings.entity_embeddings()[batch["linked_entities"][0, 0]])


def test_batch_without_any_entity_still_reaches_every_parameter(small_arl: Any, small_batch: Any) -> None:
    batch = small_batch()
    for prefix in ("", "masked_"):
        batch[f"{prefix}linked_entities"].fill_(-100)
        batch[f"{prefix}linked_entity_alignment"].zero_()
    model = small_arl()
    model(batch)["loss"].backward()
    cut_off = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not cut_off, "distributed training would wait for these"


def test_losses_of_a_model_without_knowledge_need_no_entities() -> None:
    for loss in (
        mv.pretext_losses.masked_language_modelling(16, 40, knowledge=False),
        mv.pretext_losses.masked_image_modelling(16, (3, 3), 12, knowledge=False),
        mv.pretext_losses.image_text_matching(32, knowledge=False),
    ):
        assert not [key for key in loss.needs if "entit" in key]
        assert "knowledge_encoder" not in loss.reads


def test_the_step_is_one_compiled_graph(small_arl: Any, small_batch: Any) -> None:
    """Asking parts for what they offer breaks no graph."""
    explained = torch._dynamo.explain(small_arl())(small_batch())
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


def test_the_matching_head_is_as_wide_as_the_fusion_modules_pooled_feature() -> None:
    fusion = mv.fusion_modules.knowledge_co_attention(16, 1, 2, 24, knowledge=False)
    assert mv.pretext_losses.image_text_matching(fusion=fusion).head.in_features == 32
    assert not [n for n, _ in mv.pretext_losses.image_text_matching(fusion=fusion).named_children() if n != "head"]


class Whole(nn.Module):
    supports_masking = False


SMALL_DECODER = {"decoder_width": 8, "decoder_layers": 1, "decoder_heads": 2}


@pytest.mark.parametrize(
    ("make", "part", "clause"),
    [
        (
            lambda: mv.pretext_losses.masked_image_modelling(16, (3, 3), 12, **SMALL_DECODER),
            {"image_encoder": Whole},
            "leaves patches out, and Whole sees whole images (supports_masking is False)",
        ),
        (
            lambda: mv.pretext_losses.masked_image_modelling(16, (3, 3), (12, 14), **SMALL_DECODER),
            {},
            "the grid 3 × 3 of ClipVisionTransformer does not divide 12 × 14 pixels",
        ),
        (
            lambda: mv.pretext_losses.image_text_matching(32),
            {"fusion": nn.Identity},
            "Identity gives none (it has no pooled_width)",
        ),
        (
            lambda: mv.pretext_losses.image_text_matching(20),
            {},
            "of width 20, and that of KnowledgeCoAttention has 32",
        ),
    ],
    ids=["whole-images", "grid", "no-pooled-feature", "other-width"],
)
def test_what_a_loss_cannot_do_without_is_named(
    make: Callable[[], Any], part: dict[str, type[nn.Module]], clause: str, small_arl: Any
) -> None:
    loss, model = make(), small_arl().model
    for name, replacement in part.items():
        setattr(model, name, replacement())
    assert clause in "; ".join(loss.requires(model))
    with pytest.raises(ValueError, match=rf"the loss 'mine' \({type(loss).__name__}\)"):
        PretrainingModel(model, {"mine": loss})


def test_an_encoder_without_a_class_token_is_masked_too() -> None:
    """Tokens before the patches are counted by the encoder, not by the loss."""
    sizes = Sizes()
    loss = mv.pretext_losses.masked_image_modelling(sizes.width, (4, 4), sizes.image, 1, **SMALL_DECODER)
    predicted, masked = loss.predictions(Encodings(stand_in_model(sizes), stand_in_batch(loss.needs, sizes)))
    assert predicted.shape == (sizes.batch, 16, 16)
    assert masked.sum(dim=1).tolist() == [12] * sizes.batch


def test_images_of_other_channels_or_size_than_the_loss_was_built_for_are_refused_in_a_line() -> None:
    loss = mv.pretext_losses.masked_image_modelling(16, (3, 3), 12, **SMALL_DECODER)
    for shape in ((2, 2, 12, 12), (2, 3, 12, 24)):
        with pytest.raises(
            ValueError, match=r"rebuilds images of 3 channels and 12 × 12 pixels, and those of the batch"
        ):
            loss.targets(torch.zeros(shape))


def test_step_under_bfloat16_gives_about_the_same_losses(small_arl: Any, small_batch: Any) -> None:
    model, batch = small_arl().eval(), small_batch()
    expected = model(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(batch)
    for name, value in losses.items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, expected[name], rtol=0.05, atol=0.05), name
