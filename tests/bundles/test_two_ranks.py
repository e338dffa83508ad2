"""Two processes compute what one computes with the joined batch, for every recipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles.running import BUNDLES, CONFIGS, demo_overrides, run_bundle
from tests.bundles.whole_run import text_model


def compare(folder: Path, batch_size: int, configs: list[Path], overrides: dict[str, object]) -> dict[str, object]:
    program = Path(__file__).with_name("two_ranks.py")
    told = [str(folder), str(batch_size), json.dumps([str(path) for path in configs]), json.dumps(overrides)]
    ran = subprocess.run(
        [sys.executable, str(program), *told],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    report: dict[str, object] = json.loads(ran.stdout.splitlines()[-1])
    return report


def assert_equal(report: dict[str, object]) -> None:
    assert report["same_studies"]
    assert float(report["loss"]) <= 1e-5  # type: ignore[arg-type]
    # Rounding alone: a contrast's gradient, of differences between cosines, differs by up to 1.1e-5.
    assert float(report["gradient"]) <= 3e-5 * max(1.0, float(report["gradient_scale"]))  # type: ignore[arg-type]
    assert float(report["gradient_scale"]) > 1e-3  # type: ignore[arg-type]


def test_medklip_on_two_ranks_equals_one_with_the_joined_batch(demo_run: Path, tmp_path: Path) -> None:
    overrides = demo_overrides(demo_run, output_dir=str(tmp_path / "run"), precision="fp32")
    report = compare(tmp_path, 4, [CONFIGS / "train.yaml", CONFIGS / "demo.yaml"], overrides)
    assert_equal(report)
    losses = report["losses"]
    assert isinstance(losses, dict)
    assert min(losses[name] for name in ("existence", "position")) > 0


@pytest.fixture(scope="module")
def arl_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a small store and its knowledge graph."""
    folder = tmp_path_factory.mktemp("arl")
    common = {"dataset_dir": str(folder / "store"), "graph_file": str(folder / "graph.safetensors"), "image_size": 48}
    run_bundle("prepare", "demo", bundle="arl", **common, **{"source::count": 160, "workers": 0})
    run_bundle("graph", "demo", bundle="arl", **common, embedding_epochs=1, threshold=1)
    return folder


@pytest.mark.slow
def test_arl_on_two_ranks_equals_one_with_the_joined_batch(arl_data: Path, tmp_path: Path) -> None:
    overrides = {
        "dataset_dir": str(arl_data / "store"),
        "graph_file": str(arl_data / "graph.safetensors"),
        "output_dir": str(tmp_path / "run"),
        "image_size": 48,
        "steps": 4,
        "precision": "fp32",
    }
    configs = [BUNDLES / "arl" / "configs" / f"{name}.yaml" for name in ("train", "demo")]
    report = compare(tmp_path, 4, configs, overrides)
    assert_equal(report)
    assert isinstance(report["losses"], dict)
    assert len(report["losses"]) == 5
    assert min(report["losses"].values()) > 0


@pytest.mark.slow
def test_the_contrast_on_two_ranks_equals_one_with_the_joined_batch(arl_data: Path, tmp_path: Path) -> None:
    overrides = {
        "dataset_dir": str(arl_data / "store"),
        "output_dir": str(tmp_path / "run"),
        "image_size": 48,
        "precision": "fp32",
    }
    configs = [BUNDLES / "contrastive" / "configs" / f"{name}.yaml" for name in ("train", "demo", "gloria")]
    report = compare(tmp_path, 4, configs, overrides)
    assert_equal(report)
    assert isinstance(report["losses"], dict)
    assert report["losses"]["contrast"] > 0


@pytest.mark.slow
def test_kad_on_two_ranks_equals_one_with_the_joined_batch(arl_data: Path, tmp_path: Path) -> None:
    overrides = {
        "dataset_dir": str(arl_data / "store"),
        "output_dir": str(tmp_path / "run"),
        "knowledge_dir": str(text_model(tmp_path, epochs=1)),
        "image_size": 48,
        "precision": "fp32",
    }
    configs = [BUNDLES / "kad" / "configs" / f"{name}.yaml" for name in ("train", "demo")]
    report = compare(tmp_path, 4, configs, overrides)
    assert_equal(report)
    losses = report["losses"]
    assert isinstance(losses, dict)
    assert min(losses[name] for name in ("existence", "existence_in_text", "contrast")) > 0
