"""The toolkit's ARL gives the published system's numbers, with shared encodings and without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import arl
import comparison
import pytest
import torch

GOLDEN = Path(__file__).parents[1] / "golden" / "arl"
PROGRAM = Path(arl.__file__)
LOSSES = {f"loss_{name}" for name in ("align", "itm", "mim", "mlm", "total")}
RECORDED = {
    *(f"eval.{name}" for name in ("text", "image", "cls", "cls_without_entities", "mlm_logits", "itm_logits")),
    *(f"eval.{name}" for name in ("unimodal_image", "unimodal_text", "entity_embeddings", "mim_image_layer3")),
    *(f"eval.{name}" for name in ("mim_masks", "mim_ids_restore")),
    *(f"{run}.{name}" for run in ("train", "train_without_sharing") for name in LOSSES | {"grad_norms"}),
}


def test_program_prints_one_json_line_and_succeeds() -> None:
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), "--golden", str(GOLDEN)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told.pop("ok") is True
    assert set(told) >= RECORDED
    assert all(isinstance(value, float) for value in told.values())


def test_other_numbers_fail_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(GOLDEN / "golden.safetensors", "pt") as golden:
        recorded = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118 - no mapping
        metadata = golden.metadata()
    recorded["train.loss_mim"] = recorded["train.loss_mim"] + 1e-3
    save_file(recorded, tmp_path / "golden.safetensors", metadata)
    shutil.copy(GOLDEN / "keys.json", tmp_path)
    shutil.copy(GOLDEN / "config.json", tmp_path)
    monkeypatch.setattr(sys, "argv", ["arl.py", "--golden", str(tmp_path)])
    assert arl.main() == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["ok"] is False
    assert told["train.loss_mim"] > comparison.OUTPUT_TOLERANCE >= told["train.loss_mlm"]


def test_missing_reference_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["arl.py", "--golden", str(tmp_path)])
    assert arl.main() == 2
    assert capsys.readouterr().err == f"{tmp_path} lacks config.json, keys.json, golden.safetensors\n"


def test_tolerances_are_those_the_documentation_states() -> None:
    assert (comparison.OUTPUT_TOLERANCE, comparison.GRADIENT_TOLERANCE) == (1e-5, 1e-4)
    assert comparison.holds({"eval.text": 1e-5, "train.grad.x": 1e-4})
    assert not comparison.holds({"eval.text": 2e-5})
    assert not comparison.holds({"train.grad.x": 2e-4})


def test_comparison_of_unlike_shapes_is_no_comparison() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\) against the reference's \(1,\)"):
        arl.distance(torch.zeros(2), torch.zeros(1))
