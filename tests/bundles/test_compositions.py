"""The table of compositions: every cell is tested or makes no sense, as the contracts say too."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_toolkit.cli.compatible import compose
from medvlp_toolkit.cli.main import app
from tests.bundles.compositions import CELLS, RECIPES, page
from tests.bundles.running import BUNDLES
from tests.bundles.tiny_encoders import LIBRARIES, image_encoders
from tests.bundles.whole_run import Data, Run, graph_of, prepare, text_model

#: Overlays with which a recipe takes the losses and parts of others.
OVERLAYS = {"medklip": ("clip", "arl_alignment"), "arl": ("clip", "medklip_losses"), "kad": (), "contrastive": ()}
SMALL_TEXT = {
    "_target_": "medvlp_toolkit.encoders.transformers_text",
    "config": {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    "corpus": "@text_model::corpus",
}


def cells() -> list[tuple[str, str, str, str]]:
    """Kind, name, recipe, and what the table says."""
    return [
        (kind, name, recipe, said)
        for kind, rows in CELLS.items()
        for name, row in rows.items()
        for recipe, said in zip(RECIPES, row, strict=True)
    ]


def test_every_built_in_part_has_a_cell_for_every_recipe() -> None:
    own = {ref.name for ref in mv.encoders.refs() if ref.distribution == "medvlp-encoders"}
    assert set(CELLS["encoders"]) == own & {*image_encoders(), *LIBRARIES}
    for kind in ("fusion_modules", "pretext_losses"):
        registry = mv.registries[kind]
        assert set(CELLS[kind]) == {ref.name for ref in registry.refs() if ref.distribution.startswith("medvlp-")}


def test_every_test_that_the_table_names_is_there(repository: Path) -> None:
    for kind, name, recipe, said in cells():
        if said.startswith("no: "):
            assert len(said) > 20, (kind, name, recipe)
            continue
        file, _, test = said.partition("::")
        assert f"def {test}(" in (repository / "tests" / file).read_text(encoding="utf-8"), said


def test_the_page_is_the_table(repository: Path) -> None:
    written = (repository / "docs" / "compositions.md").read_text(encoding="utf-8")
    assert written == page(), "write it again: python -m tests.bundles.compositions"


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_contracts_agree_with_the_table(recipe: str) -> None:
    """What fits none of the compositions of a recipe's overlays is what the table says makes no sense."""
    fitting: set[tuple[str, str]] = set()
    for overlay in (None, *OVERLAYS[recipe]):
        names = ["train", *([overlay] if overlay else [])]
        words = [
            word for name in names for word in ("--compatible-with", str(BUNDLES / recipe / "configs" / f"{name}.yaml"))
        ]
        done = CliRunner().invoke(app, ["plugins", *words, "--json"])
        assert done.exit_code == 0, done.output
        fitting |= {(one["kind"], one["name"]) for one in json.loads(done.stdout) if one["fits"]}
    table = {(kind, name): said for kind, name, place, said in cells() if place == recipe}
    # A text encoder and a graph make a loss possible by contract, also where the table gives a reason against it.
    assert {cell for cell, said in table.items() if not said.startswith("no: ")} - fitting == set()
    without = {
        cell
        for cell, said in table.items()
        if re.match("no: .*(no fusion|and the dual|no knowledge|a knowledge encoder|without a bank)", said)
    }
    assert not without & fitting


def test_what_fits_and_why_not_is_printed() -> None:
    file = str(BUNDLES / "contrastive" / "configs" / "train.yaml")
    shown = CliRunner().invoke(app, ["plugins", "fusion-modules", "--compatible-with", file]).stdout
    assert "entity_query_decoder" in shown
    assert "the model has no fusion module" in shown
    assert "clip_vit" not in shown


def test_a_configuration_without_a_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "prepare.yaml").write_text("source: {}\n")
    done = CliRunner().invoke(app, ["plugins", "--compatible-with", str(tmp_path / "prepare.yaml")])
    assert done.exit_code != 0
    with pytest.raises(ValueError, match=r"composes no model .* give a train\.yaml"):
        compose([tmp_path / "prepare.yaml"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    store = prepare(tmp_path_factory.mktemp("phantoms"))
    return Data(store, graph_of(store), text_model(store.parent))


FUSIONS: dict[str, dict[str, Any]] = {
    "medklip": {
        "fusion": {
            "_target_": "medvlp_toolkit.fusion_modules.knowledge_co_attention",
            "width": "@width", "layers": 1, "heads": 2, "knowledge": False,
        },
    },
    "arl": {
        "fusion": {
            "_target_": "medvlp_toolkit.fusion_modules.entity_query_decoder",
            "width": "@width", "layers": 1, "heads": 2, "feed_forward": 64,
        },
        "losses::matching::_disabled_": True,
    },
    "kad": {
        "fusion": {
            "_target_": "medvlp_toolkit.fusion_modules.knowledge_co_attention",
            "width": "@width", "layers": 1, "heads": 2, "knowledge": False,
        },
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("recipe", FUSIONS)
def test_a_fusion_module_trains_in_the_other_recipe(recipe: str, data: Data, tmp_path: Path) -> None:
    made = Run(recipe, tmp_path, data, {"image_size": 64, **FUSIONS[recipe]})
    model = made.train().parser.get_parsed_content("pretraining_model")
    assert type(model.model.fusion) is mv.fusion_modules[FUSIONS[recipe]["fusion"]["_target_"].rpartition(".")[2]]
    made.after("evaluate")


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["clip", "siglip", "convirt", "gloria_local"])
def test_a_contrastive_loss_takes_the_place_of_kads(loss: str, data: Data, tmp_path: Path) -> None:
    overlay = {"image_size": 64, "losses::contrast": {"_target_": f"medvlp_toolkit.pretext_losses.{loss}"}}
    model = Run("kad", tmp_path, data, overlay).train().parser.get_parsed_content("pretraining_model")
    assert type(model.losses["contrast"]) is mv.pretext_losses[loss]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe != "kad"])
def test_feature_contrast_takes_the_place_of_clip(recipe: str, data: Data, tmp_path: Path) -> None:
    overlay: dict[str, Any] = {
        "image_size": 64, "losses::contrast": {"_target_": "medvlp_toolkit.pretext_losses.feature_contrast"},
    }  # fmt: skip
    if recipe == "medklip":
        overlay["text_encoder"] = SMALL_TEXT
    made = Run(recipe, tmp_path, data, overlay, between=() if recipe == "contrastive" else ("clip",))
    model = made.train().parser.get_parsed_content("pretraining_model")
    assert type(model.losses["contrast"]).__name__ == "FeatureContrast"
