"""Co-attention of image and text, and entities that inform the text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp_arl.fusion import KnowledgeCoAttention
from medvlp_toolkit.interfaces import Knowledge

WIDTH, DEPTH = 16, 3


def fusion(**changes: Any) -> KnowledgeCoAttention:
    torch.manual_seed(0)
    sizes = {"width": WIDTH, "layers": DEPTH, "heads": 2, "feed_forward": 24, "knowledge_width": 8}
    module = KnowledgeCoAttention(**{**sizes, "knowledge_heads": 2, "knowledge_feed_forward": 12, **changes}).eval()
    with torch.no_grad():  # away from the small initial weights, with which layers hardly do anything
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Knowledge]:
    generator = torch.Generator().manual_seed(seed)
    alignment = torch.zeros(2, 3, 5)
    alignment[0, 0, 1:3] = 1
    alignment[0, 1, 2] = 1  # overlaps the first
    alignment[1, 0, 4] = 1
    mask = torch.tensor([[True, True, False], [True, False, False]])
    return (
        torch.randn(2, 7, WIDTH, generator=generator),
        torch.randn(2, 5, WIDTH, generator=generator),
        torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]),
        Knowledge(torch.randn(2, 3, 8, generator=generator), mask, alignment),
    )


@torch.no_grad()
@pytest.mark.parametrize("part", ["text", "image", "pooled"])
@pytest.mark.parametrize("knows", [True, False])
def test_part_computed_alone_is_that_of_the_whole(part: str, knows: bool) -> None:
    module = fusion()
    image, text, mask, knowledge = inputs()
    given = knowledge if knows else None
    whole = module(image, text, mask, given)
    alone = module(image, text, mask, given, compute=part)
    assert torch.allclose(getattr(alone, part), getattr(whole, part), atol=1e-5)


@torch.no_grad()
def test_stopping_gives_what_enters_the_layer_however_much_is_computed() -> None:
    module = fusion()
    given = inputs()
    for depth in range(DEPTH + 1):
        stopped = module(*given, stop_after=depth)
        everything = module(*given, stop_after=depth, compute="published")
        only_image = module(*given, stop_after=depth, compute="image")
        assert torch.allclose(stopped.image, everything.image, atol=1e-6)
        assert torch.allclose(stopped.text, everything.text, atol=1e-6)
        assert torch.allclose(stopped.image, only_image.image, atol=1e-6)
        assert (stopped.pooled is None) == (depth < DEPTH)
    assert torch.equal(module(*given, stop_after=0).image, given[0])
    assert torch.allclose(module(*given, stop_after=DEPTH).text, module(*given).text, atol=1e-6)


def test_stopping_leaves_later_layers_without_work() -> None:
    module = fusion()
    called = []
    for name in ("text_layers", "image_layers"):
        for number, layer in enumerate(getattr(module, name)):
            layer.register_forward_hook(lambda *_, name=name, number=number: called.append((name, number)))
    module(*inputs(), stop_after=2, compute="image")
    assert sorted(called) == [("image_layers", 0), ("image_layers", 1), ("text_layers", 0)]
    called.clear()
    module(*inputs(), compute="text")
    assert sorted(called) == [("image_layers", 0), ("image_layers", 1), *(("text_layers", n) for n in range(3))]
    called.clear()
    module(*inputs(), stop_after=2, compute="published")
    assert len(called) == 2 * DEPTH


@torch.no_grad()
def test_entities_inform_the_tokens_that_they_cover_and_the_image_a_layer_later() -> None:
    module = fusion()
    image, text, mask, knowledge = inputs()
    other = knowledge._replace(embeddings=knowledge.embeddings + 1.0)
    one, two = (module(image, text, mask, given, stop_after=1) for given in (knowledge, other))
    moved = (one.text - two.text).abs().amax(dim=-1) > 1e-6
    assert moved.tolist() == [[False, True, True, False, False], [False, False, False, False, True]]
    assert torch.equal(one.image, two.image)
    later = [module(image, text, mask, given, stop_after=2).image for given in (knowledge, other)]
    assert not torch.allclose(later[0], later[1], atol=1e-5)


@torch.no_grad()
def test_padded_entities_do_nothing() -> None:
    module = fusion()
    image, text, mask, knowledge = inputs()
    changed = knowledge.embeddings.clone()
    changed[0, 2], changed[1, 1:] = 5.0, -5.0
    assert torch.equal(
        module(image, text, mask, knowledge).text,
        module(image, text, mask, knowledge._replace(embeddings=changed)).text,
    )


@torch.no_grad()
def test_report_without_entities_is_one_without_knowledge() -> None:
    module = fusion()
    image, text, mask, knowledge = inputs()
    none = Knowledge(knowledge.embeddings, torch.zeros_like(knowledge.mask), torch.zeros_like(knowledge.alignment))
    assert torch.allclose(module(image, text, mask, none).pooled, module(image, text, mask).pooled, atol=1e-6)


@torch.no_grad()
def test_co_attention_without_knowledge_has_no_parameter_for_it_and_ignores_it() -> None:
    module = fusion(knowledge=False)
    assert not [name for name, _ in module.named_parameters() if "knowledge" in name or "inject" in name]
    assert torch.equal(module(*inputs()).text, module(*inputs()[:3]).text)


@torch.no_grad()
def test_attention_maps_do_not_change_the_numbers() -> None:
    module = fusion()
    fused = module(*inputs(), need_attention=True)
    assert fused.attention.shape == (2, DEPTH, 5, 7)
    assert torch.allclose(fused.text, module(*inputs()).text, atol=1e-5)


def test_last_layer_has_nothing_to_hand_on_of_the_entities() -> None:
    module = fusion()
    assert module.knowledge_layers[-1].feed_forward is None
    assert all(layer.feed_forward is not None for layer in module.knowledge_layers[:-1])


@pytest.mark.parametrize(
    ("changes", "message"), [({"layers": 0}, "at least one layer"), ({"heads": 3}, "does not divide into 3 heads")]
)
def test_impossible_sizes_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fusion(**changes)
