"""The table of bundles on the front page is that of the model cards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs" / "index.md"
CARDS = sorted(ROOT.glob("bundles/*/docs/README.md"))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def at_a_glance(card: Path) -> list[list[str]]:
    """Header and row of the card's table."""
    (section,) = re.findall(r"^## At a glance\n\n(.*?)\n\n", card.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    header, _, row = section.splitlines()
    return [cells(header), cells(row)]


def front_page() -> list[list[str]]:
    """Header and rows of the front page's table, the rule between them left out."""
    text = INDEX.read_text(encoding="utf-8").partition("## The bundles\n\n")[2]
    lines = text.partition("\n\n")[0].splitlines()
    return [cells(line) for line in (lines[0], *lines[2:])]


def linked(row: list[str]) -> Path:
    (target,) = re.findall(r"\]\((.*?)\)", row[0])
    return (INDEX.parent / target).resolve()


def test_every_bundle_is_on_the_front_page() -> None:
    assert sorted(linked(row) for row in front_page()[1:]) == CARDS


@pytest.mark.parametrize("row", front_page()[1:], ids=lambda row: row[0])
def test_a_bundles_row_is_its_cards(row: list[str]) -> None:
    header, of_card = at_a_glance(linked(row))
    assert front_page()[0][1:] == header
    assert row[1:] == of_card


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parts[-3])
def test_measured_figures_of_a_row_are_in_the_card(card: Path) -> None:
    """Each duration and amount of memory is also where the card says how it was measured."""
    text = card.read_text(encoding="utf-8")
    rest = re.sub(r"^## At a glance\n\n.*?\n\n", "", text, flags=re.DOTALL | re.MULTILINE)
    for figure in re.findall(r"\d+ min \d+ s|\d+(?:\.\d+)? (?:s|GiB)\b", " ".join(at_a_glance(card)[1][-2:])):
        assert figure in rest, f"{figure} is not where the card measures"
