"""The MedKLIP bundle, from raw synthetic phantoms to heat maps, as a user runs it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.errors import user_message
from medvlp_toolkit.evaluation.results.results import Results
from tests.bundles.running import CONFIGS, demo_overrides, make_workflow, run_bundle


def test_training_leaves_checkpoints_weights_and_a_log(demo_run: Path) -> None:
    names = {path.name for path in demo_run.iterdir()}
    assert {
        "best.pt",
        "checkpoint_epoch=2.pt",
        "model.pt",
        "model.safetensors",
        "training.json",
        "tensorboard",
    } <= names
    assert json.loads((demo_run / "training.json").read_text())["epoch"] == 2


def test_checkpoints_are_read_without_running_anything_in_them(demo_run: Path) -> None:
    state = torch.load(demo_run / "checkpoint_epoch=2.pt", weights_only=True)
    kept = ("configuration", "store", "model", "optimizer", "lr_scheduler", "trainer", "step", "best", "early_stop")
    assert set(state) == {*kept, "random"}
    assert all(isinstance(value, torch.Tensor) for value in state["random"].values())


def test_evaluation_scores_grounds_and_draws(
    demo_run: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = demo_overrides(demo_run, results_dir=str(elsewhere / "results"), grid=[8, 8])
    run_bundle("evaluate", "demo", workflow_type="infer", **overrides)
    results = Results.read(elsewhere / "results")
    metrics = results.metrics
    assert set(metrics["zero_shot"]["labels"]) == {
        "effusion", "pneumothorax", "consolidation", "nodule", "cardiomegaly", "atelectasis", "pacemaker",
    }  # fmt: skip
    assert set(metrics["zero_shot_held_out"]["labels"]) == {"edema", "catheter"}
    assert metrics["grounding"]["groups"]["focal"]["n"] > 0
    assert metrics["laterality"]["position scores"]["all"]["n"] > 0
    assert metrics["seconds"]["training"] > 0
    assert len(list((elsewhere / "results" / "overlays").glob("*.png"))) > 1
    printed = capsys.readouterr().out
    assert "never trained on, scored by description alone" in printed
    assert "metrics.json" in printed


def test_probabilities_are_labelled_by_image(demo_run: Path, elsewhere: Path) -> None:
    run_bundle(
        "evaluate", "demo", workflow_type="infer", **demo_overrides(demo_run, results_dir="results", grid=[8, 8])
    )
    rows = list(csv.DictReader((elsewhere / "results" / "probabilities.csv").open()))
    store = PackedStore.open(demo_run / "store")
    ids = store.studies.column("study_id").to_pylist()
    assert [row["image"] for row in rows] == [ids[i] for i in store.rows("test")]
    assert all(0 <= float(rows[0][name]) <= 1 for name in ("effusion", "nodule", "edema"))


def test_resume_continues_where_the_run_was_cut_off(demo_run: Path, tmp_path: Path) -> None:
    straight = tmp_path / "straight"
    run_bundle("train", "demo", **demo_overrides(demo_run, output_dir=str(straight), epochs=3))
    cut = tmp_path / "cut"
    schedule = {"schedule::total_steps": 24, "schedule::warmup_steps": 1}
    run_bundle("train", "demo", **demo_overrides(demo_run, output_dir=str(cut), epochs=1, **schedule))
    run_bundle("train", "demo", **demo_overrides(demo_run, output_dir=str(straight), epochs=3, **schedule))
    resumed = run_bundle(
        "train", "demo", "resume", **demo_overrides(demo_run, output_dir=str(cut), epochs=3, **schedule)
    )
    assert resumed.trainer.state.epoch == 3
    one, other = (
        torch.load(folder / "checkpoint_epoch=3.pt", weights_only=True)["model"] for folder in (straight, cut)
    )
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=f"{name} differs after resuming")


def test_resume_without_a_checkpoint_says_so(demo_run: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:
        run_bundle("train", "demo", "resume", **demo_overrides(demo_run, output_dir=str(tmp_path)))
    assert "nothing to resume" in (user_message(caught.value) or "")


@pytest.mark.parametrize(
    ("width", "kept", "message"),
    [(128, 0.5, "is it complete?"), (64, 1.0, "model.fusion.norm.weight: shape (128,), expected (64,)")],
)
def test_resuming_from_a_damaged_or_unfitting_checkpoint_is_one_message(
    width: int, kept: float, message: str, demo_run: Path, tmp_path: Path
) -> None:
    content = (demo_run / "checkpoint_epoch=2.pt").read_bytes()
    (tmp_path / "checkpoint_epoch=2.pt").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(Exception) as caught:
        run_bundle("train", "demo", "resume", **demo_overrides(demo_run, output_dir=str(tmp_path), width=width))
    assert message in (user_message(caught.value) or "")


@pytest.fixture
def dicom(demo_run: Path, tmp_path: Path) -> Path:
    """A synthetic phantom as a DICOM radiograph."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    pixels = np.asarray(PackedStore.open(demo_run / "store").images[0, 0]).astype(np.uint16) * 16
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = tmp_path / "radiograph.dcm"
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.PhotometricInterpretation = "CR", "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 16, 12, 11, 0
    ds.PixelData = pixels.tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


def inference_overrides(demo_run: Path, images: Path) -> dict[str, object]:
    return demo_overrides(demo_run, images=str(images), weights=str(demo_run / "model.pt"), output_dir="out")


def test_one_dicom_radiograph_gives_scores_and_heat_maps(demo_run: Path, dicom: Path, elsewhere: Path) -> None:
    run_bundle("inference", "demo", workflow_type="infer", **inference_overrides(demo_run, dicom))
    rows = list(csv.DictReader((elsewhere / "out" / "probabilities.csv").open()))
    assert len(rows) == 1
    assert len(rows[0]) == 1 + 7
    assert len(list((elsewhere / "out" / "heat_maps").glob("overlay_*.png"))) == 3


def test_an_unreadable_radiograph_among_others_is_left_out(
    demo_run: Path, dicom: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dicom.parent / "broken.dcm").write_bytes(b"no image")
    run_bundle("inference", "demo", workflow_type="infer", **inference_overrides(demo_run, dicom.parent))
    assert len(list(csv.DictReader((elsewhere / "out" / "probabilities.csv").open()))) == 1
    assert "for 1 image; 1 left out" in " ".join(capsys.readouterr().out.split())


def test_features_are_written_per_study(demo_run: Path, elsewhere: Path) -> None:
    run_bundle(
        "evaluate",
        "demo",
        "features",
        workflow_type="infer",
        **demo_overrides(demo_run, features_dir="features", results_dir="results"),
    )
    features = np.load(elsewhere / "features" / "features.npy")
    rows = list(csv.DictReader((elsewhere / "features" / "features.csv").open()))
    assert features.shape == (160, 128)
    assert len(rows) == 160
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("configs", "workflow_type"),
    [
        (("train", "demo"), "train"),
        (("train", "demo", "resume"), "train"),
        (("train", "demo", "multi_gpu_train"), "train"),
        (("evaluate", "demo"), "infer"),
        (("evaluate", "demo", "features"), "infer"),
        (("inference", "demo"), "infer"),
    ],
)
def test_every_property_that_monai_asks_for_is_there(
    configs: tuple[str, ...],
    workflow_type: str,
    demo_run: Path,
    dicom: Path,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: Path,
) -> None:
    overrides = demo_overrides(demo_run)
    if configs[0] == "inference":
        overrides = inference_overrides(demo_run, dicom)
    if "multi_gpu_train" in configs:
        for key, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}.items():
            monkeypatch.setenv(key, value)
    workflow = make_workflow(*configs, workflow_type=workflow_type, **overrides)
    try:
        assert workflow.check_properties() == []
    finally:
        workflow.finalize()


def test_the_published_recipe_has_every_property(demo_run: Path, elsewhere: Path) -> None:
    """train.yaml as it is, its text model a folder made on the spot: hub access is the user's."""
    from transformers import BertConfig, BertModel

    from medvlp_encoders.vocabulary import wordpiece_tokenizer

    folder = elsewhere / "bert"
    tokenizer = wordpiece_tokenizer(["effusion in the left lung"], 200)
    shape = {"hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 12, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    overrides = {
        "dataset_dir": str(demo_run / "store"), "output_dir": "run", "text_model::pretrained": str(folder),
    }  # fmt: skip
    workflow = make_workflow("train", **overrides)
    assert workflow.check_properties() == []
    assert workflow.parser.get_parsed_content("batch_size") == 48
    assert workflow.parser.get_parsed_content("entity_bank").shape == (75, 768)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"dataset_dir": "nowhere"}, "nowhere"),
        ({"fusion::_target_": "medvlp_toolkit.fusion_modules.entity_query_decodr"}, "entity_query_decoder"),
        ({"precision": "fp8"}, "fp32, bf16"),
        ({"image_encoder::depth": 19}, "depth 19"),
        ({"train_split": "trian"}, "trian"),
    ],
)
def test_a_mistake_in_the_configuration_ends_in_one_line(
    overrides: dict[str, object], expected: str, demo_run: Path, elsewhere: Path
) -> None:
    with pytest.raises(Exception) as caught:
        run_bundle("train", "demo", **{**demo_overrides(demo_run, output_dir="run"), **overrides})
    message = user_message(caught.value)
    assert message is not None
    assert expected in message
    assert len(message.splitlines()) <= 2


def test_a_store_without_any_positive_label_trains_without_nan(demo_run: Path, elsewhere: Path) -> None:
    """The published code divides by zero here."""
    workflow = run_bundle(
        "train", "demo", **demo_overrides(demo_run, output_dir="run", epochs=1, excluded_entities="$@trained")
    )
    assert float(workflow.trainer.state.output["loss"]) == 0.0
    assert all(
        torch.isfinite(value).all() for value in workflow.parser.get_parsed_content("network").state_dict().values()
    )


def run_command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_command_line_ends_a_mistake_without_traceback(elsewhere: Path) -> None:
    done = run_command(
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        str(CONFIGS / "train.yaml"),
        "--dataset_dir",
        "nowhere",
        cwd=elsewhere,
    )
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_processes_train_with_the_multi_gpu_overlay(demo_run: Path, elsewhere: Path) -> None:
    configs = [str(CONFIGS / f"{name}.yaml") for name in ("train", "demo", "multi_gpu_train")]
    arguments = [f"--{key}={value}" for key, value in demo_overrides(demo_run, output_dir="run", epochs=1).items()]
    done = run_command(
        "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle", "run",
        "--config_file", str(configs), *arguments, cwd=elsewhere,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (elsewhere / "run" / "checkpoint_epoch=1.pt").exists()


def test_maps_are_written_in_the_space_of_the_radiograph(demo_run: Path, dicom: Path, elsewhere: Path) -> None:
    import nibabel

    overrides = {**inference_overrides(demo_run, dicom), "save_maps": ["nifti", "npy"], "heat_maps_of": ["effusion"]}
    run_bundle("inference", "demo", workflow_type="infer", **overrides)
    folder = elsewhere / "out" / "heat_maps"
    tokens = np.load(folder / "map_001_effusion.npy")
    assert tokens.shape == (8, 8)
    assert tokens.sum() == pytest.approx(1, abs=1e-3)
    image = nibabel.load(folder / "map_001_effusion.nii.gz")
    assert image.shape == (64, 1, 64)
    values = np.asarray(image.dataobj)[:, 0].T  # columns of a radiograph run along the first axis, rows down the third
    looked_at = values[::8, ::8]  # token i of a strided network looks at the first pixel of its cell
    assert np.corrcoef(looked_at.ravel(), tokens.ravel())[0, 1] > 0.98
    assert np.corrcoef(looked_at.T.ravel(), tokens.ravel())[0, 1] < 0.98
    assert next(csv.DictReader((folder / "maps.csv").open()))["image"] == "radiograph.dcm"
    assert not list(folder.glob("*.png"))


def test_maps_of_all_layers_are_the_mean_of_each_layers(demo_run: Path, dicom: Path, elsewhere: Path) -> None:
    def maps(layers: object) -> np.ndarray:
        overrides = {**inference_overrides(demo_run, dicom), "save_maps": "npy", "heat_maps_of": ["nodule"]}
        run_bundle("inference", "demo", workflow_type="infer", attention_layers=layers, **overrides)
        return np.load(elsewhere / "out" / "heat_maps" / "map_001_nodule.npy")

    first, second = maps(0), maps([1])
    assert not np.allclose(first, second)
    np.testing.assert_allclose(maps(None), (first + second) / 2, atol=1e-6)


def test_a_described_disease_gets_a_score_and_a_map(demo_run: Path, dicom: Path, elsewhere: Path) -> None:
    (elsewhere / "my_diseases.yaml").write_text(
        "silicosis: small round nodules in the upper lungs after years of dust\n"
    )
    plain = inference_overrides(demo_run, dicom)
    run_bundle("inference", "demo", workflow_type="infer", **plain)
    before = next(csv.DictReader((elsewhere / "out" / "probabilities.csv").open()))
    asked = {**plain, "entities": "my_diseases.yaml", "heat_maps_of": ["silicosis"]}
    run_bundle("inference", "demo", workflow_type="infer", **asked)
    after = next(csv.DictReader((elsewhere / "out" / "probabilities.csv").open()))
    assert list(after) == [*before, "silicosis"]
    assert 0 < float(after["silicosis"]) < 1
    assert (elsewhere / "out" / "heat_maps" / "overlay_001_silicosis.png").exists()


def test_a_described_disease_that_the_model_has_already_is_refused(
    demo_run: Path, dicom: Path, elsewhere: Path
) -> None:
    (elsewhere / "mine.yaml").write_text("effusion: fluid\n")
    with pytest.raises(Exception) as caught:
        run_bundle(
            "inference", "demo", workflow_type="infer",
            **{**inference_overrides(demo_run, dicom), "entities": "mine.yaml"},
        )  # fmt: skip
    assert "repeat the model's own: effusion" in (user_message(caught.value) or "")


def test_an_unknown_format_of_maps_is_named(demo_run: Path, dicom: Path, elsewhere: Path) -> None:
    with pytest.raises(Exception) as caught:
        run_bundle(
            "inference", "demo", workflow_type="infer", **{**inference_overrides(demo_run, dicom), "save_maps": "tiff"}
        )
    assert "'tiff'; expected any of png, npy, nifti" in (user_message(caught.value) or "")
