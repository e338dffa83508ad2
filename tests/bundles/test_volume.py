"""The same recipe on volumes: from NIfTI files to maps in the space of the input."""

from __future__ import annotations

import csv
from copy import copy
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nibabel.testing import data_path

from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies
from tests.bundles.running import make_workflow, run_bundle

OVERLAYS = ("demo", "volume", "volume_demo")
SIZE = [24, 24, 24]


def overrides(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "dataset_dir": str(folder / "store"),
        "output_dir": str(folder),
        "volumes_dir": str(folder / "files"),
        "stored_size": SIZE,
        "volumes": 40,
        "epochs": 2,
        "batch_size": 8,
        "min_positives": 1,
        **more,
    }


@pytest.fixture(scope="module")
def volume_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-epoch training on 28 synthetic volumes."""
    folder = tmp_path_factory.mktemp("volume")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run_bundle("prepare", *OVERLAYS, **overrides(folder, workers=0))
    run_bundle("train", *OVERLAYS, **overrides(folder))
    torch.set_num_threads(threads)
    return folder


def test_volumes_are_stored_with_their_place_in_space(volume_run: Path) -> None:
    store = PackedStore.open(volume_run / "store")
    assert store.images.shape == (40, 1, *SIZE)
    assert store.images.dtype == np.int16
    files = list(csv.DictReader((volume_run / "files" / "studies.csv").open()))
    original = nibabel.load(volume_run / "files" / files[0]["image"])
    np.testing.assert_allclose(store.array("affines")[0], original.affine)


def test_training_learns_from_reports_of_volumes(volume_run: Path) -> None:
    state = torch.load(volume_run / "checkpoint_epoch=2.pt", weights_only=True)["model"]
    assert state["model.image_encoder.conv1.weight"].ndim == 5
    assert all(bool(torch.isfinite(value).all()) for value in state.values() if value.is_floating_point())
    assert (volume_run / "model.safetensors").exists()


def test_evaluation_grounds_findings_in_three_dimensions(volume_run: Path, elsewhere: Path) -> None:
    run_bundle(
        "evaluate", *OVERLAYS, workflow_type="infer", **overrides(volume_run, results_dir=str(elsewhere / "results"))
    )
    metrics = Results.read(elsewhere / "results").metrics
    boxes = {(row["study_id"], row["label"]) for row in csv.DictReader((volume_run / "files" / "boxes.csv").open())}
    store = PackedStore.open(volume_run / "store")
    tested = set(store.values("study_id", store.rows("test")) or [])
    assert metrics["grounding"]["groups"]["all"]["n"] == sum(study in tested for study, _ in boxes)
    assert 0 < metrics["grounding"]["groups"]["all"]["chance"] < 0.5
    assert metrics["laterality"]["attention"]["all"]["n"] > 0
    drawn = sorted((elsewhere / "results" / "overlays").glob("map_*.nii.gz"))
    assert len(drawn) == min(24, metrics["grounding"]["groups"]["all"]["n"])
    image = nibabel.load(drawn[0])
    assert image.shape == tuple(SIZE)
    np.testing.assert_allclose(image.affine, store.array("affines")[store.rows("test")[0]], atol=1e-4)
    assert (elsewhere / "results" / "overlays" / "overlays.png").exists()


def test_pictures_of_training_outline_what_evaluation_does(volume_run: Path, elsewhere: Path) -> None:
    drawn = make_workflow("train", *OVERLAYS, **overrides(volume_run, output_dir="run"))
    evaluated = make_workflow("evaluate", *OVERLAYS, workflow_type="infer", **overrides(volume_run))
    (pictures,) = drawn.parser.get_parsed_content("validate::handlers")
    studies = evaluated.parser.get_parsed_content("studies")
    dataset = pictures.dataset.replace(splits=["test"])
    shown = replace_dataset(pictures.studies, dataset)
    found = 0
    for row in dataset.rows.tolist():
        for label, entity in studies.labels.items():
            ours, theirs = shown.truth(row, entity), studies.truth(row, label)
            assert (ours is None) == (theirs is None)
            if ours is not None:
                found += 1
                np.testing.assert_array_equal(ours, theirs)
    assert found


def replace_dataset(studies: EvaluatedStudies, dataset: Any) -> EvaluatedStudies:
    """The same studies object, of another split."""
    other = copy(studies)
    other.__dict__.pop("_index_of", None)
    other.dataset = dataset
    return other


def test_inference_returns_maps_on_the_voxels_of_the_input_file(volume_run: Path, elsewhere: Path) -> None:
    source = nibabel.load(next((volume_run / "files" / "volumes").glob("*.nii.gz")))
    turned = nibabel.as_closest_canonical(source).as_reoriented([[1, -1], [2, 1], [0, -1]])
    nibabel.save(turned, elsewhere / "scan.nii.gz")
    run_bundle(
        "inference", *OVERLAYS, workflow_type="infer",
        **overrides(
            volume_run, images="scan.nii.gz", weights=str(volume_run / "model.pt"), output_dir="out",
            heat_maps_of=["nodule"], save_maps=["png", "nifti", "npy"],
        ),
    )  # fmt: skip
    found = nibabel.load(elsewhere / "out" / "heat_maps" / "map_001_nodule.nii.gz")
    assert found.shape == turned.shape
    np.testing.assert_allclose(found.affine, turned.affine, atol=1e-4)
    assert np.load(elsewhere / "out" / "heat_maps" / "map_001_nodule.npy").ndim == 3
    assert (elsewhere / "out" / "heat_maps" / "overlay_001_nodule.png").exists()
    (row,) = csv.DictReader((elsewhere / "out" / "probabilities.csv").open())
    assert row["image"] == "scan.nii.gz"


@pytest.mark.parametrize(
    ("config", "workflow_type"), [("train", "train"), ("evaluate", "infer"), ("inference", "infer")]
)
def test_every_property_that_monai_asks_for_is_there(
    config: str, workflow_type: str, volume_run: Path, elsewhere: Path
) -> None:
    images = next((volume_run / "files" / "volumes").glob("*.nii.gz"))
    asked = {"images": str(images), "weights": str(volume_run / "model.pt")} if config == "inference" else {}
    chosen = overrides(volume_run, **asked)
    assert make_workflow(config, *OVERLAYS, workflow_type=workflow_type, **chosen).check_properties() == []


def test_a_few_steps_on_real_volumes(elsewhere: Path) -> None:
    """Brain MR that nibabel ships: two anatomical volumes, and single volumes of two time series."""
    folder, scans = Path(data_path), []
    for name in ("anatomical.nii", "reoriented_anat_moved.nii"):
        scans.append(str(folder / name))
    for name in ("functional.nii", "example4d.nii.gz"):
        series = nibabel.load(folder / name)
        for frame in range(2):
            path = elsewhere / f"{frame}-{name}"
            nibabel.save(series.slicer[..., frame], path)
            scans.append(str(path))
    with (elsewhere / "scans.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "image", "split", "report"])
        for number, path in enumerate(scans):
            report = "There is a nodule." if number % 2 else "No nodule. No effusion."
            writer.writerow([number, path, "validate" if number > 3 else "train", report])
    chosen = {
        "dataset_dir": "store", "output_dir": "run", "stored_size": [32, 40, 24], "window": None,
        "source::file": "scans.csv", "source::label_columns": [], "epochs": 3, "batch_size": 2, "workers": 0,
    }  # fmt: skip
    run_bundle("prepare", *OVERLAYS, **chosen)
    store = PackedStore.open(elsewhere / "store")
    assert len(store) == 6
    original = nibabel.load(folder / "anatomical.nii")
    corners = [affine @ [*(np.array(shape) / 2 - 0.5), 1] for affine, shape in (
        (store.array("affines")[0], (32, 40, 24)), (original.affine, original.shape),
    )]  # fmt: skip
    np.testing.assert_allclose(*corners, atol=1e-3)  # the middle of the volume stays where it was
    workflow = run_bundle("train", *OVERLAYS, **chosen)
    assert workflow.trainer.state.iteration == 6
    assert bool(torch.isfinite(workflow.trainer.state.output["loss"]))
    run_bundle(
        "inference", *OVERLAYS, workflow_type="infer",
        **{**chosen, "images": scans[0], "weights": "run/model.pt", "output_dir": "out", "heat_maps_of": ["nodule"]},
    )  # fmt: skip
    found = nibabel.load(elsewhere / "out" / "heat_maps" / "map_001_nodule.nii.gz")
    assert found.shape == original.shape
    np.testing.assert_allclose(found.affine, original.affine, atol=1e-4)
