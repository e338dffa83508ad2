"""Agreement of the positions read by ``rules`` with the MeSH terms of the Open-i reports.

    python -m medvlp_reports.accuracy.open_i_places NLMCXR_reports.tgz

Every Open-i report has terms assigned by indexers, such as "Pulmonary Atelectasis/base/left". A *pair* is a
report and a heading with a side (left, right, or both); the filter's present and uncertain findings for the
heading (``data/open_i_mesh.yaml``) give

* **exact**: that side and no other. Both sides are said by findings at both, or at a position without a side
  (``lung_bases``), for MedKLIP's positions have none for "bilateral";
* **more**: that side, and the other as well (or, of two sides, one alone);
* **wrong**: only the other side;
* **none**: no side, or no position;
* **not found**: no finding that answers to the heading. Shares are of the pairs that were found.

The same applies to the lobe or zone of a heading of the lungs ("base", "upper lobe").
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from medvlp_reports.resources import load_yaml
from medvlp_reports.rules import RuleFilter
from medvlp_toolkit.data.records import Finding, Presence, Report
from medvlp_toolkit.data.sections import report_from_open_i

OUTCOMES = ("exact", "more", "wrong", "none", "not found")
BOTH = frozenset(["left", "right"])


@dataclass
class PlaceAgreement:
    """Outcomes of sides and of zones; ``wrong`` has (report, heading) of those that are at another place."""

    sides: Counter[str] = field(default_factory=Counter)
    zones: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[str, str]] = field(default_factory=list)

    def share(self, outcomes: Counter[str]) -> float:
        """Share of exact ones among those found."""
        found = outcomes.total() - outcomes["not found"]
        return outcomes["exact"] / found if found else 0.0


def read_reports(archive: str | Path) -> Iterator[tuple[Report, list[list[str]]]]:
    """Reports of Open-i's archive, and their MeSH terms as heading and qualifiers.

    Raises FileNotFoundError, or ValueError where it is no such archive.
    """
    try:
        with tarfile.open(archive) as files:
            for member in files:
                stream = files.extractfile(member) if member.name.endswith(".xml") else None
                if stream is not None:
                    content = stream.read()
                    terms = [term.text or "" for term in ElementTree.fromstring(content).iter("major")]
                    yield report_from_open_i(content), [[part.strip() for part in term.split("/")] for term in terms]
    except (tarfile.TarError, ElementTree.ParseError, EOFError):
        raise ValueError(f"{archive}: not readable as a .tgz of Open-i's reports") from None


def place_agreement(
    reports: Iterable[tuple[Report, list[list[str]]]], report_filter: RuleFilter | None = None
) -> PlaceAgreement:
    """Agreement of the places in reports with those in their MeSH terms."""
    report_filter = report_filter or RuleFilter()
    table, agreement = _table(), PlaceAgreement()
    for report, terms in reports:
        sides, zones = _expected(terms, table)
        if not sides and not zones:
            continue
        findings = [one for one in report_filter.findings(report) if one.presence is not Presence.ABSENT]
        for heading, expected in sides.items():
            outcome = side_outcome(expected, _answering(findings, table["headings"][heading]))
            agreement.sides[outcome] += 1
            if outcome == "wrong":
                agreement.wrong.append((report.id, heading))
        for heading, words in zones.items():
            agreement.zones[zone_outcome(words, _answering(findings, table["headings"][heading]))] += 1
    return agreement


def side_outcome(expected: frozenset[str], findings: list[Finding]) -> str:
    """One of ``OUTCOMES`` for findings of which these sides are expected."""
    if not findings:
        return "not found"
    said: set[str] = set()
    unsided = False
    for position in (finding.position for finding in findings):
        side = next((side for side in BOTH if position is not None and side in position.split("_")), None)
        if side is not None:
            said.add(side)
        elif position is not None:
            unsided = True
    if expected == BOTH:
        return "exact" if said == BOTH or (unsided and not said) else "more" if said else "none"
    if not said:
        return "none"
    return "exact" if said == expected else "more" if said & expected else "wrong"


def zone_outcome(expected: list[frozenset[str]], findings: list[Finding]) -> str:
    """One of ``OUTCOMES`` for findings of which these zones are expected, each named by one of some words."""
    if not findings:
        return "not found"
    zoned = [words for finding in findings if (words := _zone_words(finding.position))]
    named = [zone for zone in expected if any(zone & words for words in zoned)]
    if len(named) == len(expected):
        return "exact" if all(any(zone & words for zone in expected) for words in zoned) else "more"
    return "more" if named else "wrong" if zoned else "none"


def _zone_words(position: str | None) -> frozenset[str]:
    """The words of a position that name a zone, also with its side ("left_mid")."""
    if position is None:
        return frozenset()
    words = position.split("_")
    zones = {"lower", "bases", "middle", "mid", "upper", "apical", "apices"} & set(words)
    sides = BOTH & set(words)
    return frozenset([*zones, *(f"{side}_{zone}" for side in sides for zone in zones)])


def _expected(
    terms: list[list[str]], table: Mapping[str, Any]
) -> tuple[dict[str, frozenset[str]], dict[str, list[frozenset[str]]]]:
    """Heading → sides, and heading → zones, of one report's terms."""
    sides: dict[str, frozenset[str]] = {}
    zones: dict[str, list[frozenset[str]]] = {}
    for heading, *qualifiers in terms:
        if heading not in table["headings"] or not table["without_sides"].isdisjoint(qualifiers):
            continue
        named = BOTH.intersection(qualifiers) | (BOTH if "bilateral" in qualifiers else set())
        if named:
            sides[heading] = sides.get(heading, frozenset()) | named
        if heading in table["lungs"]:
            found = [table["zones"][qualifier] for qualifier in qualifiers if qualifier in table["zones"]]
            if found:
                zones.setdefault(heading, []).extend(zone for zone in found if zone not in zones.get(heading, []))
    return sides, zones


def _answering(findings: list[Finding], concepts: list[list[str]]) -> list[Finding]:
    return next((found for line in concepts if (found := [f for f in findings if f.concept_id in line])), [])


@cache
def _table() -> dict[str, Any]:
    table = load_yaml("open_i_mesh.yaml")
    zones = {name: frozenset(words) for name, words in table["zones"].items()}
    return {**table, "zones": zones, "without_sides": frozenset(table["without_sides"])}


def main() -> int:
    parser = argparse.ArgumentParser(description="Agreement of places with the MeSH terms of the Open-i reports.")
    parser.add_argument("archive", type=Path, help="NLMCXR_reports.tgz")
    archive = parser.parse_args().archive
    try:
        agreement = place_agreement(read_reports(archive))
    except (OSError, ValueError) as error:
        print(f"open_i_places: {error}", file=sys.stderr)
        return 2
    for name, outcomes in (("side", agreement.sides), ("lobe or zone", agreement.zones)):
        counts = ", ".join(f"{outcomes[outcome]:,} {outcome}" for outcome in OUTCOMES)
        print(f"{name}: {agreement.share(outcomes):.1%} exact of those found ({outcomes.total():,} pairs: {counts})")
    print("wrong sides: " + (", ".join(f"{report} ({heading})" for report, heading in agreement.wrong) or "none"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
