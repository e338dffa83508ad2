"""A trained model as later steps get it: what they may repeat, what they may change, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp_toolkit.errors import user_message
from medvlp_toolkit.weights.description import FILE
from medvlp_toolkit.weights.trained import TrainedModel
from tests.medvlp_toolkit.weights.small_training import bundle, composed, trained

ENCODER = {
    "_target_": "medvlp_toolkit.encoders.clip_vit", "image_size": "@image_size", "patch_size": "@patch",
    "width": "@width", "layers": 1, "heads": 2, "in_channels": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("training"))


@pytest.fixture
def weights(training: Path, tmp_path: Path) -> Path:
    """A copy of the weights with their description."""
    shutil.copytree(training.parent, tmp_path / "run")
    return tmp_path / "run" / training.name


def test_weights_that_were_copied_with_their_description_are_enough(weights: Path, tmp_path: Path) -> None:
    shutil.copytree(weights.parent, tmp_path / "copy")
    shutil.rmtree(weights.parent)
    model = TrainedModel(tmp_path / "copy" / "best.pt", running={})
    network = model.load(model["network_def"], key="model")
    assert torch.equal(network["bank"][0], torch.ones(2, 8))
    assert model["scored_entities"] == ["effusion", "edema"]


@pytest.mark.parametrize(
    "repeated",
    [
        {"width": 8, "image_size": 16, "names": ["effusion", "edema"]},
        {"image_encoder": ENCODER},
        {"image_encoder": {"layers": 1}},
        {"head": {"_target_": "torch.nn.Linear", "in_features": 8, "out_features": 2}},
        {"learning_rate": 3.0, "batch_size": 4},
        {"width": "$@as_trained['width']"},
        {"network_def": "$@as_trained['network_def']"},
    ],
    ids=lambda given: ", ".join(given),
)
def test_what_training_said_may_be_repeated(repeated: dict[str, Any], weights: Path) -> None:
    assert TrainedModel(weights, running=repeated)["head"].out_features == 2


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"width": 12}, ("width is 12", "trained with 8")),
        ({"image_size": 32}, ("image_size is 32", "trained with 16")),
        ({"names": ["effusion", "nodule"]}, ("names::1 is 'nodule'", "trained with 'edema'")),
        ({"names": ["effusion", "edema", "nodule"]}, ("names::2 is 'nodule'", "trained with absent")),
        ({"image_encoder": {**ENCODER, "layers": 2}}, ("image_encoder::layers is 2", "trained with 1")),
        ({"image_encoder": {"layers": 2}}, ("image_encoder::layers is 2", "trained with 1")),
        ({"image_encoder": {"_target_": "medvlp_toolkit.encoders.resnet"}}, ("encoders.resnet'", "encoders.clip_vit'")),
        ({"patch": 8}, ("patch is 8", "trained with 4")),  # an argument alone of a part that is rebuilt
        ({"head": {"_target_": "torch.nn.Linear", "out_features": 3}}, ("head::in_features is absent", "with 8")),
        ({"evaluation_transform": {"mean": [0.1]}}, ("evaluation_transform::mean::0 is 0.1", "trained with 0.5")),
    ],
)
def test_what_contradicts_training_is_one_line_that_names_both(
    given: dict[str, Any], named: tuple[str, str], weights: Path
) -> None:
    with pytest.raises(ValueError, match="remove") as caught:
        TrainedModel(weights, running=given)
    message = user_message(caught.value)
    assert message is not None
    assert "\n" not in message
    assert all(part in message for part in (*named, str(weights), FILE))


def test_the_running_configuration_is_compared_unless_another_is_given(weights: Path) -> None:
    from monai.bundle import ConfigParser

    part = {"_target_": "medvlp_toolkit.weights.TrainedModel", "weights": str(weights)}
    with pytest.raises(RuntimeError) as caught:
        ConfigParser({"width": 12, "as_trained": part}).get_parsed_content("as_trained")
    assert "width is 12" in (user_message(caught.value) or "")
    assert ConfigParser({"width": 12, "as_trained": {**part, "own": ["width"]}}).get_parsed_content("as_trained")
    assert ConfigParser({"width": 12, "as_trained": {**part, "running": {}}}).get_parsed_content("as_trained")


def test_places_may_differ_and_are_read_where_something_is_still_read_from_files(weights: Path, tmp_path: Path) -> None:
    elsewhere = bundle(tmp_path / "elsewhere") / "data"
    model = TrainedModel(weights, running={"dataset_dir": str(elsewhere), "bundle_root": "x"})
    assert model["text_encoder"].tokenizer is not None  # from the description, not from the corpus
    # What is asked for, and was no part of the model, is read from where the files are now.
    moved = TrainedModel(weights, overrides={"dataset_dir": str(elsewhere)}, running={})
    assert moved["texts"] == composed(elsewhere.parent).get_parsed_content("texts")


def test_what_the_weights_carry_is_taken_from_them_and_not_compared(weights: Path) -> None:
    """Ids behind an overridden one belong to another data set."""
    carried = torch.nn.Linear(8, 5)
    running = {"names": ["of", "another", "data", "set"]}
    with pytest.raises(ValueError, match="names"):
        TrainedModel(weights, running=running)
    model = TrainedModel(
        weights, running=running, overrides={"head": carried, "bank": torch.ones(5, 8), "scored_entities": ["a"]}
    )
    assert model["network_def"]["head"] is carried


def test_a_variation_changes_what_follows_from_it_alone(weights: Path) -> None:
    model = TrainedModel(weights, running={})
    larger = model.varied({"image_size": 32, "an_id_it_was_trained_without": 1})
    assert larger["image_encoder"].rows == 8
    assert model["image_encoder"].rows == 4
    assert "an_id_it_was_trained_without" not in larger


def test_arguments_are_set_where_a_part_takes_them(tmp_path: Path) -> None:
    vit = TrainedModel(trained(tmp_path / "vit"), running={})
    assert vit.varied(where_taken={"image_encoder::last_stage": 4})["image_encoder"].rows == 4
    resnet = {"_target_": "medvlp_toolkit.encoders.resnet", "depth": 10, "last_stage": 2, "in_channels": 1}
    for widths, stages in (([8, 8, 8, 8], 4), ([8, 8], 2)):
        part = {**resnet, "widths": widths}
        weights = trained(tmp_path / str(stages), image_encoder=part, tokens=1)
        longer = TrainedModel(weights, running={}).varied(where_taken={"image_encoder::last_stage": 4})
        assert len(longer["image_encoder"].feature_channels) == stages + 1


def test_an_id_that_training_lacks_is_one_line_with_those_it_has(weights: Path) -> None:
    model = TrainedModel(weights, running={})
    assert model.get("entity_encoder") is None
    with pytest.raises(ValueError, match=r"has no id 'entity_encoder'.* it has .*image_encoder") as caught:
        model["entity_encoder"]
    assert "\n" not in str(caught.value)


def test_a_model_that_describes_itself_needs_neither_weights_nor_bundle(weights: Path) -> None:
    model = TrainedModel(weights, running={}, overrides={"image_size": 32})
    expected = {name: value.shape for name, value in model["network_def"].state_dict().items()}
    described = model.architecture()
    shutil.rmtree(weights.parent)
    again = TrainedModel(**described)
    assert {name: value.shape for name, value in again["network_def"].state_dict().items()} == expected


# -- weights without a description -----------------------------------------------------------------


@pytest.fixture
def undescribed(tmp_path: Path) -> tuple[Path, Path]:
    """A bundle, and weights of a wider model than it describes."""
    folder = bundle(tmp_path / "bundle")
    network = composed(folder, width=16).get_parsed_content("network_def")
    torch.save({"model": network.state_dict()}, tmp_path / "best.pt")
    return folder, tmp_path / "best.pt"


def test_without_a_description_the_bundle_and_the_running_configuration_say_it(undescribed: tuple[Path, Path]) -> None:
    folder, weights = undescribed
    running = {"width": 16, "dataset_dir": str(folder / "data"), "names": "$@as_trained['names']", "batch_size": 3}
    model = TrainedModel(weights, folder, running=running)
    assert not model.is_described
    model.load(model["network_def"], key="model")
    assert "batch_size" not in model


def test_parts_are_replaced_whole_or_argument_by_argument(undescribed: tuple[Path, Path]) -> None:
    folder, weights = undescribed
    layered = TrainedModel(weights, folder, running={"image_encoder": {"layers": 3}})
    assert layered["image_encoder"].architecture()["layers"] == 3
    own = {"_target_": "medvlp_toolkit.encoders.resnet", "depth": "@my_depth", "in_channels": 1}
    other = TrainedModel(weights, folder, running={"image_encoder": own, "my_depth": 10})
    assert type(other["image_encoder"]).__name__ == "ResNetTokens"


def test_what_building_leaves_out_is_said_by_the_configuration(undescribed: tuple[Path, Path]) -> None:
    folder, weights = undescribed
    left_out = {"text_encoder::corpus": None, "text_encoder::config::vocab_size": 30, "bank": torch.zeros(2, 16)}
    model = TrainedModel(weights, folder, otherwise=left_out, running={})
    assert model["text_encoder"].vocabulary_size == 30
    assert model["bank"].shape == (2, 16)


def test_weights_that_are_not_there_and_unknown_bundles_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights at"):
        TrainedModel(tmp_path / "best.pt", tmp_path, running={})
    with pytest.raises(FileNotFoundError, match="set bundle_root"):
        TrainedModel(None, tmp_path, running={})
    torch.save({}, tmp_path / "best.pt")
    with pytest.raises(FileNotFoundError, match=f"has no {FILE} beside it"):
        TrainedModel(tmp_path / "best.pt", tmp_path, running={})


def test_a_bundle_that_ships_with_the_toolkit_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = TrainedModel("null", "bundles/medklip", running={})
    assert model["image_size"] == 224
    with pytest.raises(ValueError, match="no weights to fill the model from"):
        model.load(torch.nn.Linear(1, 1))
