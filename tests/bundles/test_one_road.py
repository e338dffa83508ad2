"""One radiograph, one score and one map: from a store, from a file by ``inference.yaml``, and by ``load_bundle``.

The files are of other sides than the store's images, and those than the model's input: each is resized as the store was
prepared, then as the model reads.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

import medvlp_toolkit as mv
from medvlp_toolkit.data.store import PackedStore
from tests.bundles.running import BUNDLES
from tests.bundles.whole_run import Data, Run, run
from tests.medvlp_toolkit.importable.dicom_files import write_radiograph

ENTITY = "nodule"


@dataclass(frozen=True)
class Prepared:
    """Files, by the id that their study has in the store, and a model trained on the store."""

    files: dict[str, Path]
    made: Run

    @property
    def store(self) -> Path:
        return self.made.data.store

    def bundle(self, weights: Path | None = None, **overrides: Any) -> Any:
        weights = weights or self.made.output / "model.pt"
        return mv.load_bundle(BUNDLES / "medklip", weights=weights, device="cpu", overrides=overrides)

    def evaluated(self, results: Path) -> dict[str, dict[str, float]]:
        """Scores from the store, of every study of the test split."""
        self.made.after("evaluate", results_dir=str(results), cases=0, overlays=0, precision="fp32")
        return scores_in(results / "probabilities.csv")


def scores_in(file: Path) -> dict[str, dict[str, float]]:
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {row.pop("image"): {name: float(value) for name, value in row.items()} for row in rows}


def radiographs(folder: Path) -> tuple[Path, dict[str, Path]]:
    """60 phantoms of 72 × 108 pixels as PNG and, every second, as DICOM with white as 0 and a window; their table."""
    folder.mkdir()
    rows, files = [], {}
    source = mv.data_sources.phantom(seed=3, count=60, size=96, fractions={"train": 0.6, "validate": 0.2, "test": 0.2})
    for number, study in enumerate(source):
        picture = np.asarray(Image.fromarray(source.read_image(study)[0]).resize((108, 72)))
        file = folder / (f"{number}.dcm" if number % 2 else f"{number}.png")
        if number % 2:
            values = 3900 - picture.astype(np.uint16) * 12
            window = {"WindowCenter": 2400, "WindowWidth": 2600}
            write_radiograph(file, values, PhotometricInterpretation="MONOCHROME1", **window)
        else:
            Image.fromarray(picture).save(file)
        rows.append([study.id, study.patient_id, file.name, study.split, study.report.text])
        files[study.id] = file
    with (folder / "studies.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "patient_id", "image", "split", "report"])
        writer.writerows(rows)
    return folder / "studies.csv", files


def trained_on_pictures(folder: Path, fit: str) -> Prepared:
    table, files = radiographs(folder / "files")
    store = folder / "store"
    source = {"_target_": "medvlp_toolkit.data_sources.csv", "file": str(table), "report_column": "report"}
    short = {"dataset_dir": str(store), "workers": 0, "stored_size": 80, "prepare::fit": fit}
    run("medklip", ["prepare", "demo"], "train", source=source, output_dir=str(folder), **short)
    made = Run("medklip", folder, Data(store, folder / "none"), {"image_size": 64})
    made.train()
    return Prepared(files, made)


@pytest.fixture(scope="module")
def stretched(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return trained_on_pictures(tmp_path_factory.mktemp("stretched"), "stretch")


@pytest.fixture(scope="module")
def cropped(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return trained_on_pictures(tmp_path_factory.mktemp("cropped"), "crop")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """40 synthetic volumes of 24 voxels of 16 mm, stored as 20 voxels of 18 mm, turned and cut to a window."""
    folder = tmp_path_factory.mktemp("volumes")
    overlays, store = ("demo", "volume", "volume_demo"), folder / "store"
    short = {
        "dataset_dir": str(store), "volumes_dir": str(folder / "files"), "volumes": 40, "workers": 0,
        "source::file": f"$write_volumes('{folder / 'files'}', 40, 24, 5)",
        "stored_size": [20, 20, 20], "spacing": [18, 18, 18], "stored_window": [-900, 300],
        "prepare::orientation": "LPS",
    }  # fmt: skip
    run("medklip", ["prepare", *overlays], "train", output_dir=str(folder), **short)
    overlay = {"image_size": [16, 16, 16]}
    made = Run("medklip", folder, Data(store, folder / "none"), overlay, between=overlays[1:])
    made.train(batch_size=8)
    test = PackedStore.open(store).rows("test")
    names = PackedStore.open(store).image_ids(test)
    return Prepared({name: folder / "files" / "volumes" / f"{name}.nii.gz" for name in names}, made)


@pytest.fixture(params=["stretched", "cropped", "volumes"])
def prepared(request: pytest.FixtureRequest) -> Prepared:
    made: Prepared = request.getfixturevalue(request.param)
    return made


def assert_equal(given: dict[str, float], expected: dict[str, float]) -> None:
    assert set(given) == set(expected)
    assert list(given.values()) == pytest.approx([expected[name] for name in given], abs=1e-6)


def test_a_file_has_the_scores_that_its_study_has_in_the_store(prepared: Prepared, tmp_path: Path) -> None:
    evaluated = prepared.evaluated(tmp_path / "results")
    bundle = prepared.bundle()
    kinds = set()
    for name, expected in evaluated.items():
        file = prepared.files[name]
        if (kind := file.suffix) in kinds:
            continue
        kinds.add(kind)
        prepared.made.infer(file, tmp_path / f"out{kind}", heat_maps=0)
        (inferred,) = scores_in(tmp_path / f"out{kind}" / "probabilities.csv").values()
        assert_equal(inferred, expected)
        assert_equal(bundle.score(file), expected)
    assert kinds in ({".png", ".dcm"}, {".gz"})


def test_a_loaded_bundle_gives_the_map_that_inference_writes(prepared: Prepared, tmp_path: Path) -> None:
    bundle = prepared.bundle()
    for file in {file.suffix: file for file in prepared.files.values()}.values():
        out = tmp_path / file.suffix
        prepared.made.infer(file, out, heat_maps_of=[ENTITY], save_maps="nifti")
        written = nibabel.load(out / "heat_maps" / f"map_001_{ENTITY}.nii.gz")
        values, heat = np.asarray(written.dataobj), bundle.heat_map(file, ENTITY)
        if heat.ndim == 2:
            assert heat.shape == (72, 108)
            values = values[:, 0, :].T
        else:
            np.testing.assert_allclose(written.affine, nibabel.load(file).affine, atol=1e-4)
        assert heat.max() > 0
        np.testing.assert_allclose(heat, values, rtol=1e-5, atol=1e-7)  # networks round otherwise in another batch


def test_without_the_stores_format_files_are_read_at_the_models_size_and_that_is_said(
    stretched: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model.pt", "model.json"):
        shutil.copy(stretched.made.output / name, tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    assert described["images"].pop("shape") == [1, 80, 80]
    (tmp_path / "model.json").write_text(json.dumps({**described, "images": None}))
    name, file = next((name, file) for name, file in stretched.files.items() if file.suffix == ".png")
    expected = stretched.bundle().score(file)

    old = stretched.bundle(tmp_path / "model.pt")
    assert old._read(file)["image"].shape == (1, 1, 64, 64)
    assert list(old.score(file).values()) != pytest.approx(list(expected.values()), abs=1e-6)
    again = stretched.bundle(tmp_path / "model.pt", stored_format=str(stretched.store))
    assert_equal(again.score(file), expected)

    capsys.readouterr()
    stretched.made.infer(file, tmp_path / "out", weights=str(tmp_path / "model.pt"), heat_maps=0)
    assert "".join(capsys.readouterr()).count("does not say how its images were stored") == 1


def test_another_spacing_than_the_stores_is_refused_in_one_line(volumes: Prepared) -> None:
    with pytest.raises(ValueError, match=r"spacing is \[4, 4, 4\] here, and the stored volumes have \[18\.0, 18\.0"):
        volumes.bundle(spacing=[4, 4, 4]).score(next(iter(volumes.files.values())))


def test_a_run_that_writes_fewer_maps_leaves_none_of_an_earlier_one(stretched: Prepared, tmp_path: Path) -> None:
    file = next(iter(stretched.files.values()))
    stretched.made.infer(file, tmp_path, save_maps=["png", "npy", "nifti"])
    assert len(list((tmp_path / "heat_maps").iterdir())) == 3 * 3 + 2
    stretched.made.infer(file, tmp_path, heat_maps=0)
    assert list((tmp_path / "heat_maps").iterdir()) == []
