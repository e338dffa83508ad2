"""The lexicon of the rule-based filter: findings, anatomy and cues, compiled into one trie.

The shipped lexicon is three YAML files (``findings.yaml``, ``anatomy.yaml``, ``cues.yaml``); what their
fields mean is written in them. A file of one's own extends it, or replaces parts of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lexicon_file import (
    FindingBlock,
    Layer,
    Placed,
    anatomy_part,
    cues_part,
    findings_layer,
    is_lexicon_file,
    lexicon_layer,
)
from medvlp_reports.phrases import Lemmas, Trie, add_phrase, expand, vocabulary_of
from medvlp_reports.resources import load_yaml
from medvlp_reports.yaml_models import YamlFile, did_you_mean, read_yaml, shown

DEFAULT = "default"
"""The name of the lexicon shipped with the package."""
EXPECTED = f"a lexicon (say `extends: {DEFAULT}` and what it adds)"
SIDES = ("left", "right", "bilateral")
LEVELS = ("upper", "lower", "middle", "mid")
_CONCEPT_FIELDS = {"entity", "kind", "anatomy", "refine"}


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

# Where a phrase is listed under two cues, the earlier one here counts.
_CUES = {
    "neutral": Kind.NEUTRAL,
    "absent_after": Kind.ABSENT_AFTER,
    "absent_either": Kind.ABSENT_EITHER,
    "absent_before": Kind.ABSENT_BEFORE,
    "possible_after": Kind.POSSIBLE_AFTER,
    "possible_list_before": Kind.POSSIBLE_LIST,
    "possible_before": Kind.POSSIBLE_BEFORE,
    "likely_after": Kind.LIKELY_AFTER,
    "likely_before": Kind.LIKELY_BEFORE,
    "history_before": Kind.HISTORY,
    "history_next": Kind.HISTORY_NEXT,
    "change_nouns": Kind.CHANGE,
    "stop": Kind.STOP,
    "restart": Kind.RESTART,
    "verbs": Kind.VERB,
    "conjunctions": Kind.CONJUNCTION,
    "prepositions": Kind.PREPOSITION,
}


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A place: an organ, a side or a level, with the words that the landmark table reads."""

    name: str
    words: frozenset[str]
    role: str  # organ, side or level


@dataclass(frozen=True, slots=True)
class FindingTerm:
    """A finding as the lexicon knows it.

    ``refine`` maps an organ's name to the finer concept that the finding is there, ``finer_entities`` a finer concept
    to its entity where that is not the finding's; ``organ`` is where it lies when a report gives only a side;
    ``denies_what_follows`` is true of "clear of".
    """

    concept: str
    entity: str
    kind: str
    organ: Anatomy | None
    refine: Mapping[str, str]
    denies_what_follows: bool
    finer_entities: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Term:
    """What the trie holds for a phrase."""

    kind: Kind
    value: Any = None
    adjective: bool = False


@dataclass
class Lexicon:
    """Compiled lexicon: ``trie`` over lemmas, ``lemmas`` (word → lemma), ``concepts`` → entity.

    ``entities`` are MedKLIP's 75 in their order, then those that files declare. ``duplicates`` are phrases listed
    under two meanings, of which the first counts; ``digest`` is a hash of what the lexicon was built from.
    """

    trie: Trie
    lemmas: Lemmas
    concepts: dict[str, str]
    organs: dict[str, Anatomy]
    entities: tuple[str, ...] = ()
    duplicates: list[str] = field(default_factory=list)
    digest: str = ""


@cache
def default_lexicon() -> Lexicon:
    """The lexicon shipped with the package."""
    return compile_layers([_shipped()])


def as_lexicon(lexicon: Lexicon | str | Path | None) -> Lexicon:
    """A lexicon as it is given to a filter: the object, a file, ``default`` or None."""
    if isinstance(lexicon, Lexicon):
        return lexicon
    if lexicon is None or lexicon == DEFAULT:
        return default_lexicon()
    if not isinstance(lexicon, str | Path):
        raise ValueError(f"lexicon: {shown(lexicon)} where the name of a file is expected")
    return read_lexicon(lexicon)


def read_lexicon(
    file: str | Path | None = None,
    findings: str | Path | None = None,
    anatomy: str | Path | None = None,
    cues: str | Path | None = None,
) -> Lexicon:
    """The lexicon of ``file``; or the shipped one, with the given files in the place of its parts.

    With ``extends: default`` a file adds to the shipped lexicon, and its phrases come first. Without ``extends`` each
    part that it gives (findings, anatomy, cues) replaces that of the shipped lexicon.

    Raises FileNotFoundError, or ValueError: the first mistake in one line, with the file and the line in it.
    """
    if file is not None:
        content = read_yaml(file, EXPECTED)
        if is_lexicon_file(content.content):
            return compile_layers(_layers_of(content, ()))
        findings = file
    below = _shipped()
    if anatomy:
        below = replace(below, anatomy=anatomy_part(read_yaml(anatomy, "a lexicon's anatomy"), _context([])))
    if cues:
        below = replace(below, cues=cues_part(read_yaml(cues, "a lexicon's cues"), _context([below])))
    if findings:
        whole = findings_layer(read_yaml(findings, "a lexicon's findings"), _context([replace(below, blocks=None)]))
        below = replace(whole, anatomy=below.anatomy, cues=below.cues)
    return compile_layers([below])


def build_lexicon(findings: Mapping[str, Any], anatomy: Mapping[str, Any], cues: Mapping[str, Any]) -> Lexicon:
    """Compile parsed YAML into a lexicon.

    Raises ValueError where a block names an entity, organ or cue that does not exist.
    """
    return compile_layers([_layer(findings, anatomy, cues)])


def compile_layers(layers: Sequence[Layer]) -> Lexicon:
    """One lexicon of several layers, the lowest first. Phrases of a higher layer are found before those below it."""
    irregular = {form: lemma for layer in layers for lemma, forms in layer.irregular.items() for form in forms}
    entities = (*medklip_vocabulary().entities, *(name for layer in layers for name in layer.entities))
    lexicon = Lexicon({}, Lemmas(irregular), {}, _organs(layers), tuple(dict.fromkeys(entities)))
    concepts, finer_entities = _concepts(layers)
    lexicon.concepts.update({name: fields["entity"] for name, fields in concepts.items()})
    for fields in concepts.values():
        for finer in fields["refine"].values():
            lexicon.concepts.setdefault(finer, finer_entities.get(finer, fields["entity"]))
    for layer in reversed(layers):
        _add_layer(lexicon, layer, concepts, finer_entities)
    content = json.dumps([layer.content() for layer in layers], sort_keys=True)
    lexicon.digest = hashlib.sha256(content.encode()).hexdigest()
    spelled_right = (word for layer in layers for word in layer.spelled_right)
    lexicon.lemmas.correct_spelling(vocabulary_of(lexicon.trie).union(spelled_right))
    return lexicon


@cache
def _shipped() -> Layer:
    return _layer(load_yaml("findings.yaml"), load_yaml("anatomy.yaml"), load_yaml("cues.yaml"))


def _layer(findings: Mapping[str, Any], anatomy: Mapping[str, Any], cues: Mapping[str, Any]) -> Layer:
    places = anatomy_part(YamlFile("anatomy", anatomy), _context([]), trusted=True)
    said = cues_part(YamlFile("cues", cues), _context([]), trusted=True)
    context = _context([Layer(anatomy=places)])
    return replace(findings_layer(YamlFile("findings", findings), context, trusted=True), anatomy=places, cues=said)


def _layers_of(file: YamlFile, extended_by: tuple[Path, ...]) -> list[Layer]:
    """The layers of a lexicon file, the lowest first."""
    path = Path(file.name).resolve()
    if path in extended_by:
        raise file.fault(("extends",), "`extends` leads back to a file that this one is extended by")
    extends = file.content.get("extends")
    if extends is None:
        given = {part for part in ("findings", "anatomy", "cues") if file.content.get(part) is not None}
        below = [_without(_shipped(), given)]
    elif extends == DEFAULT:
        below = [_shipped()]
    elif isinstance(extends, str) and extends.lower().endswith((".yaml", ".yml")):
        try:
            other = read_yaml(path.parent / extends, EXPECTED)
        except FileNotFoundError as error:
            raise file.fault(("extends",), str(error)) from None
        below = _layers_of(other, (*extended_by, path))
    else:
        message = f"`extends`: {shown(extends)} where {DEFAULT!r} or another .yaml file is expected"
        raise file.fault(("extends",), message + did_you_mean(str(extends), [DEFAULT]))
    _, layer = lexicon_layer(file, _context(below))
    return [*below, layer]


def _without(layer: Layer, parts: Collection[str]) -> Layer:
    """The layer without the parts that another gives in their place."""
    if "findings" in parts:
        layer = Layer(anatomy=layer.anatomy, cues=layer.cues)
    anatomy = None if "anatomy" in parts else layer.anatomy
    return replace(layer, anatomy=anatomy, cues=None if "cues" in parts else layer.cues)


def _context(layers: Sequence[Layer]) -> dict[str, Any]:
    """The names that a file above these layers may use."""
    organs = list(_organs(layers))
    concepts, _ = _concepts(layers)
    finer = {name for fields in concepts.values() for name in fields["refine"].values()}
    declared = [name for layer in layers for name in layer.entities]
    return {
        "entities": [*medklip_vocabulary().entities, *declared],
        "organs": organs,
        "known_organs": organs,
        "concepts": {*concepts, *finer},
        "cues": list(_CUES),
        "sides": SIDES,
        "levels": LEVELS,
    }


def _organs(layers: Sequence[Layer]) -> dict[str, Anatomy]:
    """Every organ, with the words of the highest layer that gives them."""
    words: dict[str, Sequence[str]] = {}
    for layer in layers:
        for name, organ in layer.anatomy.value.organs.items() if layer.anatomy else ():
            if organ.words is not None:
                words[name] = organ.words
    return {name: Anatomy(name, frozenset(found), "organ") for name, found in words.items()}


def _concepts(layers: Sequence[Layer]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Concept → its fields (entity, kind, anatomy, refine), higher layers first; the own entities of finer concepts.

    A finer concept ("fluid" of the pleura is an effusion) keeps the entity of the word, unless a higher layer gives it
    one of its own.
    """
    known: dict[str, dict[str, Any]] = {}
    finer_entities: dict[str, str] = {}
    for layer in layers:
        below = {*known, *(name for fields in known.values() for name in fields["refine"].values())}
        for part in layer.blocks or ():
            block = part.value
            given = block.model_dump(include=_CONCEPT_FIELDS & block.model_fields_set, exclude_none=True)
            if block.concept in below and "entity" in given:
                finer_entities[block.concept] = given["entity"]
            before = known.setdefault(block.concept, {"entity": _entity_of_finer(known, block.concept)})
            refine = {**before.get("refine", {}), **given.get("refine", {})}
            before.update(given | {"refine": refine})
    return known, finer_entities


def _entity_of_finer(known: Mapping[str, Mapping[str, Any]], concept: str) -> str | None:
    """The entity of a concept that so far is only a finer one of others."""
    parents = (fields["entity"] for fields in known.values() if concept in fields["refine"].values())
    return next(parents, None)


def _add_layer(
    lexicon: Lexicon, layer: Layer, concepts: Mapping[str, Mapping[str, Any]], finer_entities: Mapping[str, str]
) -> None:
    """Put a layer's phrases into the trie, where those of the layers above are already."""
    own: dict[tuple[str, ...], Placed] = {}
    for part in layer.ignore:
        _add(lexicon, own, part, part.value, Term(IGNORE))
    for part in layer.blocks or ():
        block = part.value
        finding = _finding_term(block, concepts[block.concept], lexicon.organs, finer_entities)
        for role in ("phrases", "adjectives"):
            for index, phrase in enumerate(getattr(block, role)):
                here = Placed(phrase, part.file, (*part.place, role, index))
                _add(lexicon, own, here, phrase, Term(FINDING, finding, adjective=phrase in block.adjectives))
    if layer.anatomy:
        anatomy, file, place = layer.anatomy.value, layer.anatomy.file, layer.anatomy.place
        for role in ("side", "level"):
            for name, phrases in getattr(anatomy, f"{role}s").items():
                term = Term(ANATOMY, Anatomy(name, frozenset([name]), role))
                for index, phrase in enumerate(phrases):
                    _add(lexicon, own, Placed(phrase, file, (*place, f"{role}s", name, index)), phrase, term)
        for name, organ in anatomy.organs.items():
            for index, phrase in enumerate(organ.phrases):
                here = Placed(phrase, file, (*place, "organs", name, "phrases", index))
                _add(lexicon, own, here, phrase, Term(ANATOMY, lexicon.organs[name]))
    if layer.cues:
        cues, file, place = layer.cues.value, layer.cues.file, layer.cues.place
        for name, kind in _CUES.items():
            for index, phrase in enumerate(cues[name].phrases if name in cues else ()):
                _add(lexicon, own, Placed(phrase, file, (*place, name, "phrases", index)), phrase, Term(kind, phrase))


def _finding_term(
    block: FindingBlock,
    fields: Mapping[str, Any],
    organs: Mapping[str, Anatomy],
    finer_entities: Mapping[str, str],
) -> FindingTerm:
    refine = fields["refine"]
    return FindingTerm(
        concept=block.concept,
        entity=fields["entity"],
        kind=fields.get("kind", "finding"),
        organ=organs[fields["anatomy"]] if "anatomy" in fields else None,
        refine=refine,
        denies_what_follows=block.cue is not None,
        finer_entities={finer: finer_entities[finer] for finer in refine.values() if finer in finer_entities},
    )


def _add(lexicon: Lexicon, own: dict[tuple[str, ...], Placed], here: Placed, phrase: str, term: Term) -> None:
    """Put a phrase into the trie. ``own`` are the phrases of its layer, of which each may have one meaning."""
    for words in expand(phrase):
        lemmas = tuple(lexicon.lemmas[word] for word in words)
        before = add_phrase(lexicon.trie, lemmas, term)
        if before is None:
            own[lemmas] = here
        elif lemmas in own and (before.kind != term.kind or before.value != term.value):
            if here.file is not None and here.file is own[lemmas].file:
                line = here.file.line(own[lemmas].place)
                raise here.file.fault(here.place, f"{' '.join(words)!r} already has another meaning in line {line}")
            lexicon.duplicates.append(" ".join(lemmas))
