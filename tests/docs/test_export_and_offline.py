"""The code of docs/export.md and docs/offline.md runs, and the example on the page is the one that is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from medvlp_toolkit.cli.main import app
from medvlp_toolkit.exporting import run_onnx
from tests.bundles.export_sources import write_source
from tests.docs.test_documentation import ROOT, blocks

EXPORT, OFFLINE = ROOT / "docs" / "export.md", ROOT / "docs" / "offline.md"


def test_the_example_of_the_page_is_the_one_that_is_written() -> None:
    (example,) = [code for code in blocks(EXPORT, "python") if "onnxruntime" in code]
    assert example.strip() == Path(run_onnx.__file__).read_text().strip()


def test_the_page_on_export_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    pytest.importorskip("onnxruntime", reason="pip install 'medvlp-toolkit[onnx]'")
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    write_source("medklip", tmp_path / "runs" / "demo")
    Image.linear_gradient("L").save(tmp_path / "radiograph.png")
    monkeypatch.chdir(tmp_path)
    command, example = blocks(EXPORT, "bash")
    done = CliRunner().invoke(app, command.split()[1:])
    assert done.exit_code == 0, done.output
    for code in blocks(EXPORT, "python"):
        if "onnxruntime" not in code:
            exec(compile(code, "docs/export.md", "exec"), {})
    assert "'effusion'" in capsys.readouterr().out
    shown = subprocess.run([sys.executable, *example.split()[1:]], capture_output=True, text=True, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "effusion" in shown.stdout


def test_the_page_on_offline_use_shows_what_happens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # put back after the page has set it
    (code,) = blocks(OFFLINE, "python")
    exec(compile(code, "docs/offline.md", "exec"), {})
    assert "it was not downloaded before, and HF_HUB_OFFLINE is set" in capsys.readouterr().out


def test_the_commands_of_the_page_on_offline_use_are_there() -> None:
    """Those of pip and hf need a network; of the others every option and file has to be there."""
    doctor = get_command(app).commands["doctor"]  # type: ignore[attr-defined]
    known = {name for parameter in doctor.params for name in parameter.opts}
    lines = " ".join(blocks(OFFLINE, "bash")).replace("\\\n", " ").splitlines()
    checked = [line.split() for line in lines if line.startswith("medvlp doctor")]
    assert len(checked) == 2
    assert all(word in known for words in checked for word in words if word.startswith("--"))
