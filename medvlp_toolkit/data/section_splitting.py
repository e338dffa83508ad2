"""Splits a report's text into sections at the headings of `medvlp_toolkit.data.headings`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from medvlp_toolkit.data.headings import LONGEST_TITLE, Headings, normalised, shipped_headings

UNLABELLED = "unlabelled"
"""Name of text without a heading."""

# Sections about reason and technique; a paragraph break ends them, because in many reports without a
# findings heading the text itself is the paragraph after them.
ABOUT_THE_EXAMINATION = frozenset(
    ["indication", "history", "comparison", "technique", "examination", "date", "notification", "wet_read"]
)

_DELIMITER = re.compile(r"(?<!\d):(?!//)|:(?!\d)|(?<=\s)[-–—]{1,3}(?=\s)")
_WORD_START = re.compile(r"(?<![\w(/&-])[^\W\d_]")
_DECORATION = " \t#*=>|•·"  # around a heading: "## Findings", "**FINDINGS:**", "=== IMPRESSION ==="
_SENTENCE_ENDS = tuple(".!?;:)]_|")
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)")
_PARAGRAPH_BREAK = re.compile(r"\n[ \t\r]*\n")
_COMPLETE_LINE = re.compile(r"[.!?][ \t\r]*\n")
# Line breaks of exports; each is replaced by the same number of characters, so that offsets stay valid.
_WRITTEN_BREAK = re.compile(
    r"\\r\\n|\\n|\\\.br\\|\\X0[AD]\\|<br\s{0,3}/?>|\r\n?|[\x0b\x0c\x85\u2028\u2029]", re.IGNORECASE
)
_ODD_BREAK = re.compile(r"[\\<\r\x0b\x0c\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its name, and its ``text``, which begins at ``start`` in the report.

    ``amends``: it is part of an addendum and takes precedence over contradicting sections.
    """

    name: str
    start: int
    text: str
    amends: bool = False

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class _Heading(NamedTuple):
    """A heading from ``start`` to ``end``, where its section's text begins. ``banner``: the part opened by a banner."""

    name: str
    start: int
    end: int
    within_line: bool = False
    banner: str = ""


def plain_breaks(text: str) -> str:
    """The text with every kind of line break as ``\\n``, also ``\\\\n`` and ``<br>``; its length is unchanged."""
    if _ODD_BREAK.search(text) is None:
        return text
    return _WRITTEN_BREAK.sub(lambda match: " " * (len(match[0]) - 1) + "\n", text)


def split_sections(text: str, headings: Headings | None = None) -> list[Section]:
    """The non-empty sections of a report's text, in order.

    A heading is one of the usual names before a colon or a dash, at the start of a line or after a sentence
    ("Findings", "Impression" and the like, capitalised, anywhere in a line); or such a name alone on its line.
    Names are unified: CONCLUSION is ``impression``, REASON FOR EXAM is ``indication``. An examination's title
    ("CHEST, TWO VIEWS:") begins ``findings``, and so does the label of an item ("LUNGS:") after a description
    of the examination. Text without a heading is ``unlabelled``.
    """
    headings = headings or shipped_headings()
    plain = plain_breaks(text)
    found = _superseded(list(_found_headings(plain, headings)))
    pieces = _pieces(plain, found)
    if found and all(name in ABOUT_THE_EXAMINATION for name, _, _ in _filled(pieces, plain)):
        pieces = _without_heading(pieces, plain)
    first_read = min((start for name, start, _ in pieces if name in ("findings", "impression")), default=len(text))
    amended = _amended(found, len(text), first_read)
    sections = []
    for name, start, end in _filled(pieces, plain):
        while amended and amended[-1][1] <= start:
            amended.pop()
        if name == UNLABELLED and found and all(map(headings.is_title, _lines(text[start:end]))):
            name = "examination"
        sections.append(Section(name, start, text[start:end], bool(amended) and amended[-1][0] <= start))
    return sections


def _lines(text: str) -> list[str]:
    return [line for line in map(str.strip, text.split("\n")) if line]


def _pieces(text: str, headings: list[_Heading]) -> list[tuple[str, int, int]]:
    """(name, start, end) of the text between headings."""
    if not headings:
        return [(UNLABELLED, 0, len(text))]
    ends = [heading.start for heading in headings[1:]] + [len(text)]
    pieces = [(UNLABELLED, 0, headings[0].start)]
    for heading, end in zip(headings, ends, strict=True):
        name, body = heading.name, heading.end
        if name in ABOUT_THE_EXAMINATION:
            before, *place = pieces[-1]
            reading = before not in ABOUT_THE_EXAMINATION and (len(pieces) > 1 or text[slice(*place)].strip())
            if heading.within_line and reading:
                # "FINDINGS: Comparison: none. The heart is …" continues the findings.
                gap, following = _SENTENCE_END.search(text, body, end), before
            else:
                content = end - len(text[body:end].lstrip())
                gap, following = _PARAGRAPH_BREAK.search(text, content, end), UNLABELLED
            if gap:
                pieces += [(name, body, gap.start()), (following, gap.end(), end)]
                continue
        pieces.append((name, body, end))
    return pieces


def _without_heading(pieces: list[tuple[str, int, int]], text: str) -> list[tuple[str, int, int]]:
    """For a report with sections about the examination only: the text after the first full line of the last one."""
    name, start, end = pieces[-1]
    content = end - len(text[start:end].lstrip())
    gap = _COMPLETE_LINE.search(text, content, end)
    if gap is None:
        return pieces
    return [*pieces[:-1], (name, start, gap.end()), (UNLABELLED, gap.end(), end)]


def _filled(pieces: Iterable[tuple[str, int, int]], text: str) -> Iterator[tuple[str, int, int]]:
    """The non-empty pieces, stripped of surrounding space and decoration."""
    for name, start, end in pieces:
        body = text[start:end]
        stripped = body.lstrip()
        if stripped.startswith(("**", "##")):
            stripped = stripped.lstrip(_DECORATION).lstrip()
        start += len(body) - len(stripped)
        stripped = stripped.rstrip()
        if stripped:
            yield name, start, start + len(stripped)


def _superseded(headings: list[_Heading]) -> list[_Heading]:
    """The headings, those of a preliminary report as ``wet_read`` if a final report follows."""
    last = max((index for index, heading in enumerate(headings) if heading.banner == "report"), default=-1)
    found, preliminary = [], False
    for index, heading in enumerate(headings):
        if heading.banner:
            preliminary = heading.banner == "wet_read" and index < last
        found.append(heading._replace(name="wet_read") if preliminary else heading)
    return found


def _amended(headings: list[_Heading], end: int, first_read: int) -> list[tuple[int, int]]:
    """The spans of addenda, the last first; ``first_read`` is the start of findings or impression.

    An addendum extends to the line that opens the report proper, or to the end of the text if findings or an impression
    precede it, or else to the next heading.
    """
    found: list[tuple[int, int]] = []
    report, following = end, end  # the next line that opens the report proper, the next heading
    for heading in reversed(headings):
        if heading.name == "addendum":
            reach = report if report < end or first_read < heading.start else following
            if found and found[-1][0] <= reach:
                reach = max(reach, found.pop()[1])
            found.append((heading.start, reach))
        following = heading.start
        if heading.banner == "report":
            report = heading.start
    return found


def _found_headings(text: str, headings: Headings) -> list[_Heading]:
    """The headings in order."""
    current: str | None = None
    lower_case = text.islower()
    candidates: list[_Heading] = []
    lines = list(_heading_lines(text, headings)) if "\n" in text else []
    place = 0
    for delimiter in _DELIMITER.finditer(text):
        while place < len(lines) and lines[place].start < delimiter.start():
            line = lines[place]
            place += 1
            if line.name != "item" or current in ABOUT_THE_EXAMINATION:
                candidates.append(_as_findings(line))
                current = candidates[-1].name
        heading = _heading_before(text, delimiter, current, headings, lower_case)
        if heading is not None:
            candidates.append(heading)
            current = heading.name
    for line in lines[place:]:
        if line.name != "item" or current in ABOUT_THE_EXAMINATION:
            candidates.append(_as_findings(line))
            current = candidates[-1].name
    return candidates


def _as_findings(line: _Heading) -> _Heading:
    """The label of an item alone on its line is part of the findings that it begins."""
    return _Heading("findings", line.start, line.start) if line.name == "item" else line


def _heading_lines(text: str, headings: Headings) -> Iterator[_Heading]:
    """Headings, titles and banners alone on a line."""
    start = 0
    complete = True  # a sentence may begin here: the previous line is empty or ends one
    lower_case = text.islower()
    longest = max(headings.longest, LONGEST_TITLE) + 20
    while start <= len(text):
        stop = text.find("\n", start)
        end = len(text) if stop < 0 else stop
        line = text[start:end].strip() if end - start <= 2 * longest else text[end - 40 : end].rstrip()
        bare = line.strip(_DECORATION) if len(line) <= longest and end - start <= 2 * longest else ""
        if bare and bare[0].isalpha():
            decorated = line != bare
            capitals = bare.isupper()
            key = normalised(bare)
            begins = capitals or decorated or (complete and (bare[0].isupper() or lower_case))
            begins = begins or (bare[0].isupper() and key in headings.unmistakable)
            name = headings.names.get(key)
            banner = headings.banners.get(key, "")
            if banner and begins and (banner != "report" or capitals or decorated or name is None):
                opened = "addendum" if banner == "addendum" else UNLABELLED
                yield _Heading(opened, start, end, banner=banner)
            elif name is not None and begins:
                yield _Heading(name, start, end)
            elif key in headings.items and (capitals or decorated):
                yield _Heading("item", start + text[start:end].index(bare[0]), end)
            elif begins and (capitals or complete) and headings.is_title(bare):
                yield _Heading("findings", start, end)
        complete = not line or line.endswith((".", "!", "?", ":"))
        if stop < 0:
            return
        start = stop + 1


def _heading_before(
    text: str, delimiter: re.Match[str], current: str | None, headings: Headings, lower_case: bool
) -> _Heading | None:
    """The heading that ends at a delimiter, if there is one; ``current`` is the section before it."""
    mark, end = delimiter.start(), delimiter.end()
    dash = text[mark] != ":"
    window_start = max(0, mark - max(headings.longest, LONGEST_TITLE) - 8)
    line_start = max(text.rfind("\n", window_start, mark) + 1, window_start)
    line = text[line_start:mark]
    at_line_start = line_start == 0 or text[line_start - 1] == "\n"
    indent = len(line) - len(line.lstrip(_DECORATION))
    first = line_start + indent
    if at_line_start:
        named = headings.section(line.strip(_DECORATION))
        if named is not None and not (dash and line[indent:].islower() and not lower_case):
            return _Heading(named, line_start, end)
        if headings.is_title(line):
            return _Heading("findings", line_start, end)
    for word in _WORD_START.finditer(text, max(line_start, mark - headings.longest - 4), mark):
        start = word.start()
        heading = text[start:mark].strip(_DECORATION)
        key = normalised(heading)
        name = headings.names.get(key)
        item = name is None and key in headings.items
        if name is None and not item:
            continue
        if at_line_start and start == first:
            if item:
                return None if dash or current not in ABOUT_THE_EXAMINATION else _Heading("findings", start, start)
            return _Heading(str(name), line_start, end)
        before = text[max(0, start - 16) : start].rstrip(" \t")
        after_sentence = before.endswith(_SENTENCE_ENDS)
        if item:
            begun = after_sentence and not before.endswith((":", ")", "]", "_"))
            if begun and not dash and current in ABOUT_THE_EXAMINATION:
                return _Heading("findings", start, start)
            continue
        assert name is not None
        # In a description of the examination, the next heading may follow without a full stop.
        expected = name in ABOUT_THE_EXAMINATION and current in ABOUT_THE_EXAMINATION
        unmistakable = key in headings.unmistakable and (name not in ABOUT_THE_EXAMINATION or expected)
        capital = heading[0].isupper() or lower_case
        if dash:
            accepted = capital and (heading.isupper() or after_sentence) and len(heading) > 3
        else:
            accepted = after_sentence or (capital and (unmistakable or (heading.isupper() and len(heading) > 3)))
        if accepted:
            return _Heading(name, start, end, True)
    return None
