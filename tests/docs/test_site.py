"""The documentation's site: every page is in its menu, and it builds without a broken link."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml


def pages(menu: Any) -> Iterator[str]:
    if isinstance(menu, str):
        yield menu
    else:
        for part in menu.values() if isinstance(menu, dict) else menu:
            yield from pages(part)


@pytest.fixture
def menu(repository: Path) -> list[str]:
    return list(pages(yaml.safe_load((repository / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))


def test_every_page_is_in_the_menu_once(repository: Path, menu: list[str]) -> None:
    written = sorted(str(path.relative_to(repository / "docs")) for path in (repository / "docs").rglob("*.md"))
    assert sorted(menu) == written


@pytest.mark.slow
def test_the_site_builds_without_a_broken_link(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs MkDocs: pip install medvlp-toolkit[docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    reference = (tmp_path / "site" / "api" / "evaluation" / "index.html").read_text(encoding="utf-8")
    assert "classification_metrics" in reference
    assert ":class:" not in reference
    assert "/blob/main/bundles/medklip/docs/README.md" in (tmp_path / "site" / "recipes" / "index.html").read_text()
