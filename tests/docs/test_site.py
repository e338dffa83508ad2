"""The documentation's site: every page is in its menu, and it builds without a broken link."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
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


class Fetched(HTMLParser):
    """What a browser asks for when it opens a page: everything but links to follow."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        names = ("src", "srcset", "data", "poster") if tag != "link" else ("href",)
        self.addresses += [value for name in names if (value := given.get(name))]
        assert given.get("data-md-component") != "source", "the theme's script asks GitHub's API about the repository"
        assert "mermaid" not in (given.get("class") or ""), "the theme's script fetches Mermaid"


def fetched_from_elsewhere(site: Path) -> list[str]:
    found = []
    for page in site.rglob("*.html"):
        addresses = Fetched(page.read_text(encoding="utf-8")).addresses
        found += [f"{page.name}: {address}" for address in addresses if re.match(r"(https?:)?//", address)]
    for sheet in site.rglob("*.css"):
        addresses = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", sheet.read_text(encoding="utf-8"))
        found += [f"{sheet.name}: {address}" for address in addresses]
    return found


@pytest.mark.parametrize("text", ['<script src="https://a.b/c.js">', '<link href="//a.b/c.css">', "css"])
def test_what_is_fetched_from_elsewhere_is_found(text: str, tmp_path: Path) -> None:
    if text == "css":
        (tmp_path / "style.css").write_text("@font-face {src: url('https://a.b/c.woff')}")
    (tmp_path / "page.html").write_text(f'{text}<a href="https://a.b/">a link to follow</a><img src="here.png">')
    assert len(fetched_from_elsewhere(tmp_path)) == 1


@pytest.mark.slow
def test_the_site_builds_without_a_broken_link(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs MkDocs: pip install medvlp-toolkit[docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    reference = (tmp_path / "site" / "api" / "evaluation" / "index.html").read_text(encoding="utf-8")
    assert "classification_metrics" in reference
    assert ":class:" not in reference
    assert fetched_from_elsewhere(tmp_path / "site") == []
    assert "/blob/main/bundles/medklip/docs/README.md" in (tmp_path / "site" / "recipes" / "index.html").read_text()
