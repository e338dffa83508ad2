"""The lexicon of the rule-based filter: findings, anatomy and cues, compiled into one trie.

The shipped lexicon is three YAML files (``findings.yaml``, ``anatomy.yaml``, ``cues.yaml``); their
fields are documented in the files. A user's file extends the lexicon or replaces parts of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from medvlp_reports.phrases import COLUMN, QUESTION_AFTER, QUESTION_BEFORE, Trie
from medvlp_reports.sentences import Layout
from medvlp_reports.word_forms import Compounds, Lemmas

DEFAULT = "default"
"""The name of the lexicon shipped with the package."""


class Kind(IntEnum):
    """The role of a phrase in a sentence."""

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


# Comparing with a module-level name is eight times as fast as with `Kind.FINDING`, which matters, because every
# sentence needs hundreds of comparisons.
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
    """Subtypes of a kind."""

    AND = "and"  # conjunctions
    COMMA = ","
    OR = "or"
    WITH = "with"
    COLON = ":"  # verbs and their substitutes
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

PUNCTUATION: dict[str, tuple[Kind, Any]] = {
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

# If a phrase is listed under two cues, the earlier one here takes precedence.
CUES: dict[str, Kind | tuple[Kind, Any]] = {
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

    A lexicon has one object for each; they are compared by identity, which is fast.
    """

    name: str
    words: frozenset[str]
    role: str  # organ, side or level


@dataclass(frozen=True, slots=True)
class FindingTerm:
    """A finding in the lexicon.

    ``refine`` maps an organ's name to the finer concept that the finding is there, ``finer_entities`` a finer concept
    to its entity if it differs from the finding's; ``organ`` is its organ if a report gives only a side;
    ``denies_what_follows`` is true of "clear of". A word with ``only_at`` is a finding at those organs only, and a size
    elsewhere ("large heart", "large effusion"); one that ``may_change`` is a change where it is that of a finding
    ("enlargement of the nodule"). A ``sign`` is an appearance, not a diagnosis: "opacity", not "pneumonia".
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
    finer_entities: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Term:
    """The trie's value for a phrase."""

    kind: Kind
    value: Any = None
    adjective: bool = False


@dataclass
class Lexicon:
    """Compiled lexicon: ``trie`` over lemmas, ``lemmas`` (word → lemma), ``concepts`` → entity.

    ``entities`` are MedKLIP's 75 in their order, then those that files declare. ``layout`` has the words that show
    whether a line's end ends a statement. ``words`` are the lemmas of all phrases, ``skipped`` words that count for
    nothing, ``articles`` among them; ``compounds`` takes words apart, in languages that have compounds; ``language`` is
    the code of its language, if declared. ``duplicates`` are phrases listed under two meanings, of which
    the first counts; ``digest`` is a hash of what the lexicon was built from.
    """

    trie: Trie
    lemmas: Lemmas
    concepts: dict[str, str]
    organs: dict[str, Anatomy]
    layout: Layout = field(default_factory=Layout)
    words: frozenset[str] = frozenset()
    articles: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    compounds: Compounds | None = None
    language: str | None = None
    entities: tuple[str, ...] = ()
    duplicates: list[str] = field(default_factory=list)
    digest: str = ""


@cache
def default_lexicon() -> Lexicon:
    """The lexicon shipped with the package."""
    return _layers().compile_layers([_layers().shipped_layer()])


@cache
def shipped_lexicon(name: str) -> Lexicon:
    """A shipped lexicon: ``default``, ``german`` or ``spanish``."""
    lexicon: Lexicon = _layers().compile_layers(_layers().shipped_layers(name))
    return lexicon


def as_lexicon(lexicon: Lexicon | str | Path | None) -> Lexicon:
    """The lexicon for a filter's argument: an object, a file, ``default``, ``german``, ``spanish``, or None."""
    if isinstance(lexicon, Lexicon):
        return lexicon
    if lexicon is None or lexicon == DEFAULT:
        return default_lexicon()
    if lexicon in _layers().lexicon_names():
        return shipped_lexicon(str(lexicon))
    if not isinstance(lexicon, str | Path):
        raise ValueError(f"lexicon: {lexicon!r} where the name of a file is expected")
    return read_lexicon(lexicon)


def read_lexicon(
    file: str | Path | None = None,
    findings: str | Path | None = None,
    anatomy: str | Path | None = None,
    cues: str | Path | None = None,
) -> Lexicon:
    """The lexicon of ``file``, or the shipped one with parts replaced by the given files.

    With ``extends: default`` a file adds to the shipped lexicon, and its phrases come first. Without ``extends`` each
    part that it gives (findings, anatomy, cues) replaces that of the shipped lexicon.

    Raises FileNotFoundError, or ValueError with the first mistake in one line, its file and its line number.
    """
    return _layers().compile_layers(_layers().read_layers(file, findings, anatomy, cues))


def build_lexicon(
    findings: Mapping[str, Any],
    anatomy: Mapping[str, Any],
    cues: Mapping[str, Any],
    tokens: Mapping[str, Any] | None = None,
) -> Lexicon:
    """Compile parsed YAML into a lexicon; ``tokens`` None are those of English.

    Raises ValueError where a block names an entity, organ or cue that does not exist.
    """
    return _layers().compile_layers([_layers().layer_of(findings, anatomy, cues, tokens)])


def _layers() -> Any:
    """The module that compiles lexicons of the types above."""
    from medvlp_reports import lexicon_layers

    return lexicon_layers
