"""``medvlp import``: a published checkpoint into the bundle's form, and what it refuses."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from seeded_weights import state_dict
from typer.testing import CliRunner, Result

import medvlp_toolkit as mv
from medvlp_toolkit.cli.main import app
from medvlp_toolkit.downstream.pretrained_bundle import PretrainedBundle
from medvlp_toolkit.model.entity_scorer import from_pretraining_model
from medvlp_toolkit.weights.description import Description
from medvlp_toolkit.weights.importing import DescribedEntities
from medvlp_toolkit.weights.trained import TrainedModel
from medvlp_toolkit.weights.weights import load_weights

KEYS = Path(__file__).parents[2] / "golden" / "medklip_resnet18" / "keys.json"


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text model with the width of Bio_ClinicalBERT."""
    from transformers import BertConfig, BertModel

    from medvlp_encoders.vocabulary import wordpiece_tokenizer

    folder = tmp_path_factory.mktemp("text_model")
    tokenizer = wordpiece_tokenizer(["fluid in the pleural space", "it is located at left lung"], 400)
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=768, num_hidden_layers=1, num_attention_heads=8, intermediate_size=64
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as MedKLIP's authors wrote theirs: weights with a prefix, beside the state of the training."""
    weights = {f"module.{key}": value for key, value in state_dict(KEYS).items()}
    path = tmp_path_factory.mktemp("published") / "checkpoint_final.pth"
    torch.save({"model": weights, "optimizer": {"state": {}}, "config": {"epochs": 100}, "epoch": 99}, path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


@pytest.fixture(scope="module")
def imported(published: Path, text_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("bundle") / "models"
    return folder, run("medklip", published, "--out", folder, "--text-model", text_model)


def test_every_entry_of_the_file_is_accounted_for(imported: tuple[Path, Result]) -> None:
    _, result = imported
    assert result.exit_code == 0, result.output
    assert "156 entries used" in result.output
    for name in ("optimizer", "config", "epoch"):
        assert f"not needed: {name} (" in result.output
    assert "made here: model.entity_bank (75 descriptions" in result.output
    assert "--image_encoder::depth 18 --fusion::layers 3" in result.output


def test_the_difference_between_our_descriptions_and_the_published_ones_is_stated(
    imported: tuple[Path, Result],
) -> None:
    assert "descriptions: this toolkit's own" in imported[1].output


def test_both_weight_files_hold_the_network_that_inference_builds(imported: tuple[Path, Result]) -> None:
    folder, _ = imported
    model = mv.checkpoint_importers.medklip(
        state_dict(KEYS), entity_embeddings=torch.zeros(75, 768), position_embeddings=torch.zeros(51, 768)
    )
    network = from_pretraining_model(model)
    for name in ("model.pt", "model.safetensors"):
        load_weights(network, folder / name)
        assert network.entity_bank.std(dim=0).min() > 0  # filled, another vector for every entity
    assert torch.equal(network.head.weight, state_dict(KEYS)["classifier.weight"])


def test_the_pretraining_checkpoint_loads_into_the_pretraining_model(imported: tuple[Path, Result]) -> None:
    folder, _ = imported
    model = mv.checkpoint_importers.medklip(
        state_dict(KEYS), entity_embeddings=torch.zeros(75, 768), position_embeddings=torch.zeros(51, 768)
    )
    load_weights(model, folder / "pretraining.pt", key="model")
    assert torch.equal(model.model.entity_bank, load_file(folder / "model.safetensors")["entity_bank"])


def test_inference_and_fine_tuning_find_the_model_next_to_the_weights(
    imported: tuple[Path, Result], published: Path, tmp_path: Path
) -> None:
    """A smaller model than the bundle's own: nothing says so but ``model.json``."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(imported[0], folder)
    trained = TrainedModel(folder / "model.pt", tmp_path / "no_bundle", running={})
    network = trained.load(trained["network_def"])
    assert len(list(trained["scored_entities"])) == network.entity_bank.shape[0] == 75
    assert trained["image_encoder"].feature_channels[-1] == 256  # ResNet-18
    assert PretrainedBundle("bundles/medklip", checkpoint=folder / "pretraining.pt").model.fusion.width == 256
    run("medklip", published, "--out", folder, "--text-model", "no/such-model")
    assert Description.beside(folder / "model.pt") is not None  # an import that fails leaves what was there


def test_the_record_says_how_the_weights_came_about(imported: tuple[Path, Result], text_model: Path) -> None:
    record = json.loads((imported[0] / "import.json").read_text())
    assert record["checkpoint"]["name"] == "checkpoint_final.pth"
    assert record["described"]["max_length"] == 128
    assert record["described"]["text_model"] == str(text_model)


def test_brought_descriptions_are_read_in_order_whatever_their_keys(tmp_path: Path) -> None:
    ids = list(mv.knowledge_sources.definitions("chest_entities").ids)
    ids[20] = "eumonia"  # the published file misspells a key
    file = tmp_path / "explanations.json"
    file.write_text(json.dumps({key: f"text number {n}" for n, key in enumerate(ids)}))
    texts = DescribedEntities(entities=str(file)).entity_texts()
    assert texts[20] == "text number 20"
    assert texts == [f"text number {n}" for n in range(75)]


def test_descriptions_in_another_order_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ids = list(mv.knowledge_sources.definitions("chest_entities").ids)[::-1]
    file = tmp_path / "reversed.json"
    file.write_text(json.dumps(dict.fromkeys(ids, "a text")))
    DescribedEntities(entities=str(file)).entity_texts()
    assert "read in the order of chest_entities" in caplog.text


def test_too_few_descriptions_are_refused(published: Path, tmp_path: Path) -> None:
    file = tmp_path / "few.json"
    file.write_text(json.dumps({"effusion": "fluid", "edema": "more fluid"}))
    result = run("medklip", published, "--out", tmp_path / "models", "--descriptions", file)
    assert result.exit_code == 2
    assert "has 75 entries, path has 2" in result.output
    assert not (tmp_path / "models").exists()


def test_max_length_changes_the_bank(
    imported: tuple[Path, Result], published: Path, text_model: Path, tmp_path: Path
) -> None:
    run("medklip", published, "--out", tmp_path, "--text-model", text_model, "--max-length", 4)
    short, long = (load_file(folder / "model.safetensors") for folder in (tmp_path, imported[0]))
    assert not torch.equal(short["entity_bank"], long["entity_bank"])
    assert torch.equal(short["head.weight"], long["head.weight"])


def refused(checkpoint: Path, out: Path, message: str) -> None:
    """One message, exit status 2, nothing written, and no text model asked for."""
    result = run("medklip", checkpoint, "--out", out, "--text-model", "no/such-model")
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    assert not out.exists()


def test_truncated_file_is_refused(published: Path, tmp_path: Path) -> None:
    content = published.read_bytes()
    for share in (0.1, 0.5, 0.99):
        short = tmp_path / "short.pth"
        short.write_bytes(content[: int(share * len(content))])
        refused(short, tmp_path / "models", "cannot be read as a checkpoint")


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.pth"
    text.write_text("not a checkpoint\n")
    refused(text, tmp_path / "models", "is no checkpoint")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent.pth", tmp_path / "models", "no checkpoint at")


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"model": {"encoder.weight": torch.zeros(3)}}, other)
    refused(other, tmp_path / "models", "this is not a checkpoint of MedKLIP")


def test_misfit_lists_every_entry(tmp_path: Path) -> None:
    weights = state_dict(KEYS)
    weights["classifier.weight"] = torch.zeros(3, 256)
    weights["queue"] = torch.zeros(2)
    misfit = tmp_path / "misfit.pth"
    torch.save({"model": weights}, misfit)
    refused(misfit, tmp_path / "models", "classifier.weight: shape (3, 256), expected (2, 256)")
    refused(misfit, tmp_path / "models", "queue: no place for it")


def test_pickled_objects_are_never_executed(tmp_path: Path) -> None:
    touched = tmp_path / "executed"

    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (touched,))

    for name, save in (("new.pth", torch.save), ("old.pth", lambda value, path: path.write_bytes(pickle.dumps(value)))):
        file = tmp_path / name
        save({"model": Harmful()}, file)
        refused(file, tmp_path / "models", "Nothing in it was executed")
        assert not touched.exists()
    torch.load(tmp_path / "new.pth", weights_only=False)
    assert touched.exists()  # the file would have done harm


def test_unreachable_text_model_is_reported_in_a_line(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    result = run("medklip", published, "--out", tmp_path / "models", "--text-model", folder)
    assert result.exit_code == 2
    assert "cannot be loaded" in result.output


def test_unknown_importer_names_the_known_ones(published: Path, tmp_path: Path) -> None:
    result = run("medklp", published, "--out", tmp_path / "models")
    assert result.exit_code == 2
    assert "did you mean 'medklip'" in result.output
