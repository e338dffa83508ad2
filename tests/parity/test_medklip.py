"""The toolkit's MedKLIP gives the published system's numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import comparison
import medklip
import pytest
import torch

GOLDEN = Path(__file__).parents[1] / "golden"
PROGRAM = Path(medklip.__file__)
RECORDED = {
    "eval.image_tokens",
    "eval.logits",
    "eval.logits_without_attention_maps",
    "train.loss",
    "train.loss_existence",
    "train.loss_position",
    "train.grad_norms",
}


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), "--golden", str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def threads() -> Iterator[None]:
    """The comparison sets torch's number of threads; other tests keep theirs."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_resnet50_outputs_losses_and_gradients_equal_the_published_ones() -> None:
    differences = medklip.compare(GOLDEN / "medklip")
    assert set(differences) >= RECORDED | {f"eval.attention.{layer}" for layer in range(4)}
    assert [name for name in differences if name.startswith("train.grad.")]
    assert comparison.holds(differences), differences


def test_resnet18_program_prints_one_json_line_and_succeeds() -> None:
    ran = run(GOLDEN / "medklip_resnet18")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told.pop("ok") is True
    assert set(told) >= RECORDED | {f"eval.attention.{layer}" for layer in range(3)}
    assert all(isinstance(value, float) for value in told.values())


@pytest.mark.usefixtures("threads")
def test_other_numbers_fail_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    original = GOLDEN / "medklip_resnet18"
    with safe_open(original / "golden.safetensors", "pt") as golden:
        recorded = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118 - no mapping
        metadata = golden.metadata()
    recorded["eval.logits"] = recorded["eval.logits"] + 1e-3
    save_file(recorded, tmp_path / "golden.safetensors", metadata)
    shutil.copy(original / "keys.json", tmp_path)
    monkeypatch.setattr(sys, "argv", ["medklip.py", "--golden", str(tmp_path)])
    assert medklip.main() == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ok"] is False


def test_missing_reference_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["medklip.py", "--golden", str(tmp_path)])
    assert medklip.main() == 2
    assert capsys.readouterr().err == f"{tmp_path} lacks keys.json, golden.safetensors\n"


def test_tolerances_are_those_the_documentation_states() -> None:
    assert (comparison.OUTPUT_TOLERANCE, comparison.GRADIENT_TOLERANCE) == (1e-5, 1e-4)
    assert comparison.holds({"eval.logits": 1e-5, "train.grad.x": 1e-4})
    assert not comparison.holds({"eval.logits": 2e-5})
    assert not comparison.holds({"train.grad.x": 2e-4})


def test_comparison_of_unlike_shapes_is_no_comparison() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\) against the reference's \(1,\)"):
        medklip.distance(torch.zeros(2), torch.zeros(1))
