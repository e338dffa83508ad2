"""The sections of a radiology report, and the selection of those that a recipe reads.

Reads MIMIC-CXR's text ("FINAL REPORT", "INDICATION:", "FINDINGS:", "IMPRESSION:", and reports that
are one paragraph after the indication), Open-i's XML (``AbstractText`` with a ``Label``) and plain
text with or without headings. ``section_splitting`` finds the sections in a text.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence

from medvlp_toolkit.data.headings import Headings, shipped_headings
from medvlp_toolkit.data.records import Report, SectionSpan
from medvlp_toolkit.data.section_splitting import ABOUT_THE_EXAMINATION, UNLABELLED, Section, split_sections

__all__ = [
    "DEFAULT_SECTIONS",
    "UNLABELLED",
    "Section",
    "cut_to_sections",
    "read_sections",
    "report_from_open_i",
    "sections_by_name",
    "select_sections",
    "split_sections",
    "with_sections",
]

DEFAULT_SECTIONS = ("findings", "impression", "addendum")
"""Sections that are read by default."""


def sections_by_name(sections: Iterable[Section]) -> dict[str, str]:
    """``{name: text}``, as in ``Report.sections``; sections with the same name are joined by a line break."""
    joined: dict[str, str] = {}
    for section in sections:
        before = joined.get(section.name)
        joined[section.name] = f"{before}\n{section.text}" if before else section.text
    return joined


def with_sections(report: Report, headings: Headings | None = None) -> Report:
    """The report with ``sections`` filled from its text if they are not given."""
    if report.sections:
        return report
    sections = split_sections(report.text, headings or shipped_headings())
    return Report(report.id, report.text, sections_by_name(sections), tuple(map(_span, sections)))


def read_sections(
    report: Report, names: Sequence[str] = DEFAULT_SECTIONS, headings: Headings | None = None
) -> list[Section]:
    """The selected sections of a report in the order of its text, for filters and for the store.

    ``findings`` includes text without a heading: all of it in a report without findings (in MIMIC-CXR often the
    paragraph after the indication), else the part after the first selected section. If a report has none of the
    selected sections, the fallback is its text without a heading, then everything that is not about the examination
    itself, then a preliminary reading, then nothing. Sections in ``report.sections`` are used unchanged, except that
    those whose text is not part of ``report.text`` are left out, because spans could not refer to them (if
    ``report.text`` is empty, all are used, each starting at 0).
    """
    sections = (
        _given_sections(report) if report.sections else split_sections(report.text, headings or shipped_headings())
    )
    choices = (
        _chosen(sections, names),
        [section for section in sections if section.name == UNLABELLED],
        [section for section in sections if section.name not in ABOUT_THE_EXAMINATION],
        [section for section in sections if section.name == "wet_read"],
    )
    return next((choice for choice in choices if choice), [])


def select_sections(
    report: Report, names: Sequence[str] = DEFAULT_SECTIONS, headings: Headings | None = None
) -> list[tuple[int, str]]:
    """``(start, text)`` of the sections that `read_sections` returns."""
    return [(section.start, section.text) for section in read_sections(report, names, headings)]


def cut_to_sections(
    report: Report, names: Sequence[str] = DEFAULT_SECTIONS, headings: Headings | None = None
) -> Report:
    """The report reduced to the result of `read_sections`, one section per line; idempotent.

    Without names, the report is unchanged.
    """
    if not names:
        return report
    cut: list[Section] = []
    start = 0
    for section in read_sections(report, names, headings):
        cut.append(Section(section.name, start, section.text, section.amends))
        start += len(section.text) + 1
    text = "\n".join(section.text for section in cut)
    return Report(report.id, text, sections_by_name(cut), tuple(map(_span, cut)))


def report_from_open_i(xml: bytes | str) -> Report:
    """The report in one of Open-i's XML files; its id is the ``uId`` ("CXR1").

    ``text`` has the labelled parts, one per line ("FINDINGS: …"), ``sections`` the same by name.
    Raises ValueError if it is not XML or has no ``uId``.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise ValueError(f"no readable XML (line {line}, column {column}); expected an Open-i report") from None
    uid = root.find(".//uId")
    report_id = (uid.get("id") or "").strip() if uid is not None else ""
    if not report_id:
        raise ValueError("an XML file without <uId id=…>; expected an Open-i report")
    lines: list[str] = []
    sections: list[Section] = []
    start = 0
    for part in root.iter("AbstractText"):
        label = (part.get("Label") or "").strip()
        body = "".join(part.itertext()).strip()
        if not body:
            continue
        name = shipped_headings().section(label) or label.lower() or UNLABELLED
        lines.append(f"{label}: {body}" if label else body)
        sections.append(Section(name, start + len(lines[-1]) - len(body), body, name == "addendum"))
        start += len(lines[-1]) + 1
    return Report(report_id, "\n".join(lines), sections_by_name(sections), tuple(map(_span, sections)))


def _chosen(sections: Sequence[Section], names: Sequence[str]) -> list[Section]:
    named = [section for section in sections if section.name in names]
    if "findings" not in names or not named:
        return named
    # Text without a heading before the findings belongs to the indication.
    start = named[0].start if any(section.name == "findings" for section in named) else -1
    return [s for s in sections if s.name in names or (s.name == UNLABELLED and s.start > start)]


def _given_sections(report: Report) -> list[Section]:
    text = report.text
    if report.spans:
        return [Section(span.name, span.start, text[span.start : span.end], span.amends) for span in report.spans]
    found: list[Section] = []
    position = 0
    for name, given in report.sections.items():
        body = given.strip()
        start = text.find(body, position)
        if start < 0:
            start = text.find(body)
        if body and start >= 0:
            position = start + len(body)
            found.append(Section(name, start, body, name == "addendum"))
        elif body and not text:
            found.append(Section(name, 0, body, name == "addendum"))
        elif body:
            found.extend(_pieces(name, body, text))
    return sorted(found, key=lambda section: section.start)


def _pieces(name: str, body: str, text: str) -> list[Section]:
    """The parts of a section joined from several: its lines, as in the text."""
    found: list[Section] = []
    position = 0
    for line in map(str.strip, body.split("\n")):
        if not line:
            continue
        start = text.find(line, position)
        if start < 0:
            continue
        position = start + len(line)
        last = found[-1] if found else None
        if last is not None and not text[last.end : start].strip():
            found[-1] = Section(name, last.start, text[last.start : position], last.amends)
        else:
            found.append(Section(name, start, line, name == "addendum"))
    return found


def _span(section: Section) -> SectionSpan:
    return SectionSpan(section.name, section.start, section.end, section.amends)
