"""The lexicon of the rule-based filter: findings, anatomy and cues, compiled into one trie.

A lexicon is three YAML files (``findings.yaml``, ``anatomy.yaml``, ``cues.yaml``); what their
fields mean is written in them. A user's own files may replace any of the three.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.phrases import (
    COLUMN,
    QUESTION_AFTER,
    QUESTION_BEFORE,
    Lemmas,
    Trie,
    add_phrase,
    expand,
    vocabulary_of,
)
from medvlp_reports.resources import load_yaml, load_yaml_file
from medvlp_reports.sentences import Layout


class Kind(IntEnum):
    """What a phrase does in a sentence."""

    FINDING = 0
    ANATOMY = 1
    ABSENT_BEFORE = 2
    ABSENT_AFTER = 3
    ABSENT_EITHER = 4
    POSSIBLE_BEFORE = 5
    POSSIBLE_AFTER = 6
    LIKELY_BEFORE = 7
    LIKELY_AFTER = 8
    HISTORY = 9
    HISTORY_NEXT = 10
    NEUTRAL = 11
    CHANGE = 12
    STOP = 13
    RESTART = 14
    VERB = 15
    CONJUNCTION = 16
    PREPOSITION = 17
    IGNORE = 18
    POSSIBLE_LIST = 19
    POSSIBLE_EITHER = 20
    LIKELY_EITHER = 21
    ABSENT_NEXT = 22
    HISTORY_AFTER = 23
    NOW = 24
    CHANGED = 25
    NOT_FINDING = 26
    AFFIRMED = 27
    DASH = 28
    MODIFIER = 29
    TAB = 30


# Comparing with a module's own name is eight times as fast as with `Kind.FINDING`, which counts:
# every sentence asks hundreds of times.
FINDING = Kind.FINDING
ANATOMY = Kind.ANATOMY
ABSENT_BEFORE = Kind.ABSENT_BEFORE
ABSENT_AFTER = Kind.ABSENT_AFTER
ABSENT_EITHER = Kind.ABSENT_EITHER
POSSIBLE_BEFORE = Kind.POSSIBLE_BEFORE
POSSIBLE_AFTER = Kind.POSSIBLE_AFTER
LIKELY_BEFORE = Kind.LIKELY_BEFORE
LIKELY_AFTER = Kind.LIKELY_AFTER
HISTORY = Kind.HISTORY
HISTORY_NEXT = Kind.HISTORY_NEXT
NEUTRAL = Kind.NEUTRAL
CHANGE = Kind.CHANGE
STOP = Kind.STOP
RESTART = Kind.RESTART
VERB = Kind.VERB
CONJUNCTION = Kind.CONJUNCTION
PREPOSITION = Kind.PREPOSITION
IGNORE = Kind.IGNORE
POSSIBLE_LIST = Kind.POSSIBLE_LIST
POSSIBLE_EITHER = Kind.POSSIBLE_EITHER
LIKELY_EITHER = Kind.LIKELY_EITHER
ABSENT_NEXT = Kind.ABSENT_NEXT
HISTORY_AFTER = Kind.HISTORY_AFTER
NOW = Kind.NOW
CHANGED = Kind.CHANGED
NOT_FINDING = Kind.NOT_FINDING
AFFIRMED = Kind.AFFIRMED
DASH = Kind.DASH
MODIFIER = Kind.MODIFIER
TAB = Kind.TAB


class Sense(Enum):
    """What is distinguished within a kind."""

    AND = "and"  # conjunctions
    COMMA = ","
    OR = "or"
    WITH = "with"
    COLON = ":"  # verbs, and what stands in their place
    COPULA = "is"
    PERSIST = "persists"
    SEEN = "is seen"  # says no more than that something shows
    STATES = "has"
    AGAINST = "than"  # prepositions: "more likely A than B"
    CAUSE = "due to"
    PART = "of"
    CONTRAST = "but"  # stops: it may still say more of what stands before
    RELATIVE = "which"
    BESIDE = "adjacent"  # modifiers: a finding lies where the one before it does
    QUESTION = "?"


AND, COMMA, OR, WITH = Sense.AND, Sense.COMMA, Sense.OR, Sense.WITH
COLON, COPULA, PERSIST, SEEN, STATES = Sense.COLON, Sense.COPULA, Sense.PERSIST, Sense.SEEN, Sense.STATES
AGAINST, CAUSE, PART = Sense.AGAINST, Sense.CAUSE, Sense.PART
CONTRAST, RELATIVE, BESIDE, QUESTION = Sense.CONTRAST, Sense.RELATIVE, Sense.BESIDE, Sense.QUESTION

_PUNCTUATION = {
    ",": (Kind.CONJUNCTION, COMMA),
    "&": (Kind.CONJUNCTION, AND),
    "/": (Kind.CONJUNCTION, OR),
    ":": (Kind.VERB, COLON),
    "=": (Kind.VERB, COLON),
    ";": (Kind.STOP, None),
    "-": (Kind.DASH, None),
    COLUMN: (Kind.TAB, None),
    "+": (Kind.AFFIRMED, None),
    QUESTION_BEFORE: (Kind.POSSIBLE_BEFORE, None),
    QUESTION_AFTER: (Kind.POSSIBLE_AFTER, QUESTION),
}

# Where a phrase is listed under two cues, the earlier one here counts.
_CUES = {
    "neutral": Kind.NEUTRAL,
    "not_finding": Kind.NOT_FINDING,
    "absent_next": Kind.ABSENT_NEXT,
    "history_after": Kind.HISTORY_AFTER,
    "affirmed": Kind.AFFIRMED,
    "now": Kind.NOW,
    "absent_after": Kind.ABSENT_AFTER,
    "absent_either": Kind.ABSENT_EITHER,
    "absent_before": Kind.ABSENT_BEFORE,
    "possible_after": Kind.POSSIBLE_AFTER,
    "possible_list_before": Kind.POSSIBLE_LIST,
    "possible_before": Kind.POSSIBLE_BEFORE,
    "possible_either": Kind.POSSIBLE_EITHER,
    "likely_either": Kind.LIKELY_EITHER,
    "likely_after": Kind.LIKELY_AFTER,
    "likely_before": Kind.LIKELY_BEFORE,
    "history_before": Kind.HISTORY,
    "history_next": Kind.HISTORY_NEXT,
    "change_nouns": Kind.CHANGE,
    "changed": Kind.CHANGED,
    "stop": Kind.STOP,
    "contrast": (Kind.STOP, CONTRAST),
    "relatives": (Kind.STOP, RELATIVE),
    "quantities": Kind.MODIFIER,
    "beside": (Kind.MODIFIER, BESIDE),
    "restart": Kind.RESTART,
    "seen": (Kind.VERB, SEEN),
    "copulas": (Kind.VERB, COPULA),
    "states": (Kind.VERB, STATES),
    "persisting": (Kind.VERB, PERSIST),
    "verbs": Kind.VERB,
    "conjunctions": (Kind.CONJUNCTION, AND),
    "alternatives": (Kind.CONJUNCTION, OR),
    "accompaniments": (Kind.CONJUNCTION, WITH),
    "against": (Kind.PREPOSITION, AGAINST),
    "causes": (Kind.PREPOSITION, CAUSE),
    "part_of": (Kind.PREPOSITION, PART),
    "prepositions": Kind.PREPOSITION,
}


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """A place: an organ, a side or a level, with the words that the landmark table reads.

    A lexicon has one object for each; they are compared by identity, which is quick.
    """

    name: str
    words: frozenset[str]
    role: str  # organ, side or level


@dataclass(frozen=True, slots=True)
class FindingTerm:
    """A finding as the lexicon knows it.

    ``refine`` maps an organ's name to the finer concept that the finding is there; ``organ`` is
    where it lies when a report gives only a side; ``denies_what_follows`` is true of "clear of". A word
    with ``only_at`` is a finding at those organs only, and a size elsewhere ("large heart", "large effusion");
    one that ``may_change`` is a change where it is that of a finding ("enlargement of the nodule"). A
    ``sign`` is what shows and not what it means: "opacity", not "pneumonia".
    """

    concept: str
    entity: str
    kind: str
    organ: Anatomy | None
    refine: Mapping[str, str]
    denies_what_follows: bool
    only_at: frozenset[str] = frozenset()
    may_change: bool = False
    sign: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """What the trie holds for a phrase."""

    kind: Kind
    value: Any = None
    adjective: bool = False


@dataclass
class Lexicon:
    """Compiled lexicon: ``trie`` over lemmas, ``lemmas`` (word → lemma), ``concepts`` → entity.

    ``layout`` has the words that show whether a line's end ends a statement; ``duplicates`` are phrases listed under
    two meanings, of which the first counts; ``digest`` is a hash of what the lexicon was built from.
    """

    trie: Trie
    lemmas: Lemmas
    concepts: dict[str, str]
    organs: dict[str, Anatomy]
    layout: Layout = field(default_factory=Layout)
    duplicates: list[str] = field(default_factory=list)
    digest: str = ""


@cache
def default_lexicon() -> Lexicon:
    """The lexicon shipped with the package."""
    return build_lexicon(load_yaml("findings.yaml"), load_yaml("anatomy.yaml"), load_yaml("cues.yaml"))


def read_lexicon(
    findings: str | Path | None = None, anatomy: str | Path | None = None, cues: str | Path | None = None
) -> Lexicon:
    """A lexicon in which the given files replace the shipped ones."""
    return build_lexicon(
        load_yaml_file(findings) if findings else load_yaml("findings.yaml"),
        load_yaml_file(anatomy) if anatomy else load_yaml("anatomy.yaml"),
        load_yaml_file(cues) if cues else load_yaml("cues.yaml"),
    )


def build_lexicon(findings: Mapping[str, Any], anatomy: Mapping[str, Any], cues: Mapping[str, Any]) -> Lexicon:
    """Compile parsed YAML into a lexicon.

    Raises ValueError where a block names an entity, organ or cue that does not exist.
    """
    lexicon = Lexicon({}, Lemmas(_irregular(findings)), {}, {}, Layout.from_cues(cues))
    organs = {name: Anatomy(name, frozenset(block["words"]), "organ") for name, block in anatomy["organs"].items()}
    lexicon.organs.update(organs)

    unknown = set(cues) - set(_CUES) - {"source", "layout"}
    if unknown:
        raise ValueError(f"cues: unknown kind {sorted(unknown)[0]!r}; known kinds are {', '.join(_CUES)}")

    for phrase in findings.get("ignore", {}).get("phrases", ()):
        _add(lexicon, phrase, Term(Kind.IGNORE))
    for block in _finding_blocks(findings):
        term = _finding_term(block, organs)
        lexicon.concepts[term.concept] = term.entity
        for finer in term.refine.values():
            lexicon.concepts.setdefault(finer, term.entity)
        adjectives = set(block.get("adjectives", ()))
        for phrase in [*block.get("phrases", ()), *block.get("adjectives", ())]:
            _add(lexicon, phrase, Term(Kind.FINDING, term, adjective=phrase in adjectives))
    for role in ("side", "level"):
        for name, phrases in anatomy[f"{role}s"].items():
            place = Anatomy(name, frozenset([name]), role)
            for phrase in phrases:
                _add(lexicon, phrase, Term(Kind.ANATOMY, place))
    for name, block in anatomy["organs"].items():
        for phrase in block["phrases"]:
            _add(lexicon, phrase, Term(Kind.ANATOMY, organs[name]))
    for name, meaning in _CUES.items():
        kind, value = meaning if isinstance(meaning, tuple) else (meaning, None)
        for phrase in cues.get(name, {}).get("phrases", ()):
            _add(lexicon, phrase, Term(kind, value))
    for mark, (kind, value) in _PUNCTUATION.items():
        add_phrase(lexicon.trie, (mark,), Term(kind, value))
    lexicon.lemmas.update((mark, mark) for mark in ",;/&")  # these mean the same wherever they stand
    content = json.dumps([findings, anatomy, cues], sort_keys=True, default=str)
    lexicon.digest = hashlib.sha256(content.encode()).hexdigest()
    words = vocabulary_of(lexicon.trie).union(findings.get("spelled_right", ()))
    lexicon.lemmas.correct_spelling(words)
    return lexicon


def _irregular(findings: Mapping[str, Any]) -> dict[str, str]:
    return {form: lemma for lemma, forms in findings.get("irregular", {}).items() for form in forms}


def _finding_blocks(findings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name, section in findings.items():
        if name not in ("source", "ignore", "irregular", "spelled_right"):
            yield from section["blocks"]


def _finding_term(block: Mapping[str, Any], organs: Mapping[str, Anatomy]) -> FindingTerm:
    concept = block["concept"]
    if block["entity"] not in medklip_vocabulary().entities:
        raise ValueError(f"findings: concept {concept!r} has entity {block['entity']!r}, which is none of the 75")
    only_at = block.get("only_at", ())
    places = [*([block["anatomy"]] if "anatomy" in block else []), *block.get("refine", {}), *only_at]
    for place in places:
        if place not in organs:
            raise ValueError(f"findings: concept {concept!r} names organ {place!r}, which anatomy does not list")
    if block.get("cue", "absent_before") != "absent_before":
        raise ValueError(f"findings: concept {concept!r} has cue {block['cue']!r}; only absent_before is possible")
    return FindingTerm(
        concept=concept,
        entity=block["entity"],
        kind=block.get("kind", "finding"),
        organ=organs[block["anatomy"]] if "anatomy" in block else None,
        refine=dict(block.get("refine", {})),
        denies_what_follows="cue" in block,
        only_at=frozenset(only_at),
        may_change=block.get("may_change", False),
        sign=block.get("sign", False),
    )


def _add(lexicon: Lexicon, phrase: str, term: Term) -> None:
    if not isinstance(phrase, str):
        raise ValueError(
            f"lexicon: phrase {phrase!r} is no text; YAML reads on, off, yes, no as truth values, so quote"
        )
    for words in expand(phrase):
        lemmas = tuple(lexicon.lemmas[word] for word in words)
        before = add_phrase(lexicon.trie, lemmas, term)
        if before is not None and (before.kind != term.kind or before.value != term.value):
            lexicon.duplicates.append(" ".join(lemmas))
