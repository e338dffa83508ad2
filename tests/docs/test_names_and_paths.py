"""Every dotted name and every file of the repository that the documentation mentions exists."""

from __future__ import annotations

import pkgutil
import re
import subprocess
from pathlib import Path

import pytest

from medvlp_toolkit.moved import new_path
from tests.docs.test_documentation import PAGES, ROOT

# The examples' own plugins and packages, which exist only in the pages.
_INVENTED = re.compile(r"(^|[./])(my|one|somebody)[_-]|\.one_word$")
_ENTRY_POINT_GROUP = "medvlp_toolkit.commands"
_DOTTED = re.compile(r"\bmedvlp_\w+(?:\.\w+)+")
_FOLDERS = "bundles|docs|tests|plugins|medvlp_toolkit|medvlp_arl|medvlp_knowledge|medvlp_reports"
_PATH = re.compile(rf"(?<![\w./$-])(?:{_FOLDERS})/[\w./-]*\w|(?<![\w./$-])(?:\w+/)+\w+\.py\b")
_NAMED = re.compile(r"`(\w+\.(?:yaml|py))`")
# What a run, an import or a user writes.
_WRITTEN = re.compile(
    r"/models(/|$)|^bundles/\w+/configs/\w*NAME|^overlay\.yaml$|^large_files\.yml$|^deployed/|^plugins/medvlp$"
)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [f"/{name}" for name in listed.stdout.splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_dotted_names_of_a_page_are_current(page: Path) -> None:
    wrong = []
    for name in sorted(set(_DOTTED.findall(text_of(page)))):
        if name == _ENTRY_POINT_GROUP or _INVENTED.search(name) or name.endswith((".py", ".yaml")):
            continue
        if (moved := new_path(name)) is not None:
            wrong.append(f"{name} has moved to {moved}")
            continue
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError, LookupError):
            wrong.append(f"{name} does not exist")
    assert not wrong, "; ".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_a_page_mentions_exist(page: Path, files: list[str]) -> None:
    named = {*_PATH.findall(text_of(page)), *_NAMED.findall(text_of(page))}
    made = set(re.findall(r"^# (\w+\.yaml)\b", text_of(page), re.MULTILINE))
    missing = [
        name
        for name in sorted(named - made)
        if not (_INVENTED.search(name) or _WRITTEN.search(name))
        and not any(file.endswith(f"/{name}") or f"/{name}/" in file for file in files)
    ]
    assert not missing, f"{page.name} mentions {', '.join(missing)}, which the repository does not have"
