"""The tutorials: their outputs are those of their cells, and every cell runs and shows what the text says of it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / "docs" / "_hooks"
NAMES = sorted(path.stem for path in (ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """The hook of the site, as MkDocs loads it: from its file."""
    spec = importlib.util.spec_from_file_location("tutorials_hook", HOOKS / "tutorials.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_the_outputs_are_those_of_the_cells(name: str, hook: ModuleType) -> None:
    assert hook.is_current(name), f"{name}.md has changed since it was run: run `make tutorials`"
    shown = [image for cell in hook.outputs(name)["cells"] for image in cell["images"]]
    kept = sorted(path.name for path in (ROOT / "docs/tutorials/outputs").glob(f"{name}_*.png"))
    assert sorted(shown) == kept
    assert not [cell["text"] for cell in hook.outputs(name)["cells"] if re.search(r"/\S*/site-packages", cell["text"])]


@pytest.mark.parametrize("name", NAMES)
def test_the_site_shows_every_output_below_its_cell(name: str, hook: ModuleType) -> None:
    class Page:
        class file:  # noqa: N801 - as MkDocs calls it
            src_uri = f"tutorials/{name}.md"

    page = hook.on_page_markdown((ROOT / "docs/tutorials" / f"{name}.md").read_text(encoding="utf-8"), Page)
    place = 0
    for cell, output in zip(hook.cells(name), hook.outputs(name)["cells"], strict=True):
        place = page.index(cell.code, place)
        for part in filter(None, [output["text"], *output["images"]]):
            place = page.index(part, place)
    assert re.search(r"\d+ min \d\d s by the clock", page)


def test_a_changed_cell_has_no_output(hook: ModuleType) -> None:
    cell = hook.Cell("python", "print(1)\n")
    assert cell.digest != hook.Cell("python", "print(2)\n").digest
    assert cell.digest != hook.Cell("bash", "print(1)\n").digest


def test_a_cell_that_fails_ends_the_run_with_its_output(tmp_path: Path) -> None:
    code = (
        "import run_tutorials as r, pathlib, sys\n"
        "t = r.Tutorial('x', pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]))\n"
        "t.set_up()\n"
        "print(t.run(r.Cell('python', 'a = 1\\na + 1'))['text'])\n"
        "print(t.run(r.Cell('bash', 'echo out; echo err >&2'))['text'])\n"
        "t.run(r.Cell('bash', 'echo before\\nfalse\\necho after'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(HOOKS)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["2", "out", "err"]
    assert done.returncode == 1
    assert "this cell failed" in done.stderr
    assert done.stderr.endswith("before\n")


# -- every cell runs --------------------------------------------------------------------------------


@pytest.fixture(scope="session", params=NAMES)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    """A tutorial's name, what a run of it gave, and the folder of its pictures."""
    out = tmp_path_factory.mktemp(request.param)
    command = [sys.executable, str(HOOKS / "run_tutorials.py"), request.param, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return request.param, json.loads((out / f"{request.param}.json").read_text()), out


@pytest.mark.slow
def test_every_cell_runs_and_shows_what_a_reader_looks_at(ran: tuple[str, dict[str, Any], Path]) -> None:
    name, outputs, folder = ran
    texts = [cell["text"] for cell in outputs["cells"]]
    LOOKED_AT[name](texts)
    for cell in outputs["cells"]:
        for image in cell["images"]:
            with Image.open(folder / image) as picture:
                assert len(picture.convert("L").getcolors(256) or ()) > 20, f"{image} is nearly empty"
    assert not any("Traceback" in text for text in texts)


def the_one(texts: list[str], part: str) -> str:
    """The output that contains a text."""
    (found,) = [text for text in texts if part in text]
    return found


def auc(text: str, finding: str) -> float:
    """A finding's AUC in the table of an evaluation: the third figure of its line."""
    line = next(line for line in text.splitlines() if line.startswith("│") and finding in line)
    return float(re.findall(r"[\d.]+", line.replace(finding, ""))[2])


def mean_auc(text: str) -> float:
    (value,) = re.findall(r"│ mean of \d+ +│ +│ +│ ([\d.]+) │", text)[:1]
    return float(value)


def zero_shot(texts: list[str]) -> None:
    assert "records: 2400 read = 2400 stored + 0 rejected" in the_one(texts, "records: ")
    assert "effusion         absent" in the_one(texts, "catheter         present")
    evaluated = the_one(texts, "Zero-shot classification")
    assert mean_auc(evaluated) > 0.85
    assert auc(evaluated, "cardiomegaly") > 0.95
    assert "report.html" in the_one(texts, "look for names burned")
    assert re.search(r"^effusion +0\.[5-9]\d  painted$", the_one(texts, "LoadedBundle"), re.MULTILINE)


def own_table(texts: list[str]) -> None:
    assert "records: 900 read = 896 stored + 4 rejected" in the_one(texts, "records: ")
    rejected = the_one(texts, "study_id,path,reason,detail")
    assert [rejected.count(reason) for reason in ("empty report", "malformed", "unreadable image")] == [2, 1, 1]
    assert "200 patients; 0 in two splits" in the_one(texts, "patients; ")
    assert auc(the_one(texts, "Zero-shot classification"), "big heart") > 0.7
    assert "model.onnx" in the_one(texts, "export.json")
    probabilities = re.findall(r"\b0\.\d+", texts[-1])
    assert probabilities


def own_plugin(texts: list[str]) -> None:
    assert re.search(r"\d+ passed", the_one(texts, " passed"))
    assert "32 (12, 12)" in texts
    assert "MyPatches (96, 96)" in texts
    assert mean_auc(the_one(texts, "Zero-shot classification")) > 0.45
    assert "masked" in the_one(texts, "most frequent")


LOOKED_AT = {"zero_shot": zero_shot, "own_table": own_table, "own_plugin": own_plugin}
