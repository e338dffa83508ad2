"""The rule-based report filter: lexicon, negation and uncertainty with scope, positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from medvlp_reports.assertion import Certainty, Item, certainties
from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lexicon import (
    FINDING,
    IGNORE,
    Lexicon,
    as_lexicon,
)
from medvlp_reports.phrases import SKIPPED, TOKEN, longest_matches
from medvlp_reports.places import anatomy_groups, attach, landmark
from medvlp_reports.sentences import sentences
from medvlp_toolkit.data.records import Finding, Presence, Report
from medvlp_toolkit.data.sections import select_sections

_LONGEST_KEPT = 1000  # characters of a sentence that may be kept; longer ones hardly repeat


class Mention(NamedTuple):
    """One statement about one finding, with more than a ``Finding`` carries.

    ``concept`` is the lexicon's name, ``entity`` its class among the lexicon's, ``position`` one of
    the 51 or None; ``certainty`` keeps likely, possible and historical apart. ``start`` and ``end``
    are characters of the text that was read.
    """

    concept: str
    entity: str
    certainty: Certainty
    position: str | None
    start: int
    end: int


class RuleFilter:
    """Finds what a chest-radiograph report says is there, is not there, may be there, and where.

    Entities and positions are MedKLIP's 75 and 51 (Wu et al., ICCV 2023) in its order, and behind the 75 those that
    the lexicon declares. Cues and
    scopes follow NegEx and ConText; see ``docs/report_filters.md`` for what is measured.

    Args:
        sections: sections of a report that are read; a report without any of them is read whole.
        likely_is_present: count "likely", "probable" as present; else as uncertain.
        lexicon: a YAML file that extends the shipped lexicon or replaces parts of it, or a lexicon that
            ``medvlp_reports.lexicon.read_lexicon`` has read.
        cache_size: sentences whose reading is kept; reports repeat many sentences word for word.

    Example::

        report_filter:
          _target_: medvlp_toolkit.report_filters.rules
          sections: [impression]
    """

    def __init__(
        self,
        sections: Sequence[str] = ("findings", "impression"),
        likely_is_present: bool = True,
        lexicon: Lexicon | str | Path | None = None,
        cache_size: int = 50_000,
    ) -> None:
        vocabulary = medklip_vocabulary()
        self.lexicon = as_lexicon(lexicon)
        self.entities: list[str] = list(self.lexicon.entities)
        self.positions: list[str] = list(vocabulary.positions)
        self.sections = tuple(sections)
        self.likely_is_present = likely_is_present
        self._presence = {
            Certainty.ABSENT: Presence.ABSENT,
            Certainty.POSSIBLE: Presence.UNCERTAIN,
            Certainty.ALTERNATIVE: Presence.UNCERTAIN,
            Certainty.LIKELY: Presence.PRESENT if likely_is_present else Presence.UNCERTAIN,
            Certainty.STATED: Presence.PRESENT,
        }
        self._cache_size = cache_size
        self._cache: dict[str, tuple[Mention, ...]] = {}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the findings depend on besides the report."""
        return {
            "version": version("medvlp-reports"),
            "lexicon": self.lexicon.digest,
            "sections": list(self.sections),
            "likely_is_present": self.likely_is_present,
        }

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        """Findings of each report, in the order of its text; history is left out."""
        return [self.findings(report) for report in reports]

    def findings(self, report: Report) -> list[Finding]:
        """Findings of one report; spans are characters of ``report.text``."""
        presence, history = self._presence, Certainty.HISTORY
        found: list[Finding] = []
        for start, text in select_sections(report, self.sections):
            for shift, mentions in self._sentences(text):
                shift += start
                for concept, entity, certainty, position, first, end in mentions:
                    if certainty is not history:
                        span = (first + shift, end + shift)
                        found.append(Finding(entity, presence[certainty], position, span, concept))
        return found

    def mentions(self, report: Report) -> list[Mention]:
        """Every statement about a finding in the chosen sections of a report."""
        found: list[Mention] = []
        for start, text in select_sections(report, self.sections):
            for shift, mentions in self._sentences(text):
                shift += start
                found.extend(m._replace(start=m.start + shift, end=m.end + shift) for m in mentions)
        return found

    def concepts(self, report: Report) -> Iterator[Mention]:
        """As ``mentions``, but with positions in the text relative to each sentence; faster."""
        for _, text in select_sections(report, self.sections):
            for _, mentions in self._sentences(text):
                yield from mentions

    def _sentences(self, text: str) -> Iterator[tuple[int, tuple[Mention, ...]]]:
        """(start, statements) of each sentence that has any."""
        cache = self._cache
        for start, sentence in sentences(text):
            known = cache.get(sentence)
            if known is None:
                known = self._read_sentence(sentence)
                if len(cache) >= self._cache_size:
                    cache.clear()
                if len(sentence) <= _LONGEST_KEPT:
                    cache[sentence] = known
            if known:
                yield start, known

    def _read_sentence(self, sentence: str) -> tuple[Mention, ...]:
        lowered = _lower(sentence)
        lemma_of = self.lexicon.lemmas
        matches = [match for match in TOKEN.finditer(lowered) if match[0] not in SKIPPED]
        lemmas = [lemma_of[match[0]] for match in matches]
        items: list[Item] = [
            (first, end, term)
            for first, end, term in longest_matches(self.lexicon.trie, lemmas)
            if term.kind is not IGNORE
        ]
        if not any(term.kind is FINDING for _, _, term in items):
            return ()
        certainty = certainties(items)
        places = attach(items, anatomy_groups(items))
        mentions: dict[Any, Mention] = {}
        for index, (first, end, term) in enumerate(items):
            if term.kind is not FINDING:
                continue
            finding = term.value
            start, stop = matches[first].start(), matches[end - 1].end()
            for place in places.get(index) or (None,):
                concept, position = finding.concept, None
                if place is not None:
                    position = landmark(place, finding.organ)
                    for organ in place.organs:
                        if organ.name in finding.refine:
                            concept = finding.refine[organ.name]
                            break
                entity = finding.finer_entities.get(concept, finding.entity)
                mentions.setdefault(
                    (index, concept, position),
                    Mention(concept, entity, certainty[index], position, start, stop),
                )
        return tuple(mentions.values())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}}


def _lower(text: str) -> str:
    """Lower case of the same length, so that places in it are places in the text ("İ" would grow)."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)
