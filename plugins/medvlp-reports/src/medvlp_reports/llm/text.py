"""The part of a report that is sent to the model."""

from __future__ import annotations

from collections.abc import Sequence

from medvlp_toolkit.data.headings import Headings
from medvlp_toolkit.data.records import Report
from medvlp_toolkit.data.sections import read_sections

ADDENDUM = "ADDENDUM:"
"""Stands before what corrects the rest."""


class TextRead:
    """The selected sections of a report as one text, with their positions in the report."""

    def __init__(self, report: Report, sections: Sequence[str], headings: Headings) -> None:
        self.text = ""
        self._pieces: list[tuple[int, int, int]] = []  # start in the text, end in it, start in the report
        for section in read_sections(report, sections, headings):
            if self.text:
                self.text += "\n"
            if section.amends:
                self.text += f"{ADDENDUM}\n"
            start = len(self.text)
            self.text += section.text
            self._pieces.append((start, len(self.text), section.start))

    def span_in_report(self, span: tuple[int, int] | None) -> tuple[int, int] | None:
        """The span in the report's text; None if it is not within exactly one section."""
        if span is None:
            return None
        for start, end, place in self._pieces:
            if start <= span[0] and span[1] <= end:
                return span[0] - start + place, span[1] - start + place
        return None
