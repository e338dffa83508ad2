"""Entity queries attend to the image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import medvlp_toolkit as mv
from medvlp_toolkit.interfaces import FusionModule, FusionOutput

SMALL = {"width": 16, "layers": 3, "heads": 2, "feed_forward": 24}


def decoder(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    module: torch.nn.Module = mv.fusion_modules.entity_query_decoder(**{**SMALL, **options})
    return module.eval()


@pytest.fixture
def image() -> Tensor:
    return torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def queries() -> Tensor:
    return torch.randn(5, 16, generator=torch.Generator().manual_seed(2))


def expanded(queries: Tensor, size: int) -> Tensor:
    return queries.unsqueeze(0).expand(size, -1, -1)


def test_is_a_fusion_module_of_the_published_size() -> None:
    published = mv.fusion_modules.entity_query_decoder()
    assert isinstance(published, FusionModule)
    # Per layer 2 attentions of 4·256² + 4·256, a feed-forward of 2·256·1024 + 1280, 3 norms of 512; and a last norm.
    assert sum(p.numel() for p in published.parameters()) == 4 * (2 * 263_168 + 525_568 + 1_536) + 512


def test_image_tokens_pass_unchanged_and_queries_keep_their_shape(image: Tensor, queries: Tensor) -> None:
    fused = decoder()(image, expanded(queries, 3))
    assert isinstance(fused, FusionOutput)
    assert fused.image is image
    assert fused.text.shape == (3, 5, 16)
    assert fused.pooled is None
    assert fused.attention is None


def test_attention_of_each_layer_sums_to_one_over_the_image(image: Tensor, queries: Tensor) -> None:
    module = decoder()
    fused = module(image, expanded(queries, 3), need_attention=True)
    assert fused.attention.shape == (3, 3, 5, 9)
    assert torch.allclose(fused.attention.sum(-1), torch.ones(3, 3, 5), atol=1e-5)
    assert torch.allclose(fused.text, module(image, expanded(queries, 3)).text, atol=1e-5)


def test_expanded_queries_give_what_copied_queries_give(image: Tensor, queries: Tensor) -> None:
    module = decoder()
    view = expanded(queries, 3)
    assert torch.allclose(module(image, view).text, module(image, view.clone()).text, atol=1e-6)


def test_dropout_differs_between_samples_in_training_even_for_expanded_queries(queries: Tensor) -> None:
    module = decoder(dropout=0.5).train()
    same_image = torch.zeros(2, 9, 16)
    fused = module(same_image, expanded(queries, 2)).text
    assert not torch.equal(fused[0], fused[1])


def test_order_of_image_tokens_does_not_matter(image: Tensor, queries: Tensor) -> None:
    module = decoder()
    turned = module(image.flip(1), expanded(queries, 3)).text
    assert torch.allclose(turned, module(image, expanded(queries, 3)).text, atol=1e-5)


def test_queries_see_each_other(image: Tensor, queries: Tensor) -> None:
    module = decoder()
    alone = module(image, expanded(queries[:1], 3)).text
    assert not torch.allclose(alone, module(image, expanded(queries, 3)).text[:, :1], atol=1e-3)


def test_stop_after_runs_the_first_layers_only(image: Tensor, queries: Tensor) -> None:
    module, shorter = decoder(), decoder(layers=2)
    shorter.load_state_dict(module.state_dict(), strict=False)
    stopped = module(image, expanded(queries, 3), stop_after=2, need_attention=True)
    assert stopped.attention.shape[1] == 2
    assert torch.allclose(stopped.text, shorter(image, expanded(queries, 3)).text, atol=1e-6)


def test_output_dropout_acts_on_the_queries_that_leave(image: Tensor, queries: Tensor) -> None:
    module = decoder(dropout=0.0, output_dropout=0.9).train()
    assert (module(image, expanded(queries, 3)).text == 0).float().mean() > 0.7


def test_weights_start_normal_with_the_published_deviation() -> None:
    module = mv.fusion_modules.entity_query_decoder()
    for name, weight in module.named_parameters():
        if "attention" in name and "in_proj_weight" in name:
            assert weight.std().item() == pytest.approx(0.02, rel=0.05), name


def test_scripted_decoder_gives_the_same_features(image: Tensor, queries: Tensor, tmp_path: Path) -> None:
    module = decoder()
    torch.jit.script(module).save(str(tmp_path / "decoder.ts"))
    loaded = torch.jit.load(str(tmp_path / "decoder.ts"))
    view = expanded(queries, 3)
    for need_attention in (False, True):
        ours, scripted = (m(image, view, need_attention=need_attention) for m in (module, loaded))
        assert torch.allclose(ours.text, scripted.text, atol=1e-6)
        assert (scripted.attention is None) != need_attention


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layers": 0}, "at least one layer, got layers=0"), ({"width": 10, "heads": 4}, "not a multiple of its 4 heads")],
)
def test_wrong_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mv.fusion_modules.entity_query_decoder(**options)
