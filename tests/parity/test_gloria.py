"""The toolkit's GLoRIA loss gives the published one's numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gloria
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

GOLDEN = Path(__file__).parents[1] / "golden" / "gloria"


def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["gloria.py", "--golden", str(folder)])
    return gloria.main()


def test_losses_attention_and_gradients_equal_the_published_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(GOLDEN, monkeypatch) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found.pop("ok") is True
    sides = ("image_to_text", "text_to_image")
    assert set(found) == {
        "total",
        *(f"{part}.{side}" for part in ("global", "local") for side in sides),
        *(f"attention.{text}" for text in range(4)),
        *(f"grad.{name}" for name in ("image_tokens", "words", "image_global", "text_global")),
    }


@pytest.mark.parametrize("name", ["local.text_to_image", "attention.2", "grad.words"])
def test_other_numbers_fail_the_program(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with safe_open(GOLDEN / "golden.safetensors", "pt") as golden:
        recorded = {key: golden.get_tensor(key) for key in golden.keys()}  # noqa: SIM118 - no mapping
        metadata = golden.metadata()
    recorded[name] = recorded[name] * 1.01
    save_file(recorded, tmp_path / "golden.safetensors", metadata)
    assert run(tmp_path, monkeypatch) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["ok"] is False


def test_missing_reference_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, monkeypatch) == 2
    assert capsys.readouterr().err == f"{tmp_path} lacks golden.safetensors\n"
