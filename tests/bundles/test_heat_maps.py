"""Heat maps of MedKLIP wherever they appear, with encoders and fusion modules of other kinds than its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser
from PIL import Image

import medvlp_toolkit as mv
from medvlp_toolkit.data.store import PackedStore
from medvlp_toolkit.errors import user_message
from medvlp_toolkit.evaluation.results import Results
from tests.bundles.planted import PLACE
from tests.bundles.running import BUNDLES, demo_overrides, run_bundle

CLIP = {
    "_target_": "medvlp_toolkit.encoders.clip_vit",
    "image_size": "@image_size", "patch_size": 16, "width": 32, "layers": 2, "heads": 2, "in_channels": 1,
}  # fmt: skip
PLANTED = {"_target_": "tests.bundles.planted.PlantedAttention", "width": "@width"}
NONE = {"_target_": "tests.bundles.foreign_parts.FusionWithoutAttention", "width": "@width"}


def test_normal_and_residual_entities_are_drawn_only_when_named(tmp_path: Path) -> None:
    """Whichever these are: the kinds are those of the knowledge that was trained with."""
    source = tmp_path / "entities.yaml"
    entries = {"clean": "normal", "effusion": "finding", "rest": "residual", "tube": "device"}
    source.write_text("".join(f"{id_}: {{definition: of {id_}, kind: {kind}}}\n" for id_, kind in entries.items()))
    for path, expected in (
        ("chest_entities", {"normal", "clear", "tail_abnorm_obs"}),
        (str(source), {"clean", "rest"}),
    ):
        concepts = mv.knowledge_sources.definitions(path=path).concepts
        parser = ConfigParser()
        parser.read_config(str(BUNDLES / "medklip" / "configs" / "inference.yaml"))
        kinds = [concept.kind for concept in concepts]
        parser["as_trained"] = {"entity_kinds": kinds, "scored_entities": [concept.id for concept in concepts]}
        drawn = set(parser.get_parsed_content("not_drawn"))
        assert expected <= drawn
        assert drawn == {concept.id for concept in concepts if concept.kind in ("normal", "residual")}


def overrides(demo_run: Path, folder: Path, **parts: Any) -> dict[str, Any]:
    short = {"epochs": 1, "attention_images": 2, "output_dir": str(folder)}
    return {**demo_overrides(demo_run), **short, **parts}


def radiograph(demo_run: Path, folder: Path) -> Path:
    path = folder / "radiograph.png"
    Image.fromarray(np.asarray(PackedStore.open(demo_run / "store").images[0, 0])).save(path)
    return path


def evaluation(demo_run: Path, folder: Path, results: Path) -> dict[str, Any]:
    """The model is what training left in the folder."""
    return {"dataset_dir": str(demo_run / "store"), "output_dir": str(folder), "results_dir": str(results)}


def inference(demo_run: Path, folder: Path) -> dict[str, Any]:
    where = {"images": str(radiograph(demo_run, folder)), "weights": str(folder / "model.pt")}
    return {**where, "output_dir": str(folder / "out"), "save_maps": "npy"}


def test_attention_of_an_encoder_with_a_class_token_is_drawn_where_it_looked(demo_run: Path, tmp_path: Path) -> None:
    run_bundle("train", "demo", **overrides(demo_run, tmp_path, image_encoder=CLIP, fusion=PLANTED))
    assert (tmp_path / "attention" / "epoch_001.png").is_file()

    results = tmp_path / "results"
    run_bundle("evaluate", "probes", **evaluation(demo_run, tmp_path, results))
    metrics = Results.read(results).metrics
    sides = metrics["laterality"]["attention"]["all"]
    lefts = metrics["probes"]["laterality"]["mirrored image, attention"]
    assert sides["n"] > 0
    # Everything is taken to be on the left, on mirrored images too: right for those of one side, wrong for the other.
    assert sides["correct"] + lefts["correct"] == sides["n"]
    assert metrics["grounding"]["groups"]["all"]["n"] > 0
    cases = Results.read(results).cases
    assert cases is not None
    for case in cases.to_pylist():
        heat = np.reshape(case["heat"], case["grid"])
        assert np.unravel_index(heat.argmax(), heat.shape) == PLACE
        assert heat.sum() == pytest.approx(1)

    run_bundle("inference", workflow_type="infer", **inference(demo_run, tmp_path))
    maps = [np.load(path) for path in (tmp_path / "out" / "heat_maps").glob("map_*.npy")]
    assert len(maps) == 3
    assert all(heat[PLACE] == pytest.approx(1) for heat in maps)

    bundle = mv.load_bundle(BUNDLES / "medklip", weights=tmp_path / "model.pt", device="cpu")
    pixels = bundle.heat_map(tmp_path / "radiograph.png", "nodule")
    row, column = np.unravel_index(pixels.argmax(), pixels.shape)
    assert (row // 16, column // 16) == PLACE


def test_without_attention_maps_are_left_out_with_one_line(
    demo_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "are left out: FusionWithoutAttention gives no attention"
    run_bundle("train", "demo", **overrides(demo_run, tmp_path, fusion=NONE, epochs=2))
    shown = "".join(capsys.readouterr())
    assert shown.count(f"attention pictures {reason}") == 1
    assert not (tmp_path / "attention").exists()
    assert (tmp_path / "model.pt").is_file()

    results = tmp_path / "results"
    run_bundle("evaluate", **evaluation(demo_run, tmp_path, results))
    assert "".join(capsys.readouterr()).count(reason) == 1
    metrics = Results.read(results).metrics
    assert "zero_shot" in metrics
    assert "grounding" not in metrics
    assert set(metrics["laterality"]) == {"position scores"}
    assert not (results / "overlays").exists()

    run_bundle("inference", workflow_type="infer", **inference(demo_run, tmp_path))
    assert "".join(capsys.readouterr()).count(f"heat maps {reason}") == 1
    assert (tmp_path / "out" / "probabilities.csv").is_file()
    assert not (tmp_path / "out" / "heat_maps").exists()


def test_a_picture_that_cannot_be_drawn_does_not_end_a_training(
    demo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on the device")

    monkeypatch.setattr("medvlp_toolkit.evaluation.zero_shot.attention_images.write_contact_sheet", fail)
    run_bundle("train", "demo", **overrides(demo_run, tmp_path, epochs=2))
    assert {"best.pt", "model.pt"} <= {path.name for path in tmp_path.iterdir()}
    expected = "attention images are disabled from here on: OSError: no space left on the device"
    assert "".join(capsys.readouterr()).count(expected) == 1


def test_an_evaluation_grounds_the_layers_that_were_asked_for(demo_run: Path, tmp_path: Path) -> None:
    def grounding(layers: object) -> Any:
        asked = {"attention_layers": layers, "overlays": 0, "cases": 0}
        run_bundle("evaluate", **evaluation(demo_run, demo_run, tmp_path), **asked)
        return Results.read(tmp_path).metrics["grounding"]["groups"]["all"]["contrast_to_noise"]

    first, second, mean = grounding(0), grounding([1]), grounding(None)
    assert len({first, second, mean}) == 3


def test_a_grid_that_does_not_fit_the_tokens_is_refused_in_one_line(demo_run: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:
        run_bundle("evaluate", **evaluation(demo_run, demo_run, tmp_path), grid=[7, 7])
    assert user_message(caught.value) == (
        "grid is 7×7, and the image encoder gives 64 patches on a grid of 8×8; set grid to null to use the encoder's"
    )
