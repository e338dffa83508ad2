"""A batch becomes losses: every tower runs once, sums are divided by the counts of all ranks."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp_toolkit.interfaces import FusionOutput, Knowledge, ModelParts
from medvlp_toolkit.model.encodings import Encodings
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel

WIDTH = 6


class Counting(nn.Module):
    """A linear map that counts how often it is called."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, WIDTH)
        self.calls = 0

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        self.calls += 1
        tokens = x.flatten(2).transpose(1, 2)  # (B, 3, H, W) -> (B, H * W, 3)
        if keep is not None:
            tokens = tokens.gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
        out: Tensor = self.linear(tokens)
        return out


class CountingText(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, WIDTH)
        self.calls = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.embedding(input_ids) * attention_mask.unsqueeze(-1)
        return out


class CountingFusion(nn.Module):
    """Adds the mean image token to every text token; remembers what it was given."""

    width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.calls = 0
        self.knowledge: Knowledge | None = None

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        text_mask: Tensor | None = None,
        knowledge: Knowledge | None = None,
        stop_after: int = -1,
        need_attention: bool = False,
    ) -> FusionOutput:
        self.calls += 1
        self.knowledge = knowledge
        return FusionOutput(image, text + self.scale * image.mean(dim=1, keepdim=True), None, None)


class Graph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.entities = nn.Parameter(torch.randn(4, WIDTH))

    def forward(self) -> Tensor:
        return self.entities


class MeanLoss(nn.Module):
    """The mean over all fused entity features, ``count`` terms of it."""

    needs = frozenset({"image"})

    def __init__(self, reads: frozenset[str] = frozenset({"image_encoder", "fusion", "text_projection"})) -> None:
        super().__init__()
        self.reads = reads
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        terms = self.head(encodings.fused(text="entities").text)
        return terms.sum(), torch.tensor(terms.numel())


def a_model(**parts: Any) -> VisionLanguageModel:
    torch.manual_seed(0)
    return VisionLanguageModel(
        **{
            "image_encoder": Counting(3),
            "fusion": CountingFusion(),
            "text_encoder": CountingText(),
            "text_projection": nn.Linear(WIDTH, WIDTH),
            "entity_bank": torch.randn(5, WIDTH),
            **parts,
        }
    )


def a_batch(size: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 10, (size, 7), generator=generator)
    return {
        "image": torch.randn(size, 3, 2, 2, generator=generator),
        "input_ids": ids,
        "masked_input_ids": ids.flip(1),
        "attention_mask": torch.ones_like(ids),
        "negative_image": torch.randn(size, 3, 2, 2, generator=generator),
    }


def test_each_tower_runs_once_however_many_losses_ask() -> None:
    model = a_model()
    encodings = Encodings(model, a_batch())
    first = encodings.fused(text="entities")
    assert encodings.fused(text="entities") is first
    encodings.fused(text="report")
    encodings.text_tokens()
    encodings.image_tokens()
    assert model.image_encoder.calls == 1
    assert model.text_encoder.calls == 1  # type: ignore[union-attr]
    assert model.fusion.calls == 2


def test_views_are_computed_apart() -> None:
    model = a_model()
    encodings = Encodings(model, a_batch())
    assert not torch.equal(encodings.image_tokens("full"), encodings.image_tokens("negative"))
    assert not torch.equal(encodings.text_tokens("report"), encodings.text_tokens("masked"))
    assert (model.image_encoder.calls, model.text_encoder.calls) == (2, 2)  # type: ignore[union-attr]


def test_without_sharing_every_request_computes_anew_with_the_same_numbers() -> None:
    model = a_model()
    shared, repeated = Encodings(model, a_batch()), Encodings(model, a_batch(), share=False)
    for _ in range(2):
        assert torch.equal(shared.fused(text="entities").text, repeated.fused(text="entities").text)
    assert model.image_encoder.calls == 1 + 2
    assert model.fusion.calls == 1 + 2


def test_hooks_on_parts_are_called() -> None:
    model = a_model()
    seen: list[str] = []
    for name, part in model.named_children():
        part.register_forward_hook(lambda *_, name=name: seen.append(name))
    encodings = Encodings(model, a_batch())
    encodings.fused(text="entities"), encodings.text_tokens()
    assert set(seen) == {"image_encoder", "image_projection", "text_encoder", "text_projection", "fusion"}


def test_linked_entities_reach_the_fusion_module_with_padding_masked() -> None:
    model = a_model(knowledge_encoder=Graph())
    linked = torch.tensor([[2, 0, -100], [1, -100, -100]])
    batch = {**a_batch(), "linked_entities": linked, "linked_entity_alignment": torch.zeros(2, 3, 7)}
    Encodings(model, batch).fused(text="report")
    knowledge = model.fusion.knowledge
    assert isinstance(knowledge, Knowledge)
    assert knowledge.mask.tolist() == [[True, True, False], [True, False, False]]
    assert torch.equal(knowledge.embeddings[0, 0], model.knowledge_encoder.entities[2])  # type: ignore[union-attr]
    assert knowledge.alignment.shape == (2, 3, 7)


def test_a_masked_image_shows_the_patches_of_lowest_noise() -> None:
    model = a_model()
    batch = a_batch()
    whole = Encodings(model, batch).image_tokens()
    noise = torch.arange(whole.shape[1], dtype=torch.float32).flip(0).expand(len(whole), -1)
    seen = Encodings(model, {**batch, "patch_noise": noise}, mask_ratio=0.5).image_tokens("masked")
    assert seen.shape[1] == round(whole.shape[1] / 2)
    assert torch.allclose(seen[:, 0], whole[:, -1])


def test_asking_for_a_part_the_model_lacks_says_which() -> None:
    bare = VisionLanguageModel(image_encoder=Counting(3), fusion=CountingFusion())
    encodings = Encodings(bare, a_batch())
    with pytest.raises(ValueError, match="no text_encoder"):
        encodings.text_tokens()
    with pytest.raises(ValueError, match="entity_bank"):
        encodings.fused(text="entities")
    with pytest.raises(ValueError, match="neither a knowledge_encoder nor an entity_bank"):
        encodings.entity_embeddings()


def test_total_is_the_weighted_sum_of_the_losses_divided_by_their_counts() -> None:
    losses = PretrainingModel(a_model(), {"a": MeanLoss(), "b": MeanLoss()}, weights={"b": 0.25})(a_batch())
    assert set(losses) == {"loss", "a", "b"}
    assert torch.allclose(losses["loss"], losses["a"] + 0.25 * losses["b"])
    model = PretrainingModel(a_model(), {"a": MeanLoss()})
    batch = a_batch()
    by_hand = model.losses["a"].head(Encodings(model.model, batch).fused(text="entities").text).mean()
    assert torch.allclose(model(batch)["a"], by_hand)


def test_batch_without_a_needed_key_names_it_and_what_there_is() -> None:
    model = PretrainingModel(a_model(), {"mean": MeanLoss()})
    with pytest.raises(ValueError, match=r"the batch lacks image, which the losses mean read; it holds input_ids$"):
        model({"input_ids": torch.zeros(1, 2, dtype=torch.long)})


def test_needs_are_those_of_all_losses() -> None:
    more = MeanLoss()
    more.needs = frozenset({"image", "input_ids"})  # type: ignore[misc]
    assert PretrainingModel(a_model(), {"a": MeanLoss(), "b": more}).needs == {"image", "input_ids"}


@pytest.mark.parametrize(
    ("losses", "weights", "message"),
    [
        ({}, None, "at least one loss"),
        ({"a": MeanLoss()}, {"c": 1.0}, "weights given for c; the losses are a, of which a has no weight"),
        ({"loss": MeanLoss()}, None, "is the weighted total"),
    ],
)
def test_wrong_composition_is_refused_with_the_fix(losses: Any, weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainingModel(a_model(), losses, weights)


def test_the_weight_of_a_disabled_loss_is_not_read(caplog: pytest.LogCaptureFixture) -> None:
    """MONAI leaves a disabled loss out, and its weight stays in the configuration."""
    caplog.set_level(logging.INFO)
    assert PretrainingModel(a_model(), {"a": MeanLoss()}, {"a": 0.5, "b": 1.0}).weights == {"a": 0.5}
    assert "no loss b: its weight is not read" in caplog.text


class Demanding(MeanLoss):
    """Asks for a fusion module that says how deep it is."""

    def requires(self, model: ModelParts) -> list[str]:
        if hasattr(model.fusion, "depth"):
            return []
        return [f"reads half of the layers, and {type(model.fusion).__name__} has no depth"]


def test_what_a_loss_requires_is_asked_before_training_and_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'deep'") as caught:
        PretrainingModel(a_model(), {"mean": MeanLoss(), "deep": Demanding()})
    message = str(caught.value)
    assert "the loss 'deep' (Demanding) reads half of the layers, and CountingFusion has no depth" in message
    assert "losses::NAME::_disabled_: true" in message
    assert "mean" not in message
    assert "\n" not in message
    model = a_model()
    model.fusion.depth = 2  # type: ignore[assignment]
    PretrainingModel(model, {"deep": Demanding()})


@pytest.mark.parametrize(
    ("part", "lacking", "message"),
    [
        ("text_encoder", {"text_encoder": None}, "'one' (MeanLoss) reads the text_encoder, and the model has none"),
        ("knowledge_encoder", {}, "'one' (MeanLoss) reads the knowledge_encoder, and the model has none"),
        (
            "entity_projection",
            {"entity_bank": None},
            "'one' (MeanLoss) reads entity queries, and the model has no entity",
        ),
    ],
)
def test_a_loss_that_reads_a_part_which_is_not_there_is_refused(
    part: str, lacking: dict[str, None], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        PretrainingModel(a_model(**lacking), {"one": MeanLoss(frozenset({"image_encoder", part}))})


def test_the_bank_is_projected_by_its_own_map_or_else_by_that_of_the_text() -> None:
    shared, own = a_model(), a_model(entity_bank=torch.randn(5, 4), entity_projection=nn.Linear(4, WIDTH))
    assert shared.bank_projection is shared.text_projection
    assert own.bank_projection is own.entity_projection
    assert own.entity_embeddings().shape == own.entity_queries().shape == (5, WIDTH)
    assert not [name for name in shared.state_dict() if name.startswith("entity_projection")]


@pytest.mark.parametrize("named", ["entity_projection", "text_projection"])
def test_a_loss_of_entity_queries_trains_the_projection_that_they_go_through(named: str) -> None:
    """Without one of the bank's own either name means the text's."""
    reads = frozenset({"image_encoder", "fusion", named})
    shared = PretrainingModel(a_model(), {"mean": MeanLoss(reads)}).model
    assert all(p.requires_grad for p in shared.text_projection.parameters())
    own = PretrainingModel(a_model(entity_projection=nn.Linear(WIDTH, WIDTH)), {"mean": MeanLoss(reads)}).model
    assert own.entity_projection is not None
    trained = {"text_projection": own.text_projection, "entity_projection": own.entity_projection}
    for name, part in trained.items():
        assert all(p.requires_grad == (name == named) for p in part.parameters())


def test_parts_that_no_loss_reads_are_frozen() -> None:
    model = PretrainingModel(a_model(), {"mean": MeanLoss()})
    trained = {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"image_encoder", "fusion", "text_projection", "mean"}
    assert not any(p.requires_grad for p in model.model.text_encoder.parameters())  # type: ignore[union-attr]


def test_loss_without_a_term_is_a_finite_zero_connected_to_every_parameter(two_ranks: Any) -> None:
    model = two_ranks.build_model()
    batch = two_ranks.whole_batch()
    batch["entity_presence"] = torch.full_like(batch["entity_presence"], -1)
    losses = model(batch)
    assert {name: value.item() for name, value in losses.items()} == {"loss": 0.0, "existence": 0.0, "position": 0.0}
    losses["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} is cut off, which stops DDP"
        assert torch.isfinite(parameter.grad).all()


def test_batch_without_a_positive_still_trains_existence(two_ranks: Any) -> None:
    model = two_ranks.build_model()
    share = {key: value[two_ranks.SHARES[1]] for key, value in two_ranks.whole_batch().items()}
    losses = model(share)
    assert losses["position"].item() == 0.0
    assert losses["existence"].item() > 0.0
    losses["loss"].backward()
    assert model.model.image_encoder.embed.weight.grad.abs().max() > 0
    assert model.losses["position"].head.weight.grad.abs().max() == 0


def test_two_ranks_one_without_a_positive_equal_one_rank_with_the_whole_batch(tmp_path: Path) -> None:
    program = Path(__file__).with_name("two_ranks.py")
    ran = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["position_loss_of_rank_without_positives"] == 0.0
    assert told["position_loss"] > 0.0
    assert told["position_head_gradient"] > 0.0
    assert told["loss"] <= 1e-6
    assert told["gradient"] <= 1e-6 * max(1.0, told["gradient_scale"])
    assert told["value"] <= 1e-6


@pytest.fixture(scope="module")
def two_ranks() -> Any:
    """The program that the ranks run, for its small model and batch."""
    import importlib.util

    specification = importlib.util.spec_from_file_location("two_ranks", Path(__file__).with_name("two_ranks.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
