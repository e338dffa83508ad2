"""Every registered image encoder can be frozen, adapted by LoRA, and trained with a learning rate for each depth."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import medvlp_toolkit as mv
from medvlp_encoders.adapting import AdaptableEncoder
from medvlp_encoders.layer_decay import depths_of, layer_decayed
from medvlp_medklip.optimisation import parameter_groups
from tests.bundles.tiny_encoders import built, image_encoders

#: Those of this package; a third party's may have none of it.
ENCODERS = [name for name in image_encoders() if issubclass(mv.encoders[name], AdaptableEncoder)]
SIZE = 64


class Network(nn.Module):
    """An encoder with a head, by the names that recipes give them."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"image_encoder": encoder})
        self.head = nn.Linear(encoder.num_features, 2)

    def forward(self, image: Tensor) -> Tensor:
        encoder: Any = self.model["image_encoder"]
        scores: Tensor = self.head(encoder.summary(encoder(image)))
        return scores


def image(seed: int = 0) -> Tensor:
    return torch.randn(4, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def step(network: Network, rate: float = 0.1) -> None:
    """One step in training mode on everything that has a gradient."""
    network.train()
    optimizer = torch.optim.SGD([one for one in network.parameters() if one.requires_grad], lr=rate)
    scores = network(image())
    (scores * torch.tensor([1.0, -1.0])).sum().backward()
    optimizer.step()


def changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_frozen_encoder_keeps_weights_and_statistics_while_its_head_trains(name: str) -> None:
    network = Network(built(name, SIZE, freeze=True))
    encoder, head = network.model["image_encoder"], network.head.weight.clone()
    before = state_of(encoder)
    step(network)
    assert not changed(before, encoder)
    assert all(one.grad is None and not one.requires_grad for one in encoder.parameters())
    assert not torch.equal(network.head.weight, head)
    assert not encoder.training


@pytest.mark.parametrize("name", ENCODERS)
def test_lora_begins_with_what_the_encoder_gave_and_trains_adapters_only(name: str) -> None:
    pytest.importorskip("peft")
    torch.manual_seed(0)
    plain = built(name, SIZE).eval()
    torch.manual_seed(0)
    network = Network(built(name, SIZE, lora={"rank": 2}))
    encoder: Any = network.model["image_encoder"].eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(image()), plain(image()))
    before = state_of(encoder)
    for _ in range(2):  # the first step moves B, which begins at zero, and with it A gets a gradient
        step(network)
    moved = changed(before, encoder)
    assert moved
    assert all(".lora_A." in key or ".lora_B." in key for key in moved), sorted(moved)
    trained = sum(one.numel() for one in encoder.parameters() if one.requires_grad)
    assert 0 < trained < sum(one.numel() for one in plain.parameters())


@pytest.mark.parametrize("name", ENCODERS)
def test_lora_is_saved_restored_by_its_description_and_merged(name: str) -> None:
    pytest.importorskip("peft")
    torch.manual_seed(0)
    network = Network(built(name, SIZE, lora={"rank": 2}))
    for _ in range(2):
        step(network, 0.01)
    encoder: Any = network.model["image_encoder"].eval()
    file = io.BytesIO()
    torch.save(encoder.state_dict(), file)
    again = built(name, SIZE, lora={"rank": 2}).eval()
    again.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    with torch.no_grad():
        tokens = encoder(image())
        torch.testing.assert_close(again(image()), tokens)
        again.merge_adapters()
        torch.testing.assert_close(again(image()), tokens, atol=1e-4, rtol=1e-4)
    plain = built(name, SIZE).eval()
    plain.load_state_dict(again.state_dict())  # merged, it has the names of one without adapters
    with torch.no_grad():
        torch.testing.assert_close(plain(image()), tokens, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_depth_has_its_learning_rate(name: str) -> None:
    network = Network(built(name, SIZE))
    encoder: Any = network.model["image_encoder"]
    groups = layer_decayed(parameter_groups(network, 0.05), network, 0.5, 1e-3)
    rates = {id(one): group["lr"] for group in groups for one in group["params"]}
    decays = {id(one): group["weight_decay"] for group in groups for one in group["params"]}
    trained = [one for one in network.parameters() if one.requires_grad]
    assert sorted(rates) == sorted(id(one) for one in trained)  # each of them once
    blocks = encoder.block_names()
    assert len(blocks) >= 2
    levels = len(blocks) + 1
    names = {id(one): key for key, one in encoder.named_parameters()}
    seen = set()
    for one in trained:
        key = names.get(id(one))
        inside = [n for n, ours in enumerate(blocks, 1) if key and key.startswith(tuple(f"{own}." for own in ours))]
        exponent = math.log(rates[id(one)] / 1e-3, 0.5)
        if key is None:
            assert rates[id(one)] == 1e-3
        elif inside:
            assert exponent == pytest.approx(levels - inside[0])
        else:
            assert round(exponent) in (0, levels)
        seen.add(round(exponent))
        assert decays[id(one)] == (0.05 if one.ndim > 1 and not (key or "").endswith("bias") else 0.0)
    assert seen == set(range(levels + 1))  # 0, the head, to the stem
    assert groups[0]["lr"] == 1e-3


def test_a_factor_of_one_keeps_every_rate_and_groups_keep_their_own() -> None:
    network = Network(built("resnet", SIZE))
    given = [{"params": list(network.head.parameters()), "lr": 5e-3, "name": "heads"}]
    given.append({"params": list(network.model.parameters()), "lr": 1e-3, "name": "base"})
    groups = layer_decayed(given, network, 1.0)
    assert {group["lr"] for group in groups if group["name"].startswith("base")} == {1e-3}
    assert [group["lr"] for group in groups if group["name"] == "heads"] == [5e-3]


def test_stem_and_norm_are_before_and_after_the_blocks() -> None:
    network = Network(built("clip_vit", SIZE))
    depths, levels = depths_of(network, "model.image_encoder")
    encoder: Any = network.model["image_encoder"]
    assert levels == 3
    assert depths[id(encoder.positional_embedding)] == depths[id(encoder.ln_pre.weight)] == 0
    assert (
        depths[id(encoder.blocks[1].qkv.weight if hasattr(encoder.blocks[1], "qkv") else encoder.blocks[1].ln_1.weight)]
        == 2
    )
    assert depths[id(encoder.ln_post.weight)] == 3


def test_what_cannot_be_decayed_or_adapted_is_one_line() -> None:
    network = Network(built("resnet", SIZE))
    with pytest.raises(ValueError, match=r"no part model\.picture_encoder; it has model\.image_encoder"):
        layer_decayed(parameter_groups(network), network, part="model.picture_encoder")
    with pytest.raises(ValueError, match="give learning_rate"):
        layer_decayed(parameter_groups(network), network)
    with pytest.raises(ValueError, match="freeze and lora exclude one another"):
        built("resnet", SIZE, freeze=True, lora={})
    pytest.importorskip("peft")
    with pytest.raises(ValueError, match="targets 'attention' name no layer of the encoder; it has conv1"):
        built("resnet", SIZE, lora={"targets": "attention"})


def test_without_peft_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ValueError, match=r"pip install 'medvlp-encoders\[lora\]'"):
        built("resnet", SIZE, lora={})


def test_adapters_leave_dropout_on_and_batch_norms_as_they_are() -> None:
    pytest.importorskip("peft")
    network = Network(built("resnet", SIZE, lora={"rank": 2, "dropout": 0.1})).train()
    norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]
    dropouts = [one for one in network.modules() if isinstance(one, nn.Dropout)]
    assert norms
    assert dropouts
    assert not any(one.training for one in norms)
    assert all(one.training for one in dropouts)
