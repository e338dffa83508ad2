"""The contrastive losses beside those of the other recipes, by one overlay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvlp_toolkit.evaluation.results import Results
from medvlp_toolkit.weights import read_weights
from tests.bundles.whole_run import Data, Run, graph_of, prepare

#: MedKLIP has no text encoder of its own: a small one, with the vocabulary of the demo's descriptions.
SMALL_TEXT = {
    "text_encoder": {
        "_target_": "medvlp_toolkit.encoders.transformers_text",
        "config": {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "corpus": "@text_model::corpus",
    }
}
OVERLAYS: dict[str, dict[str, Any]] = {"medklip": SMALL_TEXT, "arl": {}}
OWN_LOSSES = {
    "medklip": {"existence", "position"},
    "arl": {"masked_language", "masked_image", "matching", "alignment"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    store = prepare(tmp_path_factory.mktemp("phantoms"))
    return Data(store, graph_of(store))


def trained(recipe: str, folder: Path, data: Data, overlay: dict[str, Any]) -> tuple[Run, Any]:
    made = Run(recipe, folder, data, {"image_size": 64, **OVERLAYS[recipe], **overlay}, ["clip"])
    return made, made.train().parser.get_parsed_content("pretraining_model")


@pytest.mark.parametrize("recipe", OVERLAYS)
def test_clip_trains_beside_the_losses_of_the_recipe(recipe: str, data: Data, tmp_path: Path) -> None:
    made, model = trained(recipe, tmp_path, data, {})
    assert set(model.losses) == {*OWN_LOSSES[recipe], "contrast"}
    assert model.losses["contrast"].head.log_scale.item() != pytest.approx(np.log(1 / 0.07), abs=1e-6)
    weights = read_weights(made.output / "best.pt", key="model")
    assert any(name.startswith("model.text_encoder.") for name in weights)
    made.after("evaluate")
    assert Results.read(made.output / "evaluation").metrics
    data.radiograph(tmp_path / "radiograph.png")
    made.infer(tmp_path / "radiograph.png", tmp_path / "out")
    assert (tmp_path / "out" / "probabilities.csv").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["siglip", "convirt", "gloria_local"])
@pytest.mark.parametrize("recipe", OVERLAYS)
def test_the_others_take_its_place_by_their_names(recipe: str, name: str, data: Data, tmp_path: Path) -> None:
    _, model = trained(recipe, tmp_path, data, {"losses::contrast::_target_": f"medvlp_toolkit.pretext_losses.{name}"})
    assert type(model.losses["contrast"]).__name__.lower() == name.replace("_", "")


def test_the_documentation_shows_the_overlay_as_it_is(repository: Path) -> None:
    file = (repository / "bundles" / "medklip" / "configs" / "clip.yaml").read_text()
    assert file.partition("\n\n")[2].strip() in (repository / "docs" / "recipes.md").read_text()
