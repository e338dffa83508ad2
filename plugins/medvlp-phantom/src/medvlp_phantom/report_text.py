"""Writes the report of a phantom image, and records what each sentence states.

Statements are recorded while the text is written, so a report filter with the MedKLIP
vocabulary can be checked against :class:`WrittenReport.statements`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from medvlp_phantom.difficulty import FINDINGS
from medvlp_phantom.planning import BOTH, Observation
from medvlp_phantom.report_phrases import (
    ABSENT_NOUNS,
    CARDIOMEGALY,
    CATHETER,
    COMPARISONS,
    DENIALS,
    GRADED_BY_SEVERITY,
    HEDGED,
    INDICATIONS,
    LOCATED,
    MENTION_RATE_OF_ABSENT,
    MENTIONS,
    NAMED,
    NORMAL_IMPRESSIONS,
    NORMAL_STATEMENTS,
    PACEMAKER_LEAD,
    REFERENCES,
    SEVERITY,
    TECHNIQUES,
    TIPS,
    Where,
    places,
)
from medvlp_toolkit.data.records import Finding, Presence, Report

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and what it states: (finding, presence, positions)."""

    text: str
    statements: tuple[tuple[str, Presence, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report and everything it states about the phantom's findings, in the order of the text.

    A sentence that names two positions of one finding gives two statements with one span.
    """

    report: Report
    statements: tuple[Finding, ...]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


class _Author:
    """Writes with one generator; separates the choice of words from the facts."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def _fill(self, template: str, name: str, side: str, size: str, where: Where) -> str:
        plural = side == BOTH and name == "effusion"
        noun = {"effusion": "effusions" if plural else "effusion"}.get(name, name)
        bare = plural or name in ("atelectasis", "edema")
        text = template
        if plural:
            text = re.sub(r"\bis\b", "are", text)
        if side == BOTH:
            text = text.replace("{Place} shows", "{Place} show")
        words = {"size": size, "adjective": where.adjective or "", "noun": noun, "place": where.place}
        # The article follows the first word after it.
        following = re.search(r"\{[aA]rticle\}(\w+|\{\w+\})", text)
        article = ""
        if following and not bare:
            first = words.get(following.group(1).strip("{}"), following.group(1))
            article = "an " if first[:1] in "aeiou" else "a "
        words["article"] = article
        for key, value in words.items():
            text = text.replace("{" + key + "}", value).replace("{" + _capital(key) + "}", _capital(value))
        return _capital(text)

    def present(self, seen: Observation) -> list[Sentence]:
        """One sentence (for a pacemaker sometimes two) that states a finding of the image."""
        size = SEVERITY[seen.size] if seen.name in GRADED_BY_SEVERITY else seen.size
        if seen.name == "cardiomegaly":
            template, positions = self.pick(CARDIOMEGALY)
            text = template.replace("{Size}", _capital(size)).replace("{size}", size)
            return [Sentence(text, ((seen.name, Presence.PRESENT, positions),))]
        if seen.name == "catheter":
            template, sided = self.pick(CATHETER)
            text = template.replace("{tip}", self.pick(TIPS[seen.level]))
            text = text.replace("{Side}", _capital(seen.side)).replace("{side}", seen.side)
            positions = (f"{seen.side}_lung_unspec", seen.level) if sided else (seen.level,)
            return [Sentence(text, ((seen.name, Presence.PRESENT, positions),))]
        where = self.pick(places(seen.name, seen.side, seen.level))
        statement = ((seen.name, Presence.PRESENT, (where.position,)),)
        if seen.name == "pacemaker":
            if where.adjective is None or self.chance(0.4):
                text = self.pick(
                    (f"A pacemaker projects over {where.place}.", f"Pacemaker generator overlying {where.place}.")
                )
            else:
                text = self.pick(
                    (
                        f"{_capital(where.adjective)} pacemaker in place.",
                        f"There is a {where.adjective} single chamber pacemaker.",
                        f"{_capital(where.adjective)} pacemaker is again noted.",
                    )
                )
            sentences = [Sentence(text, statement)]
            if self.chance(0.4):
                sentences.append(Sentence(self.pick(PACEMAKER_LEAD)))
            return sentences
        named = where.adjective is not None and (seen.name == "edema" or self.chance(0.6))
        template = self.pick(NAMED if named else LOCATED)
        return [Sentence(self._fill(template, seen.name, seen.side, size, where), statement)]

    def hedged(self, seen: Observation) -> Sentence:
        """A sentence that leaves a finding open."""
        options = [where for where in places(seen.name, seen.side, seen.level) if where.adjective is not None]
        where = self.pick(options)
        text = self._fill(self.pick(HEDGED), seen.name, seen.side, "small", where)
        return Sentence(text, ((seen.name, Presence.UNCERTAIN, (where.position,)),))

    def other_side(self, seen: Observation) -> Sentence:
        """The absence of a finding on the side where it is not."""
        other = "left" if seen.side == "right" else "right"
        if seen.name == "effusion":
            return Sentence(f"No {other} pleural effusion.", ((seen.name, Presence.ABSENT, (f"{other}_pleural",)),))
        return Sentence(f"No {other} apical pneumothorax.", ((seen.name, Presence.ABSENT, (f"{other}_apical_lung",)),))

    def denial(self, names: list[str]) -> Sentence:
        """One sentence that denies one finding or a list of them."""
        nouns = [self.pick(ABSENT_NOUNS[name]) for name in names]
        if len(names) == 2 and self.chance(0.2):
            text = f"Neither {nouns[0]} nor {nouns[1]} is seen."
        elif len(names) == 1 and self.chance(0.15):
            text = f"{_capital(nouns[0])} is absent."
        else:
            joint = ", or " if len(nouns) > 2 and self.chance(0.4) else " or "
            listed = nouns[0] if len(nouns) == 1 else ", ".join(nouns[:-1]) + joint + nouns[-1]
            text = self.pick(DENIALS).replace("{list}", listed)
        said = zip(names, nouns, strict=True)
        return Sentence(text, tuple((name, Presence.ABSENT, _absent_position(noun)) for name, noun in said))

    def denials(self, absent: list[str]) -> list[Sentence]:
        """Denials of some of the absent findings, alone and in lists."""
        named = [name for name in absent if self.chance(MENTION_RATE_OF_ABSENT[name])]
        order = [named[int(i)] for i in self.rng.permutation(len(named))]
        sentences = []
        while order:
            count = min(len(order), int(self.rng.choice((1, 1, 2, 2, 3, 4))))
            sentences.append(self.denial(order[:count]))
            order = order[count:]
        return sentences


def _absent_position(noun: str) -> tuple[str, ...]:
    if noun.startswith("pleural"):
        return ("pleural_unspec",)
    if noun.startswith("pulmonary"):
        return ("pulmonary",)
    return ()


def write_report(
    rng: np.random.Generator,
    report_id: str,
    observations: Sequence[Observation],
    view: str = "PA",
    names: Sequence[str] = FINDINGS,
) -> WrittenReport:
    """Write the report of an image that shows exactly ``observations`` out of the findings called ``names``."""
    author = _Author(rng)
    shown = [seen for seen in observations if seen.certain]
    doubtful = [seen for seen in observations if not seen.certain]
    reported = {seen.name for seen in observations}
    absent = [name for name in names if name not in reported]

    groups: list[list[Sentence]] = []
    for seen in shown:
        sentences = author.present(seen)
        if seen.name in ("effusion", "pneumothorax") and seen.side != BOTH and author.chance(0.08):
            sentences.append(author.other_side(seen))
        groups.append(sentences)
    groups += [[author.hedged(seen)] for seen in doubtful]
    groups += [[sentence] for sentence in author.denials(absent)]
    for rate, must_be_absent, wordings in NORMAL_STATEMENTS:
        if not reported.intersection(must_be_absent) and author.chance(rate):
            groups.append([Sentence(author.pick(wordings))])
    if not groups:
        groups.append([Sentence("Osseous structures are intact.")])
    body = [sentence for index in rng.permutation(len(groups)) for sentence in groups[int(index)]]

    impression: list[Sentence] = []
    if shown or doubtful:
        repeated = [seen for seen in shown if author.chance(0.7)]
        impression = [author.present(seen)[0] for seen in repeated]
        impression += [author.hedged(seen) for seen in doubtful if author.chance(0.7)]
    if not impression:
        impression = [Sentence(author.pick(REFERENCES if reported else NORMAL_IMPRESSIONS))]
    return _assemble(author, report_id, body, impression, view)


def _assemble(
    author: _Author, report_id: str, body: list[Sentence], impression: list[Sentence], view: str
) -> WrittenReport:
    """Lay sentences out as running text or under headings, and find where each finding is named."""
    parts: list[tuple[str, list[Sentence]]]
    if author.chance(0.35):
        parts = [("", body)]
    else:
        parts = [("findings", body), ("impression", impression)]
        if author.chance(0.25):
            parts.insert(0, ("technique", [Sentence(TECHNIQUES[view])]))
        if author.chance(0.3):
            parts.insert(0, ("comparison", [Sentence(author.pick(COMPARISONS))]))
        if author.chance(0.3):
            parts.insert(0, ("indication", [Sentence(author.pick(INDICATIONS))]))
    text = ""
    sections: dict[str, str] = {}
    findings: list[Finding] = []
    for heading, sentences in parts:
        text += ("\n" if text else "") + (f"{heading.upper()}: " if heading else "")
        begin = len(text)
        for number, sentence in enumerate(sentences):
            text += " " if number else ""
            for name, presence, positions in sentence.statements:
                match = MENTIONS[name].search(sentence.text)
                if match is None:
                    raise AssertionError(f"a sentence about {name} does not name it: {sentence.text!r}")
                span = len(text) + match.start(), len(text) + match.end()
                findings += [Finding(name, presence, position, span) for position in positions or (None,)]
            text += sentence.text
        if heading:
            sections[heading] = text[begin:]
    return WrittenReport(Report(report_id, text, sections), tuple(findings))
