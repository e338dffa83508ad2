"""The sections of a radiology report: detection, and selection of those a recipe reads.

Reads MIMIC-CXR's text ("FINAL REPORT", "INDICATION:", "FINDINGS:", "IMPRESSION:", and reports that
are one paragraph after the indication), Open-i's XML (``AbstractText`` with a ``Label``) and plain
text with or without headings.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from medvlp_toolkit.data.records import Report

UNLABELLED = "unlabelled"
"""Name of text that stands under no heading."""

_HEADINGS: Mapping[str, Sequence[str]] = {
    "findings": (
        "findings", "finding", "findings and impression", "findings/impression", "impression and findings",
        "impression/findings", "chest findings", "chest", "report", "description", "radiographic findings",
        "pa and lateral chest", "portable chest", "ap chest", "frontal and lateral chest", "chest radiograph",
        "chest pa and lateral",
    ),
    "impression": (
        "impression", "impressions", "impresssion", "imp", "conclusion", "conclusions", "opinion", "summary",
        "assessment", "interpretation",
    ),
    "indication": (
        "indication", "indications", "reason for exam", "reason for examination", "reason for this examination",
        "reason for study", "reason", "clinical indication", "clinical information", "clinical data",
        "clinical question", "indication for exam",
    ),
    "history": ("history", "clinical history", "patient history", "hx", "medical condition"),
    "comparison": (
        "comparison", "comparisons", "compared to", "comparison study", "comparison studies", "prior studies",
    ),
    "technique": ("technique", "procedure", "procedure comments", "protocol", "views", "number of views", "study"),
    "examination": (
        "examination", "exam", "type of examination", "type of exam", "exam type", "study type", "examinations",
        "exam number", "radiograph",
    ),
    "recommendation": ("recommendation", "recommendations", "recommendation(s)"),
    "notification": ("notification", "notifications", "critical result", "critical results"),
    "addendum": ("addendum",),
    "wet_read": ("wet read", "preliminary report", "provisional findings impression"),
    "date": ("date", "dictated by", "signed by", "electronically signed by", "name", "patient", "accession"),
}  # fmt: skip

_NAMES = {heading: name for name, headings in _HEADINGS.items() for heading in headings}
_LONGEST_HEADING = max(map(len, _NAMES))

# Sections on the reason and the technique; a paragraph break ends them, because in many reports without a
# findings heading the text itself is the paragraph after them.
_ABOUT_THE_EXAMINATION = frozenset(
    ["indication", "history", "comparison", "technique", "examination", "date", "notification", "wet_read"]
)

# Headings that are recognised within a line even where no sentence ends before them.
_UNMISTAKABLE = frozenset(
    ["findings", "impression", "indication", "comparison", "technique", "conclusion", "clinical history"]
)

_HEADING_TAIL = re.compile(r"[A-Za-z][A-Za-z /&()]*\Z")
_WORD_START = re.compile(r"(?<![A-Za-z(/&])[A-Za-z]")
_HEADING_LINE = re.compile(r"^[ \t]*([A-Z][A-Z /&()]{2,}?)[ \t]*$", re.MULTILINE)
_BANNER_LINE = re.compile(r"^[ \t]*(?:FINAL (?:REPORT|ADDENDUM)|PRELIMINARY REPORT|ADDENDUM)[ \t]*$", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)")
_PARAGRAPH_BREAK = re.compile(r"\n[ \t\r]*\n")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its name, and ``text`` as it stands at ``start`` in the report."""

    name: str
    start: int
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def split_sections(text: str) -> list[Section]:
    """The sections of a report's text in order, without empty ones.

    A heading is one of the usual names before a colon, at the start of a line or, capitalised,
    after a sentence ("Findings", "Impression" and the like anywhere in a line); or such a name in
    capitals alone on its line. Names are unified: CONCLUSION is ``impression``, REASON FOR EXAM is
    ``indication``. Text under no heading is ``unlabelled``.
    """
    headings = _headings(text)
    if not headings:
        return _sections([(UNLABELLED, 0, len(text))], text)
    ends = [heading.start for heading in headings[1:]] + [len(text)]
    pieces = [(UNLABELLED, 0, headings[0].start)]
    for heading, end in zip(headings, ends, strict=True):
        name, body = heading.name, heading.end
        if name in _ABOUT_THE_EXAMINATION:
            before, *place = pieces[-1]
            reading = before not in _ABOUT_THE_EXAMINATION and (len(pieces) > 1 or text[slice(*place)].strip())
            if heading.within_line and reading:
                # "FINDINGS: Comparison: none. The heart is …" continues with the findings.
                gap, following = _SENTENCE_END.search(text, body, end), before
            else:
                content = end - len(text[body:end].lstrip())
                gap, following = _PARAGRAPH_BREAK.search(text, content, end), UNLABELLED
            if gap:
                pieces += [(name, body, gap.start()), (following, gap.end(), end)]
                continue
        pieces.append((name, body, end))
    return _sections(pieces, text)


def sections_by_name(sections: Iterable[Section]) -> dict[str, str]:
    """``{name: text}``, as ``Report.sections`` holds it; sections of one name are joined by a line break."""
    joined: dict[str, str] = {}
    for section in sections:
        before = joined.get(section.name)
        joined[section.name] = f"{before}\n{section.text}" if before else section.text
    return joined


def with_sections(report: Report) -> Report:
    """The report with ``sections`` extracted from its text, unless given."""
    if report.sections:
        return report
    return Report(report.id, report.text, sections_by_name(split_sections(report.text)))


def select_sections(report: Report, names: Sequence[str] = ("findings", "impression")) -> list[tuple[int, str]]:
    """``(start, text)`` of the chosen sections, in the order of the report's text.

    Where a report has none of them, the fallback is its text under no heading (in MIMIC-CXR the
    paragraph after the indication), then everything that does not speak about the examination
    itself, then nothing. Sections given in ``report.sections`` are used as they are; those whose
    text is not part of ``report.text`` are left out, because a span could not refer to them (where
    ``report.text`` is empty they all count, each starting at 0).
    """
    sections = _given_sections(report) if report.sections else split_sections(report.text)
    for choice in (
        [section for section in sections if section.name in names],
        [section for section in sections if section.name == UNLABELLED],
        [section for section in sections if section.name not in _ABOUT_THE_EXAMINATION],
    ):
        if choice:
            return [(section.start, section.text) for section in choice]
    return []


def report_from_open_i(xml: bytes | str) -> Report:
    """The report in one of Open-i's XML files; its id is the ``uId`` ("CXR1").

    ``text`` holds the labelled parts one a line ("FINDINGS: …"), ``sections`` the same by name.
    Raises ValueError where it is no XML or has no ``uId``.
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
    sections: dict[str, str] = {}
    for part in root.iter("AbstractText"):
        label = (part.get("Label") or "").strip()
        body = "".join(part.itertext()).strip()
        if not body:
            continue
        name = _NAMES.get(label.lower(), label.lower() or UNLABELLED)
        sections[name] = f"{sections[name]}\n{body}" if name in sections else body
        lines.append(f"{label}: {body}" if label else body)
    return Report(report_id, "\n".join(lines), sections)


def _given_sections(report: Report) -> list[Section]:
    found: list[Section] = []
    position = 0
    for name, given in report.sections.items():
        body = given.strip()
        start = report.text.find(body, position)
        if start < 0:
            start = report.text.find(body)
        if body and start >= 0:
            position = start + len(body)
            found.append(Section(name, start, body))
        elif body and not report.text:
            found.append(Section(name, 0, body))
    return sorted(found, key=lambda section: section.start)


def _sections(pieces: Iterable[tuple[str, int, int]], text: str) -> list[Section]:
    found: list[Section] = []
    for name, start, end in pieces:
        body = text[start:end]
        stripped = body.strip()
        if stripped:
            found.append(Section(name, start + body.index(stripped[0]), stripped))
    return found


class _Heading(NamedTuple):
    """A heading from ``start``; its section's text begins at ``end``."""

    name: str
    start: int
    end: int
    within_line: bool


def _headings(text: str) -> list[_Heading]:
    """The headings in order."""
    found: list[_Heading] = []
    colon = text.find(":")
    while colon >= 0:
        heading = _heading_before(text, colon, found[-1].name if found else None)
        if heading is not None:
            found.append(heading)
        colon = text.find(":", colon + 1)
    if "\n" in text:
        for match in _HEADING_LINE.finditer(text):
            name = _NAMES.get(_SPACE.sub(" ", match.group(1).lower()))
            if name is not None and not _BANNER_LINE.match(text, match.start(), match.end()):
                found.append(_Heading(name, match.start(), match.end(), False))
        for match in _BANNER_LINE.finditer(text):
            found.append(_Heading(UNLABELLED, match.start(), match.end(), False))
        found.sort(key=lambda heading: heading.start)
    return found


def _heading_before(text: str, colon: int, current: str | None) -> _Heading | None:
    """The heading that ends at a colon, if the text before it is one; ``current`` is the previous section."""
    window_start = max(0, colon - _LONGEST_HEADING - 1)
    line_start = max(text.rfind("\n", window_start, colon) + 1, window_start)
    tail = _HEADING_TAIL.search(text, line_start, colon)
    if tail is None:
        return None
    for word in _WORD_START.finditer(text, tail.start(), colon):
        start = word.start()
        heading = text[start:colon].rstrip()
        name = _NAMES.get(_SPACE.sub(" ", heading.lower()))
        if name is None:
            continue
        before = text[max(0, start - 16) : start].rstrip(" \t")
        if (not before and start <= 16) or before.endswith("\n"):
            return _Heading(name, start, colon + 1, False)
        after_sentence = before.endswith((".", "!", "?", ";", ":", ")", "]", "_"))
        # Where the examination is being described, the next heading may follow without a full stop.
        expected = name in _ABOUT_THE_EXAMINATION and current in _ABOUT_THE_EXAMINATION
        unmistakable = heading.lower() in _UNMISTAKABLE and (name not in _ABOUT_THE_EXAMINATION or expected)
        if heading[0].isupper() and (after_sentence or unmistakable or (heading.isupper() and len(heading) > 3)):
            return _Heading(name, start, colon + 1, True)
    return None
