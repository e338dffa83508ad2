"""The modules of docs/plugins.md keep their contracts; the Python of docs/python.md runs from top to bottom."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medvlp_toolkit.cli.plugins import known_kind
from medvlp_toolkit.scaffold.kinds import KINDS
from medvlp_toolkit.scaffold.package import write_package
from tests.docs.test_documentation import ROOT, blocks
from tests.medvlp_toolkit.scaffold_packages import put_on_site

PLUGINS, PYTHON = ROOT / "docs" / "plugins.md", ROOT / "docs" / "python.md"


def walked_through() -> dict[str, tuple[str, str, str]]:
    """Package -> (kind, module, test), as the page has them one after the other."""
    text = PLUGINS.read_text(encoding="utf-8")
    made = re.findall(r"^`medvlp new (\S+) --kind (\S+)`", text, re.MULTILINE)
    code = [block for block in blocks(PLUGINS, "python") if not block.startswith("# not run here")]
    assert len(code) == 2 * len(made)
    return {name: (kind, code[2 * n], code[2 * n + 1]) for n, (name, kind) in enumerate(made)}


def test_a_plugin_of_each_kind_is_walked_through() -> None:
    kinds = {known_kind(kind) for kind, _, _ in walked_through().values()}
    assert kinds == {"report_filters", "knowledge_sources", "encoders", "fusion_modules", "pretext_losses"}


def test_the_plugins_that_the_page_walks_through_keep_their_contracts(tmp_path: Path) -> None:
    """Each module and test replaces those of a new package, as the page says."""
    tests = []
    for name, (kind, module, test) in walked_through().items():
        plugin = name.replace("-", "_")
        write_package(name, KINDS[known_kind(kind)], tmp_path)
        (tmp_path / name / "src" / plugin / f"{plugin}.py").write_text(module)
        (tmp_path / name / "tests" / f"test_{plugin}.py").write_text(test)
        (tmp_path / "site").mkdir(exist_ok=True)
        put_on_site(tmp_path / name, tmp_path / "site")
        tests.append(str(tmp_path / name))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


def test_the_overlay_of_the_page_replaces_a_part_of_the_recipe() -> None:
    recipe = yaml.safe_load((ROOT / "bundles/medklip/configs/prepare.yaml").read_text())
    for text in blocks(PLUGINS, "yaml"):
        assert set(yaml.safe_load(text)) <= {*recipe, "requirements"}


def test_medklip_is_composed_in_thirty_lines() -> None:
    composed = next(code for code in blocks(PYTHON, "python") if "VisionLanguageModel(" in code)
    assert len([line for line in composed.splitlines() if line.strip()]) <= 30


@pytest.fixture
def beside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the bundles, weights of the demo's shape with their description, and a radiograph."""
    import torch
    from PIL import Image

    from medvlp_phantom import Phantom
    from medvlp_toolkit.weights import TrainedModel

    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    demo = TrainedModel(bundle_root="bundles/medklip", config=["train.yaml", "demo.yaml"], running={})
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    torch.save(demo["network_def"].state_dict(), tmp_path / "runs" / "demo" / "model.pt")
    demo.describe().write(tmp_path / "runs" / "demo")
    Image.fromarray(Phantom(seed=3, size=96).study(0).image).save(tmp_path / "radiograph.png")
    return tmp_path


@pytest.mark.usefixtures("beside_a_checkout")
def test_the_python_page_runs_from_top_to_bottom(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    threads, names = torch.get_num_threads(), {"__name__": "page"}
    torch.set_num_threads(1)
    try:
        for code in blocks(PYTHON, "python"):
            exec(compile(code, "docs/python.md", "exec"), names)
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    losses = [float(value) for value in re.findall(r"'loss': ([\d.]+)", printed)]
    assert len(losses) == 4
    assert all(0 < loss < 20 for loss in losses)
    assert "no id 'max_epoch'" in printed
    assert "(96, 96)" in printed
    assert Path("scorer.ts").is_file()
