from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import medvlp_toolkit as mv
from medvlp_medklip.losses import EntityExistence, EntityPosition
from medvlp_medklip.projection import entity_projection, image_projection
from medvlp_toolkit.model.entity_scorer import EntityScorer, from_pretraining_model
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel

WIDTH, TEXT_WIDTH, ENTITIES = 16, 24, 5


def small_model(bank: torch.Tensor | None) -> VisionLanguageModel:
    encoder = mv.encoders.resnet(depth=10, widths=(8, 16, 16), last_stage=3)
    return VisionLanguageModel(
        image_encoder=encoder,
        image_projection=image_projection(encoder.num_features, WIDTH),
        text_projection=entity_projection(TEXT_WIDTH, WIDTH),
        fusion=mv.fusion_modules.entity_query_decoder(width=WIDTH, layers=2, heads=2, feed_forward=32),
        entity_bank=bank,
    )


@pytest.fixture
def pretraining_model() -> PretrainingModel:
    torch.manual_seed(0)
    model = small_model(torch.randn(ENTITIES, TEXT_WIDTH))
    losses = {"existence": EntityExistence(WIDTH), "position": EntityPosition(torch.randn(7, TEXT_WIDTH), WIDTH)}
    return PretrainingModel(model, losses).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(3, 3, 48, 64, generator=torch.Generator().manual_seed(1))


def test_scores_are_those_of_the_existence_loss(pretraining_model, image) -> None:
    scorer = from_pretraining_model(pretraining_model).eval()
    model = pretraining_model.model
    with torch.no_grad():
        logits = pretraining_model.losses["existence"].head(model.fuse_entities(model.image_tokens(image)).text)
        assert torch.allclose(scorer(image), torch.sigmoid(logits[..., 1] - logits[..., 0]), atol=1e-6)
    assert scorer(image).shape == (3, ENTITIES)


def test_attention_comes_with_the_same_scores_and_sums_to_one(pretraining_model, image) -> None:
    scorer = from_pretraining_model(pretraining_model).eval()
    with torch.no_grad():
        scores, attention = scorer.attend(image)
        assert torch.allclose(scores, scorer(image), atol=1e-6)
    assert scorer.grid_size((48, 64)) == (3, 4)
    assert attention.shape == (3, 2, ENTITIES, 12)
    assert torch.allclose(attention.sum(-1), torch.ones(3, 2, ENTITIES))


def test_entity_features_serve_other_heads_too(pretraining_model, image) -> None:
    scorer = from_pretraining_model(pretraining_model).eval()
    with torch.no_grad():
        fused = scorer.fuse(image)
        assert torch.equal(scorer.score(fused.text), scorer(image))
        assert pretraining_model.losses["position"].scores(fused.text).shape == (3, ENTITIES, 7)


def test_the_scripted_scorer_gives_the_same_scores_after_saving(pretraining_model, image, tmp_path: Path) -> None:
    scorer = from_pretraining_model(pretraining_model).eval()
    torch.jit.script(scorer).save(str(tmp_path / "scorer.ts"))
    loaded = torch.jit.load(str(tmp_path / "scorer.ts"))
    with torch.no_grad():
        for batch in (image, image[:1], image[:, :1]):
            assert torch.allclose(loaded(batch), scorer(batch), atol=1e-6)


def test_a_scorer_built_with_an_empty_bank_takes_its_state_dict(pretraining_model, image) -> None:
    trained = from_pretraining_model(pretraining_model).eval()
    fresh = EntityScorer(small_model(torch.zeros(ENTITIES, TEXT_WIDTH)), nn.Linear(WIDTH, 2)).eval()
    fresh.load_state_dict(trained.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(image), trained(image))
    roots = {key.split(".")[0] for key in trained.state_dict()}
    assert roots == {"image_encoder", "image_projection", "text_projection", "fusion", "head", "entity_bank"}


def test_a_bank_with_a_projection_of_its_own_is_scored_through_it_and_loads_the_same_weights(
    image: torch.Tensor, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = small_model(torch.randn(ENTITIES, TEXT_WIDTH))
    own = VisionLanguageModel(
        image_encoder=model.image_encoder,
        image_projection=model.image_projection,
        text_projection=nn.Linear(7, WIDTH),  # of report tokens
        fusion=model.fusion,
        entity_bank=model.entity_bank,
        entity_projection=model.text_projection,
    )
    head = nn.Linear(WIDTH, 2)
    scorer, shared = EntityScorer(own, head).eval(), EntityScorer(model, head).eval()
    assert list(scorer.state_dict()) == list(shared.state_dict())
    with torch.no_grad():
        assert torch.equal(scorer(image), shared(image))
        assert torch.allclose(torch.jit.script(scorer)(image), shared(image), atol=1e-6)


def test_the_scorer_follows_the_model_as_it_trains(pretraining_model, image) -> None:
    scorer = from_pretraining_model(pretraining_model).eval()
    with torch.no_grad():
        before = scorer(image)
        pretraining_model.losses["existence"].head.bias += torch.tensor([0.0, 3.0])
        assert (scorer(image) > before).all()


def test_scores_under_reduced_precision_are_single_precision(pretraining_model, image) -> None:
    scorer = from_pretraining_model(pretraining_model).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert scorer(image).dtype == torch.float32


def test_volumes_are_scored_by_a_volume_encoder() -> None:
    model = small_model(torch.randn(ENTITIES, TEXT_WIDTH))
    model.image_encoder = mv.encoders.resnet(depth=10, widths=(8, 16, 16), last_stage=3, spatial_dims=3, in_channels=1)
    scorer = EntityScorer(model, nn.Linear(WIDTH, 2)).eval()
    assert scorer(torch.randn(2, 1, 32, 32, 32)).shape == (2, ENTITIES)


def test_a_model_without_bank_another_head_or_an_unknown_loss_is_refused(pretraining_model) -> None:
    with pytest.raises(ValueError, match="entity_bank"):
        EntityScorer(small_model(None), nn.Linear(WIDTH, 2))
    with pytest.raises(ValueError, match="2 logits"):
        EntityScorer(pretraining_model.model, nn.Linear(WIDTH, 3))
    with pytest.raises(ValueError, match="no loss 'presence', only existence, position"):
        from_pretraining_model(pretraining_model, "presence")
    with pytest.raises(ValueError, match="2 logits"):
        from_pretraining_model(pretraining_model, "position")
