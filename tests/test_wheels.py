"""What pip users get: wheels that work without a checkout, their data inside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]


@pytest.mark.slow
def test_wheels_work_without_the_checkout(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for project in PROJECTS:
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "wheels")]
        subprocess.run([*build, str(project)], check=True, capture_output=True, timeout=300)
    wheels = sorted(map(str, (tmp_path / "wheels").glob("*.whl")))
    assert len(wheels) == len(PROJECTS)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), *wheels]
    subprocess.run(install, check=True, timeout=300)
    script = """
import medvlp_toolkit as mv
from medvlp_toolkit.data.records import Report
assert mv.__file__.startswith(SITE), mv.__file__
(found,) = mv.report_filters.rules()([Report("1", "Small left pleural effusion.")])
assert [finding.entity for finding in found] == ["effusion"], found
assert len(mv.knowledge_sources.definitions(path="chest_entities")) == 75
from medvlp_toolkit.shipped_bundles import shipped_bundles
assert "medklip" in [bundle.name for bundle in shipped_bundles()]
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-c", script.replace("SITE", repr(str(site)))],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "fine", done.stderr
