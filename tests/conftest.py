"""Fixtures for data that lies outside the repository; the only place that looks for it.

``-m slow`` runs what is long, ``-m ""`` runs everything; without either, tests marked ``slow`` are left out.
"""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs the folder {name}/ of ../shared, which is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images, labels and reports that the repository may not carry; the test is skipped without them."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """Reference outputs too large for the repository; the test is skipped without them."""
    return _shared("golden")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture
def fake_packages(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed-looking packages on ``sys.path``: several that offer plugins well and badly."""
    folder = Path(__file__).parent / "fake_packages"
    monkeypatch.syspath_prepend(str(folder))
    return folder
