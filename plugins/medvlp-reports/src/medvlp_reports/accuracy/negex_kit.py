"""Accuracy of ``rules`` on NegEx's test kit.

    python -m medvlp_reports.accuracy.negex_kit Annotations-1-120.txt

The kit (Chapman et al., J Biomed Inform 2001 and its public releases) is 2,376 sentences of discharge summaries,
surgical pathology, radiology and other reports, tab-separated: report, concept, sentence with the concept in
capitals, and "Affirmed" or "Negated". Its concepts are added to the lexicon as findings; a concept counts as negated if
the filter reads it as absent, and as affirmed otherwise (the kit counts uncertain and historical as affirmed).
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medvlp_reports.certainty import Certainty
from medvlp_reports.lexicon import Lexicon, build_lexicon
from medvlp_reports.phrases import expand
from medvlp_reports.resources import load_yaml
from medvlp_reports.rules import RuleFilter

_NOTATION = re.compile(r"[()|?]")


@dataclass(frozen=True, slots=True)
class Annotated:
    """One line of the kit; ``start`` and ``end`` delimit the concept in the sentence."""

    concept: str
    sentence: str
    start: int
    end: int
    negated: bool


@dataclass(frozen=True, slots=True)
class NegationAgreement:
    """Counts of negated (positive) and affirmed concepts, and the lines that differ."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    missed: tuple[Annotated, ...]

    @property
    def accuracy(self) -> float:
        right = self.true_positives + self.true_negatives
        whole = right + self.false_positives + self.false_negatives
        return right / whole if whole else 0.0


def read_kit(path: str | Path) -> list[Annotated]:
    """The kit's lines.

    Raises FileNotFoundError, or ValueError for a file of another form.
    """
    with Path(path).open(newline="", encoding="utf-8", errors="replace") as stream:
        rows = csv.reader(stream, delimiter="\t")
        next(rows, None)
        return [_annotated(path, number, row) for number, row in enumerate(rows, 2) if row]


def kit_lexicon(kit: Sequence[Annotated]) -> Lexicon:
    """The shipped lexicon with the kit's concepts."""
    phrases = list(dict.fromkeys(phrase for line in kit if expand(phrase := _NOTATION.sub(" ", line.concept).lower())))
    block = {"concept": "kit", "entity": "tail_abnorm_obs", "phrases": phrases}
    findings = {**load_yaml("findings.yaml"), "kit": {"source": "the kit", "blocks": [block]}}
    return build_lexicon(findings, load_yaml("anatomy.yaml"), load_yaml("cues.yaml"))


def negation_agreement(kit: Sequence[Annotated]) -> NegationAgreement:
    """Agreement of the filter's absent findings with the kit's negated concepts."""
    rules = RuleFilter(lexicon=kit_lexicon(kit))
    counts = {(said, meant): 0 for said in (True, False) for meant in (True, False)}
    missed = []
    for line in kit:
        said = _is_denied(rules, line)
        counts[said, line.negated] += 1
        if said != line.negated:
            missed.append(line)
    return NegationAgreement(
        counts[True, True], counts[True, False], counts[False, True], counts[False, False], tuple(missed)
    )


def _is_denied(rules: RuleFilter, line: Annotated) -> bool:
    within = [
        mention.certainty
        for mention in rules.read_text(line.sentence)
        if mention.start < line.end and mention.end > line.start
    ]
    return bool(within) and within[-1] is Certainty.ABSENT


def _annotated(path: str | Path, number: int, row: list[str]) -> Annotated:
    if len(row) != 4 or row[3] not in ("Affirmed", "Negated"):
        raise ValueError(f"{path}, line {number}: expected report, concept, sentence, and Affirmed or Negated")
    _, concept, sentence, said = row
    words = r"\s+".join(map(re.escape, concept.split()))
    # The concept's own occurrence is the one in capitals; a few sentences do not mark it.
    match = re.search(words.upper(), sentence) or re.search(words, sentence, re.IGNORECASE)
    start, end = match.span() if match else (0, 0)
    return Annotated(concept, sentence, start, end, said == "Negated")


def _lines(agreement: NegationAgreement) -> Iterator[str]:
    negated = agreement.true_positives + agreement.false_negatives
    said = agreement.true_positives + agreement.false_positives
    yield f"accuracy {agreement.accuracy:.4f}"
    yield f"negated: precision {agreement.true_positives}/{said}, recall {agreement.true_positives}/{negated}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Accuracy of `rules` on NegEx's test kit.")
    parser.add_argument("kit", type=Path, help="Annotations-1-120.txt")
    parser.add_argument("--missed", action="store_true", help="also show the sentences that differ")
    options = parser.parse_args()
    try:
        agreement = negation_agreement(read_kit(options.kit))
    except (OSError, ValueError) as error:
        print(f"negex_kit: {error}", file=sys.stderr)
        return 2
    print("\n".join(_lines(agreement)))
    for line in agreement.missed if options.missed else ():
        print("negated " if line.negated else "affirmed", f"{line.concept!r}:", " ".join(line.sentence.split()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
