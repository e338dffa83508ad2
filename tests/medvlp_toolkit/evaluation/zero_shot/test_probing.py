from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import medvlp_toolkit as mv
from medvlp_toolkit.evaluation.zero_shot.probing import ProbeCollection, Probes, ProbingStep, shuffle_tiles
from medvlp_toolkit.model.entity_scorer import EntityScorer
from medvlp_toolkit.model.vision_language import VisionLanguageModel


class Two:
    """Definitions of two entities."""

    ids = ("effusion", "nodule")

    def descriptions(self, template: str = "{definition}") -> list[str]:
        return [template.format(id=i, name=i, definition=f"what {i} is") for i in self.ids]


def encoder(texts: list[str]) -> torch.Tensor:
    """A vector per text that depends on its letters alone."""
    rows = [torch.Generator().manual_seed(sum(map(ord, text))) for text in texts]
    return torch.stack([torch.randn(8, generator=generator) for generator in rows])


def make_probes(**changes) -> Probes:
    options = {
        "phrasings": {"description": "{definition}", "name": "{name}"},
        "negated": "no {name}",
        "sided": {"left": "left {name}", "right": "right {name}"},
        **changes,
    }
    return Probes(encoder, [Two()], **options)


@pytest.fixture
def scorer() -> EntityScorer:
    torch.manual_seed(0)
    image_encoder = mv.encoders.resnet(depth=10, in_channels=1, widths=[8, 8, 8], strides=[1, 2, 1])
    model = VisionLanguageModel(
        image_encoder,
        mv.fusion_modules.entity_query_decoder(width=16, layers=1, heads=2, feed_forward=16),
        nn.Linear(image_encoder.num_features, 16),
        text_projection=nn.Linear(8, 16),
        entity_bank=encoder(Two().descriptions()),
    )
    return EntityScorer(model, nn.Linear(16, 2)).eval()


def engine(scorer: EntityScorer) -> SimpleNamespace:
    return SimpleNamespace(
        state=SimpleNamespace(device=torch.device("cpu")),
        network=scorer,
        inferer=lambda image, network: network(image),
        fire_event=lambda event: None,
    )


@pytest.fixture
def batch() -> dict:
    image = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    return {"image": image, "row": torch.arange(3), "study_id": list("abc"), "patient_id": list("abc")}


def run(scorer: EntityScorer, batch: dict, probes: Probes, **options) -> dict:
    return ProbingStep(probes, transform=lambda b: dict(b), **options)(engine(scorer), batch)


def test_every_question_is_asked_with_its_own_bank(scorer, batch) -> None:
    output = run(scorer, batch, make_probes())
    with torch.no_grad():
        tokens = scorer.image_tokens(batch["image"])
        for name, template in (("phrasing:name", "{name}"), ("negated", "no {name}"), ("sided:left", "left {name}")):
            expected = scorer.score(scorer.ask(tokens, encoder(Two().descriptions(template))).text)
            assert output["probes"][name] == pytest.approx(expected)
    assert output["probes"]["phrasing:description"] == pytest.approx(output["scores"])
    assert output["probes"]["as it is"] is output["scores"]


def test_changed_images_are_scored_as_such(scorer, batch) -> None:
    output = run(scorer, batch, make_probes(tiles=4), need_attention=True)
    with torch.no_grad():
        assert output["probes"]["mirrored"] == pytest.approx(scorer(batch["image"].flip(-1)))
        assert output["probes"]["blank"] == pytest.approx(scorer(torch.zeros(3, 1, 32, 32)))
        assert output["probes"]["shuffled"] == pytest.approx(scorer(shuffle_tiles(batch["image"], 4, [0, 1, 2])))
        assert output["mirrored_attention"] == pytest.approx(scorer.attend(batch["image"].flip(-1))[1])
    assert (output["probes"]["blank"] == output["probes"]["blank"][0]).all()


def test_a_text_model_that_did_not_make_the_bank_is_refused(scorer, batch) -> None:
    with pytest.raises(ValueError, match="does not reproduce the model's own entity bank"):
        run(scorer, batch, make_probes(phrasings={"name": "{name}"}))


@pytest.mark.parametrize("shape", [(2, 3, 8, 12), (2, 1, 8, 8, 4)])
def test_shuffled_tiles_are_the_same_tiles_in_another_order(shape) -> None:
    image = torch.arange(float(np.prod(shape))).reshape(shape)
    mixed = shuffle_tiles(image, 2, [3, 4])
    assert (mixed != image).any()
    assert (shuffle_tiles(image, 2, [3, 4]) == mixed).all()

    def tiles(picture: torch.Tensor) -> list[tuple]:
        parts = [picture]
        for axis in range(1, picture.ndim):
            parts = [half for part in parts for half in part.chunk(2, axis)]
        return sorted(tuple(part.flatten().tolist()) for part in parts)

    for before, after in zip(image, mixed, strict=True):
        assert tiles(before) == tiles(after)


def test_images_that_cannot_be_cut_evenly_are_refused() -> None:
    with pytest.raises(ValueError, match="10×8 cannot be cut into 4 equal tiles"):
        shuffle_tiles(torch.zeros(1, 1, 10, 8), 4, [0])


def told(scores: np.ndarray, **more: np.ndarray) -> dict:
    """An output of the step for rows 0 … with the same scores for every question, but those given."""
    names = ["as it is", "phrasing:description", "phrasing:name", "negated", "mirrored", "shuffled", "blank"]
    names += [f"{prefix}sided:{side}" for prefix in ("", "mirrored:") for side in ("left", "right")]
    probes = {name: torch.from_numpy(more.get(name, scores)) for name in names}
    return {"probes": probes, "row": torch.arange(len(scores))}


def test_outcomes_say_what_a_model_that_understands_nothing_does() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=(80, 1))
    good = np.tile((0.2 + 0.6 * truth + 0.1 * rng.random((80, 1))).astype(np.float32), 2)
    collection = ProbeCollection(make_probes(), ["effusion", "nodule"], {"Effusion": "effusion"})
    blank = np.full_like(good, 0.9)
    output = told(good, negated=good, **{"phrasing:name": rng.random(good.shape).astype(np.float32), "blank": blank})
    collection.collect(output, lambda row, label: "left" if truth[row, 0] else "none")
    metrics = collection.measure(truth, np.ones(80, bool), np.arange(80))
    assert metrics["images"] == 80
    assert metrics["prompts"]["variants"]["description"]["auc"] == 1.0
    assert metrics["prompts"]["variants"]["name"]["example"] == "effusion"
    spread = metrics["prompts"]["spread"]["Effusion"]
    assert spread["spread"] == pytest.approx(1.0 - metrics["prompts"]["variants"]["name"]["auc"])
    assert metrics["negation"]["auc"] == 0.0
    assert metrics["image_probes"]["blank"]["claimed"] == ["Effusion"]
    assert metrics["image_probes"]["blank"]["auc"] == 0.5
    assert metrics["laterality"]["left or right in words"]["accuracy"] == 0.0  # ties say neither
    text = " ".join(metrics["cautions"])
    assert "wording matters: mean AUC 1.00 with “description”" in text
    assert "as if there were no “no”" in text
    assert "on a blank image it predicts Effusion" in text
    assert "left and right are not distinguished" in text


def test_a_model_that_understands_is_not_cautioned_against() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=(80, 1))
    side = np.where(rng.integers(2, size=80), "left", "right")
    good = np.tile((0.2 + 0.3 * truth + 0.1 * rng.random((80, 1))).astype(np.float32), 2)
    left = good + 0.1 * (side == "left")[:, None].astype(np.float32)
    right = good + 0.1 * (side == "right")[:, None].astype(np.float32)
    sided = {"sided:left": left, "sided:right": right, "mirrored:sided:left": right, "mirrored:sided:right": left}
    collection = ProbeCollection(make_probes(), ["effusion", "nodule"], {"Effusion": "effusion"})
    output = told(good, negated=1 - good, blank=np.zeros_like(good), **sided)
    collection.collect(output, lambda row, label: side[row] if truth[row, 0] else "none")
    metrics = collection.measure(truth, np.ones(80, bool), np.arange(80))
    assert metrics["negation"]["auc"] == 1.0
    for row in metrics["laterality"].values():
        assert row["accuracy"] == 1.0
        assert row["n"] == truth.sum()
    assert metrics["cautions"] == []


def test_only_the_chosen_images_count() -> None:
    truth = np.repeat([[0], [1]], 40, axis=0)
    good = np.tile(truth.astype(np.float32), 2)
    bad = 1 - good
    collection = ProbeCollection(make_probes(), ["effusion", "nodule"], {"Effusion": "effusion"})
    collection.collect(told(good), lambda row, label: "none")
    collection.collect(told(bad), lambda row, label: "none")
    chosen = np.repeat([True, False], 80)
    metrics = collection.measure(truth, chosen, np.arange(80))
    assert metrics["prompts"]["variants"]["description"]["auc"] == 1.0
    assert metrics["laterality"] == {}
