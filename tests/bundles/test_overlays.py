"""The engine's overlays of the MedKLIP bundle, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from medvlp_toolkit.weights.weights import read_weights
from tests.bundles.running import CONFIGS, demo_overrides, make_workflow, run_bundle


def launch(folder: Path, overlays: tuple[str, ...], overrides: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """Two processes under torchrun."""
    configs = [str(CONFIGS / f"{name}.yaml") for name in ("train", "demo", *overlays)]
    arguments = [f"--{key}={value}" for key, value in overrides.items()]
    return subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle",
            "run", "--config_file", str(configs), *arguments,
        ],
        cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_a_checkpoint_knows_the_configuration_it_was_made_with(demo_run: Path) -> None:
    state = torch.load(demo_run / "checkpoint_epoch=2.pt", weights_only=True)["configuration"]
    values = json.loads(state["values"])
    assert (values["batch_size"], values["epochs"], values["processes"]) == (16, 2, 1)
    assert values["fusion::layers"] == 2
    assert values["optimizer::lr"] == "@learning_rate"
    assert len(state["sha256"]) == 64


def test_a_changed_batch_size_is_reported_when_a_run_resumes(
    demo_run: Path, elsewhere: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(demo_run / "checkpoint_epoch=2.pt", elsewhere)
    overrides = demo_overrides(demo_run, output_dir=str(elsewhere), epochs=2, batch_size=8, attention_images=0)
    run_bundle("train", "demo", "resume", **overrides)
    told = "".join(capfd.readouterr()).partition("the configuration has changed since the checkpoint:")[2]
    assert "\n  batch_size: 16 → 8\n" in told
    assert "processes" not in told


def test_the_average_of_weights_is_validated_kept_and_exported(demo_run: Path, elsewhere: Path) -> None:
    overrides = demo_overrides(demo_run, output_dir="run", epochs=1, attention_images=0)
    workflow = run_bundle("train", "demo", "ema", **overrides, ema_decay=0.9)
    average = workflow.parser.get_parsed_content("ema")
    trained = workflow.parser.get_parsed_content("network").state_dict()
    kept = read_weights(elsewhere / "run" / "best.pt")
    assert int(average.n_averaged) == workflow.trainer.state.iteration
    assert all(torch.equal(value, kept[name]) for name, value in average.module.state_dict().items())
    assert any(not torch.equal(value, kept[name]) for name, value in trained.items())
    exported = read_weights(elsewhere / "run" / "model.pt")
    assert torch.equal(exported["fusion.norm.weight"], kept["model.fusion.norm.weight"])
    state = torch.load(elsewhere / "run" / "checkpoint_epoch=1.pt", weights_only=True)
    assert torch.equal(state["ema"]["module.model.fusion.norm.weight"], kept["model.fusion.norm.weight"])


def test_a_handler_of_ones_own_joins_the_training_and_its_checkpoints(demo_run: Path, elsewhere: Path) -> None:
    own = {"_target_": "medvlp_toolkit.engines.StoreGuard", "store": "$@train::dataset.store"}
    added = {"train::handlers": [own], "training::state": {"reader": "@train::handlers::0"}}
    overrides = demo_overrides(demo_run, output_dir="run", epochs=1, attention_images=0)
    workflow = make_workflow("train", "demo", **overrides, **added)
    assert workflow.check_properties() == []
    workflow.run()
    state = torch.load(elsewhere / "run" / "checkpoint_epoch=1.pt", weights_only=True)
    assert state["reader"] == state["store"]


def test_a_validation_too_small_for_its_metric_leaves_weights_to_evaluate(demo_run: Path, elsewhere: Path) -> None:
    overrides = demo_overrides(demo_run, output_dir="run", epochs=1, attention_images=0, min_positives=1000)
    run_bundle("train", "demo", **overrides)
    last = torch.load(elsewhere / "run" / "checkpoint_epoch=1.pt", weights_only=True)["model"]
    kept = read_weights(elsewhere / "run" / "best.pt")
    assert all(torch.equal(value, last[name]) for name, value in kept.items())


def test_images_on_the_device_and_recomputed_blocks_train_alike(demo_run: Path, elsewhere: Path) -> None:
    overrides = demo_overrides(demo_run, epochs=1, precision="fp32", attention_images=0)
    run_bundle("train", "demo", **{**overrides, "output_dir": "plain"})
    other = {"output_dir": "other", "images": "device", "activation_checkpointing": ["model.fusion.layers.*"]}
    run_bundle("train", "demo", **{**overrides, **other})
    one, two = (
        torch.load(elsewhere / name / "checkpoint_epoch=1.pt", weights_only=True)["model"]
        for name in ("plain", "other")
    )
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, msg=name)


@pytest.mark.slow
def test_a_failing_rank_ends_a_run_of_two_with_one_message(demo_run: Path, elsewhere: Path) -> None:
    """The second process alone is given a setting that makes it fail."""
    broken = "$1 if torch.distributed.get_rank() == 0 else 0"
    overrides = demo_overrides(demo_run, output_dir="run", epochs=1, accumulation_steps=broken)
    done = launch(elsewhere, ("multi_gpu_train",), overrides)
    assert done.returncode != 0
    assert "error: accumulation_steps is 0; expected 1 or more batches per step" in done.stderr


@pytest.mark.slow
def test_a_sharded_training_leaves_whole_checkpoints(demo_run: Path, elsewhere: Path) -> None:
    overrides = demo_overrides(demo_run, output_dir="run", epochs=1, precision="fp32")
    done = launch(elsewhere, ("multi_gpu_train", "fsdp_train"), overrides)
    assert done.returncode == 0, done.stderr[-3000:]
    checkpoint = elsewhere / "run" / "checkpoint_epoch=1.pt"
    state = torch.load(checkpoint, weights_only=True)["model"]
    known = torch.load(demo_run / "checkpoint_epoch=2.pt", weights_only=True)["model"]
    assert {name: value.shape for name, value in state.items()} == {name: value.shape for name, value in known.items()}
    assert not any("DTensor" in type(value).__name__ for value in state.values())
    results = {"results_dir": "results", "checkpoint": str(checkpoint), "grid": [8, 8], "overlays": 0}
    run_bundle("evaluate", "demo", workflow_type="infer", **demo_overrides(demo_run, **results))
    assert json.loads((elsewhere / "results" / "metrics.json").read_text())["zero_shot"]
