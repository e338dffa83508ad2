"""``medvlp import kad``: a published checkpoint becomes what the bundle's configurations read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from seeded_weights import state_dict
from typer.testing import CliRunner, Result

import medvlp_toolkit as mv
from medvlp_encoders.vocabulary import wordpiece_tokenizer
from medvlp_kad.queries import PUBLISHED
from medvlp_toolkit.cli.main import app
from tests.bundles.running import BUNDLES
from tests.bundles.whole_run import run

KEYS = Path(__file__).parents[2] / "golden" / "kad_resnet18" / "keys.json"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of fewer words than the checkpoint's 300."""
    folder = tmp_path_factory.mktemp("vocabulary")
    wordpiece_tokenizer(list(PUBLISHED.values()), 200).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as KAD's authors wrote theirs: three state dicts beside the state of the training."""
    parts: dict[str, dict[str, torch.Tensor]] = {"image_encoder": {}, "text_encoder": {}, "model": {}}
    for key, value in state_dict(KEYS).items():
        part, _, name = key.partition(".")
        parts[part][f"module.{name}"] = value
    path = tmp_path_factory.mktemp("published") / "best_valid.pt"
    torch.save({**parts, "optimizer": {"state": {}}, "config": {"epochs": 100}, "epoch": 99}, path)
    return path


@pytest.fixture(scope="module")
def imported(published: Path, vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("bundle") / "models"
    arguments = ["import", "kad", published, "--out", folder, "--text-model", vocabulary]
    return folder, CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_every_entry_of_the_file_is_accounted_for(imported: tuple[Path, Result]) -> None:
    _, result = imported
    assert result.exit_code == 0, result.output
    for name in ("optimizer", "config", "epoch"):
        assert f"not needed: {name} (" in result.output
    assert "made here: model.entity_ids (41 names, tokenised)" in result.output
    for file in ("model.pt", "model.safetensors", "pretraining.pt", "model.json"):
        assert f"{file}\n" in result.output


def test_the_bundle_scores_and_draws_with_the_imported_weights(
    imported: tuple[Path, Result], vocabulary: Path, tmp_path: Path
) -> None:
    folder, _ = imported
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 70), dtype=np.uint8)).save(tmp_path / "image.png")
    bundle = mv.load_bundle(BUNDLES / "kad", weights=folder / "model.pt", device="cpu")
    scores = bundle.score(tmp_path / "image.png")
    assert tuple(scores) == tuple(PUBLISHED)
    assert bundle.heat_map(tmp_path / "image.png", "effusion").shape == (90, 70)
    where = {"images": str(tmp_path / "image.png"), "weights": str(folder / "model.pt")}
    run("kad", ["inference"], "infer", output_dir=str(tmp_path / "out"), **where)
    with (tmp_path / "out" / "probabilities.csv").open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["effusion"]) == pytest.approx(scores["effusion"], abs=1e-3)


def test_a_vocabulary_of_another_text_model_is_refused_in_one_line(published: Path, tmp_path: Path) -> None:
    words = [f"{a}{b}{c}" for a in "abcdefgh" for b in "abcdefgh" for c in "abcdefgh"]
    wordpiece_tokenizer(words, 600).save_pretrained(tmp_path / "other")
    arguments = ["import", "kad", published, "--out", tmp_path / "models", "--text-model", tmp_path / "other"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code != 0
    assert "knows 300 words" in str(result.exception) + result.output
    assert not (tmp_path / "models").exists()
