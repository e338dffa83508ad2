"""Every registered image encoder in every recipe at two image sizes, named once, at training.

The overlay that swaps the encoder is given to ``train.yaml`` alone. Evaluation, probes, features, inference and
``load_bundle`` are given the location of the run or its weights, and find the model there.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medvlp_toolkit as mv
from medvlp_toolkit.evaluation.results import Results
from tests.bundles.running import BUNDLES
from tests.bundles.tiny_encoders import arguments_of, built, image_encoders, masks, reads_volumes
from tests.bundles.whole_run import RECIPES, Data, Run, graph_of, prepare, run, text_model

#: Neither is a recipe's nor a demo's own, and encoders that divide by 16 or 32 can read both.
SIZES = (160, 64)
ENCODERS = image_encoders()
#: Recipes that draw where they looked.
DRAW = ("medklip", "kad")


def cells() -> list[Any]:
    """All of them; those that are not slow pair every encoder with one recipe and one size, one with KAD too."""
    found = []
    for (number, encoder), recipe, size in product(enumerate(ENCODERS), RECIPES, SIZES):
        diagonal = number % 2 == RECIPES.index(recipe) == SIZES.index(size)
        diagonal = diagonal or (encoder, recipe, size) == ("clip_vit", "kad", 64)
        found.append(
            pytest.param(
                (encoder, recipe, size),
                id=f"{recipe}-{encoder}-{size}",
                marks=() if diagonal else pytest.mark.slow,
            )
        )
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    store = prepare(tmp_path_factory.mktemp("phantoms"))
    return Data(store, graph_of(store), text_model(store.parent))


@dataclass(frozen=True, kw_only=True)
class Cell(Run):
    """A run of one encoder at one size."""

    encoder: str
    size: int


@pytest.fixture(scope="module", params=cells())
def cell(request: pytest.FixtureRequest, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Cell:
    encoder, recipe, size = request.param
    overlay: dict[str, Any] = {
        "image_size": size,
        "image_encoder": {"_target_": f"medvlp_toolkit.encoders.{encoder}", **arguments_of(encoder)},
    }
    if recipe == "arl" and not masks(encoder):  # nothing to rebuild where an encoder cannot leave patches out
        overlay["losses::masked_image::_disabled_"] = True
    folder = tmp_path_factory.mktemp(f"{recipe}_{encoder}_{size}")
    made = Cell(recipe, folder, data, overlay, encoder=encoder, size=size)
    made.train()
    return made


@pytest.fixture
def drawing_cell(cell: Cell) -> Cell:
    """A cell of a recipe whose entities query the image: the others score by the image's summary."""
    if cell.recipe not in DRAW:
        pytest.skip(f"{cell.recipe} has no heat maps")
    return cell


@pytest.fixture(scope="module")
def evaluation(cell: Cell) -> Path:
    """Folder of the results of ``evaluate.yaml``."""
    cell.after("evaluate")
    return cell.output / "evaluation"


def probabilities(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_training_leaves_weights_and_pictures_of_attention(cell: Cell) -> None:
    assert {"best.pt", "model.pt", "model.safetensors", "training.json"} <= {
        path.name for path in cell.output.iterdir()
    }
    if cell.recipe in DRAW:
        assert (cell.output / "attention" / "epoch_001.png").is_file()


def test_evaluation_finds_the_model_where_training_left_it(cell: Cell, evaluation: Path) -> None:
    results = Results.read(evaluation)
    if cell.recipe == "arl":
        assert {"masked_token_accuracy", "matching_accuracy"} <= set(results.metrics["pretext"])
        assert ("masked_image" in results.metrics["pretext"]) == masks(cell.encoder)
        assert set(results.metrics["probe"]) == {"trained", "untrained"}
        return
    if cell.recipe == "contrastive":
        assert results.metrics["zero_shot"]["labels"]
        assert results.metrics["zero_shot_by"]["description"]["labels"]
        assert results.metrics["retrieval"]
        return
    assert results.metrics["zero_shot"]["labels"]
    assert results.metrics["grounding"]["groups"]["all"]["n"] > 0
    assert results.metrics["laterality"]["attention"]["all"]["n"] > 0
    assert len(list((evaluation / "overlays").glob("*.png"))) > 1
    assert (evaluation / "cases.parquet").is_file()


def test_probes_find_the_model_where_training_left_it(cell: Cell) -> None:
    if cell.recipe != "medklip":
        pytest.skip(f"{cell.recipe} has no probes")
    cell.after("evaluate", "probes")
    assert Results.read(cell.output / "probes").metrics["probes"]


def test_features_find_the_model_where_training_left_it(cell: Cell) -> None:
    cell.after("evaluate", "features")
    features = np.load(cell.output / "features" / "features.npy")
    assert features.shape[0] == 80
    assert np.isfinite(features).all()
    assert features.std(axis=0).max() > 0


def test_inference_finds_the_model_next_to_the_weights(cell: Cell, tmp_path: Path) -> None:
    cell.data.radiograph(tmp_path / "radiograph.png")
    maps = {"save_maps": ["png", "npy"]} if cell.recipe in DRAW else {}
    cell.infer(tmp_path / "radiograph.png", tmp_path / "out", **maps)
    (row,) = probabilities(tmp_path / "out" / "probabilities.csv")
    assert all(0 <= float(value) <= 1 for name, value in row.items() if name != "image")
    if cell.recipe in DRAW:
        folder = tmp_path / "out" / "heat_maps"
        assert len(list(folder.glob("overlay_*.png"))) == 3
        grid = built(cell.encoder, cell.size).grid_size((cell.size, cell.size))
        assert [np.load(path).shape for path in folder.glob("map_*.npy")] == [grid] * 3


def test_a_loaded_bundle_finds_the_model_next_to_the_weights(cell: Cell, tmp_path: Path) -> None:
    cell.data.radiograph(tmp_path / "radiograph.png")
    weights = cell.output / "model.safetensors"
    bundle = mv.load_bundle(BUNDLES / cell.recipe, weights=weights, device="cpu")
    scores = bundle.score(tmp_path / "radiograph.png")
    assert set(scores) == set(bundle.entities)
    if cell.recipe not in DRAW:
        with pytest.raises(ValueError, match="gives no attention"):
            bundle.heat_map(tmp_path / "radiograph.png", bundle.entities[0])
        return
    heat = bundle.heat_map(tmp_path / "radiograph.png", "nodule")
    assert heat.shape == (64, 64)
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    assert heat.max() > 0


def test_one_image_has_one_score_whoever_asks(drawing_cell: Cell, evaluation: Path, tmp_path: Path) -> None:
    """The image transform and its numbers belong to the model as much as its layers do."""
    cell = drawing_cell
    study = cell.data.radiograph(tmp_path / "radiograph.png")
    evaluated = next(row for row in probabilities(evaluation / "probabilities.csv") if row["image"] == study)
    cell.infer(tmp_path / "radiograph.png", tmp_path / "out")
    (inferred,) = probabilities(tmp_path / "out" / "probabilities.csv")
    bundle = mv.load_bundle(BUNDLES / cell.recipe, weights=cell.output / "model.pt", device="cpu")
    loaded = bundle.score(tmp_path / "radiograph.png")
    assert set(loaded) == set(inferred) - {"image"}
    for entity, score in loaded.items():
        assert float(inferred[entity]) == pytest.approx(score, abs=1e-3)
        assert float(evaluated[entity]) == pytest.approx(score, abs=1e-3)


VOLUMES = ("demo", "volume", "volume_demo")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a store of 40 synthetic volumes of 24 voxels a side, and the table of their boxes."""
    folder = tmp_path_factory.mktemp("volumes")
    short = {
        "dataset_dir": str(folder / "store"), "volumes_dir": str(folder / "files"), "volumes": 40, "workers": 0,
    }  # fmt: skip
    run("medklip", ["prepare", *VOLUMES], "train", output_dir=str(folder), **short)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("side", [24, 16])
@pytest.mark.parametrize("encoder", [name for name in ENCODERS if reads_volumes(name)])
def test_encoders_that_read_volumes_run_through_on_volumes(
    encoder: str, side: int, volumes: Path, tmp_path: Path
) -> None:
    size = [side] * 3
    part = {"_target_": f"medvlp_toolkit.encoders.{encoder}", **arguments_of(encoder), "spatial_dims": 3}
    made = Run(
        "medklip", tmp_path, Data(volumes / "store", volumes / "none"), {"image_size": size, "image_encoder": part},
        between=VOLUMES[1:],
    )  # fmt: skip
    made.train(batch_size=8)
    assert (made.output / "attention" / "epoch_001.png").is_file()
    made.after("evaluate", volume_boxes=str(volumes / "files" / "boxes.csv"))
    results = Results.read(made.output / "evaluation")
    assert results.metrics["grounding"]["groups"]["all"]["n"] > 0
    assert list((made.output / "evaluation" / "overlays").glob("map_*.nii.gz"))
    made.after("evaluate", "features")
    assert len(np.load(made.output / "features" / "features.npy")) == 40
    scan = next((volumes / "files" / "volumes").glob("*.nii.gz"))
    made.infer(scan, tmp_path / "out", save_maps=["png", "npy"])
    maps = list((tmp_path / "out" / "heat_maps").glob("map_*.npy"))
    assert [np.load(path).shape for path in maps] == [built(encoder, size, spatial_dims=3).grid_size(size)] * 3
    bundle = mv.load_bundle(BUNDLES / "medklip", weights=made.output / "model.pt", device="cpu")
    assert bundle.heat_map(scan, "nodule").shape == (24, 24, 24)


NEWCOMER = """\
image_size: 160
image_encoder:
  _target_: medvlp_toolkit.encoders.clip_vit
  image_size: "@image_size"
"""


@pytest.mark.slow
def test_a_newcomer_swaps_encoder_and_size_by_one_overlay_of_four_lines(data: Data, tmp_path: Path) -> None:
    """As the command line has it, with the encoder at its published size."""
    (tmp_path / "mine.yaml").write_text(NEWCOMER)
    data.radiograph(tmp_path / "radiograph.png")
    configs = BUNDLES / "medklip" / "configs"

    def bundle(*names: object, **options: object) -> None:
        words = ["-m", "monai.bundle", "run", "--config_file", str([str(name) for name in names])]
        words += [f"--{key}={value}" for key, value in options.items()]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]

    short = {"epochs": 1, "batch_size": 16, "dataset_dir": data.store, "output_dir": "run"}
    bundle(configs / "train.yaml", configs / "demo.yaml", tmp_path / "mine.yaml", **short)
    bundle(configs / "evaluate.yaml", output_dir="run")
    bundle(configs / "inference.yaml", images="radiograph.png", weights="run/model.pt", output_dir="out")
    assert Results.read(tmp_path / "run" / "evaluation").metrics["grounding"]["groups"]["all"]["n"] > 0
    assert len(list((tmp_path / "out" / "heat_maps").glob("overlay_*.png"))) == 3
