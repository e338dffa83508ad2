"""The rule-based report filter: lexicon, negation and uncertainty with scope, positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from medvlp_reports.assertion import Certainty, certainties
from medvlp_reports.attachment import attach
from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.language import LanguageCheck
from medvlp_reports.lexicon import FINDING, FindingTerm, Lexicon, as_lexicon
from medvlp_reports.places import Place, anatomy_groups, landmark
from medvlp_reports.reading import NOTHING, read_items
from medvlp_reports.sentences import sentences
from medvlp_toolkit.data.headings import Headings, read_headings, shipped_headings
from medvlp_toolkit.data.records import Finding, Presence, Report
from medvlp_toolkit.data.sections import DEFAULT_SECTIONS, Section, read_sections

_REPORTS_KEPT = 1024  # whose language is known, for those who ask for it before or after the findings
_LONGEST_KEPT = 1000  # characters of a sentence that may be kept; longer ones hardly repeat


class Mention(NamedTuple):
    """One statement about one finding, with more than a ``Finding`` carries.

    ``concept`` is the lexicon's name, ``entity`` its class among the lexicon's, ``position`` one of
    the 51 or None; ``certainty`` keeps likely, possible and historical apart. ``start`` and ``end``
    are characters of the text that was read; ``amends``: an addendum says it.
    """

    concept: str
    entity: str
    certainty: Certainty
    position: str | None
    start: int
    end: int
    amends: bool = False


class _Foreign(tuple[Mention, ...]):
    """No statements, of a sentence in another language; its own type, since there is but one empty tuple."""

    __slots__ = ()


_FOREIGN = _Foreign()


class RuleFilter:
    """Finds what a chest-radiograph report says is there, is not there, may be there, and where.

    Entities and positions are MedKLIP's 75 and 51 (Wu et al., ICCV 2023) in its order, and behind the 75 those that
    the lexicon declares. Cues and scopes follow NegEx and ConText; see ``docs/report_accuracy.md`` for measurements.

    Args:
        sections: sections of a report that are read; a report without any of them is read whole. Where an
            addendum contradicts other sections, it counts.
        likely_is_present: count "likely", "probable" as present; else as uncertain.
        headings: a YAML file of headings besides those that come with the toolkit
            (``medvlp_toolkit.data.headings``).
        lexicon: ``default`` (English), ``german``, ``spanish``; a YAML file that extends one of them or replaces parts
            of the default; or a lexicon that ``medvlp_reports.lexicon.read_lexicon`` has read.
        on_foreign: what to do with a report in a language that the lexicon does not read: ``skip`` it, so that it has
            no finding, or ``read`` it all the same.
        cache_size: sentences whose reading is kept; reports repeat many sentences word for word.

    Example::

        report_filter:
          _target_: medvlp_toolkit.report_filters.rules
          sections: [impression]
    """

    def __init__(
        self,
        sections: Sequence[str] = DEFAULT_SECTIONS,
        likely_is_present: bool = True,
        headings: str | Path | None = None,
        lexicon: Lexicon | str | Path | None = None,
        on_foreign: Literal["skip", "read"] = "skip",
        cache_size: int = 50_000,
    ) -> None:
        if on_foreign not in ("skip", "read"):
            raise ValueError(f"on_foreign is 'skip' or 'read', not {on_foreign!r}")
        vocabulary = medklip_vocabulary()
        self.lexicon = as_lexicon(lexicon)
        self.entities: list[str] = list(self.lexicon.entities)
        self.positions: list[str] = list(vocabulary.positions)
        self.sections = tuple(sections)
        self.headings: Headings = shipped_headings() if headings is None else read_headings(headings)
        self.likely_is_present = likely_is_present
        self._presence = {
            Certainty.ABSENT: Presence.ABSENT,
            Certainty.POSSIBLE: Presence.UNCERTAIN,
            Certainty.ALTERNATIVE: Presence.UNCERTAIN,
            Certainty.LIKELY: Presence.PRESENT if likely_is_present else Presence.UNCERTAIN,
            Certainty.STATED: Presence.PRESENT,
        }
        self.on_foreign = on_foreign
        self._language = LanguageCheck(self.lexicon) if on_foreign == "skip" else None
        self._languages: dict[str, str | None] = {}  # of the reports read last
        self._tally: Counter[str] = Counter()
        self._cache_size = cache_size
        self._cache: dict[str, tuple[Mention, ...]] = {}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the findings depend on besides the report."""
        return {
            "version": version("medvlp-reports"),
            "lexicon": self.lexicon.digest,
            "sections": list(self.sections),
            "headings": self.headings.digest,
            "likely_is_present": self.likely_is_present,
            "on_foreign": self.on_foreign,
        }

    def foreign(self, report: Report) -> str | None:
        """The name of the language that a report is in, where the lexicon does not read it and it is skipped."""
        return self._foreign(report.text, lambda: read_sections(report, self.sections, self.headings))

    def _foreign(self, text: str, sections: Callable[[], Sequence[Section]]) -> str | None:
        """The same; ``sections`` are those of the report with this text."""
        if self._language is None:
            return None
        known = self._languages.get(text, "")
        if known == "":
            if len(self._languages) >= _REPORTS_KEPT:
                self._languages.clear()
            known = self._language.other_language("\n".join(section.text for section in sections()))
            self._languages[text] = known
        return known

    def take_tally(self) -> Counter[str]:
        """Reports and statements in other languages, which were not read, since the last call."""
        taken, self._tally = self._tally, Counter()
        return taken

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        """Findings of each report, in the order of its text; history is left out."""
        return [self.findings(report) for report in reports]

    def findings(self, report: Report) -> list[Finding]:
        """Findings of one report; spans are characters of ``report.text``."""
        presence, history = self._presence, Certainty.HISTORY
        sections = read_sections(report, self.sections, self.headings)
        language = self._foreign(report.text, lambda: sections)
        if language is not None:
            self._tally[f"reports in {language}, not read"] += 1
            return []
        if any(section.amends for section in sections):
            return [
                Finding(m.entity, presence[m.certainty], m.position, (m.start, m.end), m.concept)
                for m in self.mentions(report)
                if m.certainty is not history
            ]
        # The same, without a mention of its own for each finding.
        found: list[Finding] = []
        for section in sections:
            for shift, mentions in self._sentences(section.text):
                shift += section.start
                for concept, entity, certainty, position, first, end, _ in mentions:
                    if certainty is not history:
                        found.append(
                            Finding(entity, presence[certainty], position, (first + shift, end + shift), concept)
                        )
        return found

    def mentions(self, report: Report) -> list[Mention]:
        """Every statement about a finding in the chosen sections of a report."""
        found: list[Mention] = []
        amended = False
        sections = read_sections(report, self.sections, self.headings)
        if self._foreign(report.text, lambda: sections) is not None:
            return []
        for section in sections:
            amended = amended or section.amends
            found.extend(self.read_text(section.text, section.start, section.amends))
        return amend(found) if amended else found

    def read_text(self, text: str, start: int = 0, amends: bool = False) -> Iterator[Mention]:
        """Every statement about a finding in a text of a report, which begins at ``start``."""
        for shift, mentions in self._sentences(text):
            shift += start
            for concept, entity, certainty, position, first, end, _ in mentions:
                yield Mention(concept, entity, certainty, position, first + shift, end + shift, amends)

    def _sentences(self, text: str) -> Iterator[tuple[int, tuple[Mention, ...]]]:
        """(start, statements) of each sentence that has any."""
        cache = self._cache
        for start, sentence in sentences(text, self.lexicon.layout):
            known = cache.get(sentence)
            if known is None:
                known = self._read_sentence(sentence)
                if len(cache) >= self._cache_size:
                    cache.clear()
                if len(sentence) <= _LONGEST_KEPT:
                    cache[sentence] = known
            if known:
                yield start, known
            elif known is _FOREIGN:
                self._tally["statements in another language, not read"] += 1

    def _read_sentence(self, sentence: str) -> tuple[Mention, ...]:
        read = read_items(sentence, self.lexicon)
        if read is NOTHING:
            return ()
        if self._language is not None and self._language.of_statement(sentence) is not None:
            return _FOREIGN
        items, spans = read.items, read.spans
        certainty = certainties(read)
        places = attach(items, anatomy_groups(items))
        mentions: list[Mention] = []
        for index, (first, end, term) in enumerate(items):
            if term.kind is not FINDING:
                continue
            finding, said = term.value, certainty[index]
            start, stop = spans[first][0], spans[end - 1][1]
            found = places.get(index)
            if not found:
                mentions.append(Mention(finding.concept, finding.entity, said, None, start, stop))
                continue
            # Two places may have one name: "the right and left lung bases".
            names = dict.fromkeys((_concept_at(place, finding), landmark(place, finding.organ)) for place in found)
            for concept, position in names:
                entity = finding.finer_entities.get(concept, finding.entity)
                mentions.append(Mention(concept, entity, said, position, start, stop))
        return tuple(mentions)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}, "_languages": {}, "_tally": Counter()}


def _concept_at(place: Place, finding: FindingTerm) -> str:
    """The finer concept that a finding is at a place: "enlarged" of the heart."""
    for organ in place.organs:
        if organ.name in finding.refine:
            return finding.refine[organ.name]
    return finding.concept


_SAID = {
    Certainty.ABSENT: 0,
    Certainty.POSSIBLE: 1,
    Certainty.ALTERNATIVE: 1,
    Certainty.LIKELY: 2,
    Certainty.STATED: 2,
}
_SIDES = (None, "left", "right")


def amend(mentions: list[Mention]) -> list[Mention]:
    """Without the statements that an addendum contradicts: the same concept, denied instead of seen, or the reverse.

    Statements about another side stay.
    """
    later = {
        (mention.concept, _side(mention.position), _SAID[mention.certainty])
        for mention in mentions
        if mention.amends and mention.certainty in _SAID
    }
    return [mention for mention in mentions if mention.amends or not _is_contradicted(mention, later)]


def _is_contradicted(mention: Mention, later: set[tuple[str, str | None, int]]) -> bool:
    said, side = _SAID.get(mention.certainty), _side(mention.position)
    if said is None:
        return False
    sides = _SIDES if side is None else (None, side)
    return any((mention.concept, other, value) in later for other in sides for value in (0, 1, 2) if value != said)


def _side(position: str | None) -> str | None:
    """The side of a position, if it has one."""
    return next((side for side in ("left", "right") if position is not None and side in position.split("_")), None)
