"""Compiles a lexicon from layers: the shipped one, and additions of user files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lexicon import (
    ANATOMY,
    CUES,
    DEFAULT,
    FINDING,
    IGNORE,
    PUNCTUATION,
    Anatomy,
    FindingTerm,
    Lexicon,
    Term,
)
from medvlp_reports.lexicon_file import (
    AnatomyFile,
    FindingBlock,
    Layer,
    OrganBlock,
    Placed,
    TokenWords,
    anatomy_part,
    cues_part,
    findings_layer,
    is_lexicon_file,
    lexicon_layer,
    tokens_part,
)
from medvlp_reports.phrases import REDACTED, add_phrase, expand, vocabulary_of
from medvlp_reports.resources import load_yaml
from medvlp_reports.sentences import Layout
from medvlp_reports.word_forms import AS_WRITTEN, Compounds, Lemmas
from medvlp_reports.yaml_models import YamlFile, did_you_mean, read_yaml, shown

EXPECTED = f"a lexicon (say `extends: {DEFAULT}` and what it adds)"
SIDES = ("left", "right", "bilateral")
LEVELS = ("upper", "lower", "middle", "mid")
CONCEPTS = "concepts"
"""What a file extends that has the concepts and organs of the default lexicon, and words of its own."""
_PARTS = ("findings", "anatomy", "cues", "layout", "tokens")
# Of all blocks of a concept; the other fields are a block's own.
_CONCEPT_FIELDS = {"entity", "kind", "anatomy", "refine", "sign"}


def compile_layers(layers: Sequence[Layer]) -> Lexicon:
    """One lexicon of several layers, the lowest first. Phrases of a higher layer are found before those below it."""
    irregular = {form: lemma for layer in layers for lemma, forms in layer.irregular.items() for form in forms}
    entities = (*medklip_vocabulary().entities, *(name for layer in layers for name in layer.entities))
    tokens = _tokens(layers)
    lemmas = Lemmas(irregular, tokens.stemmer or AS_WRITTEN, bool(tokens.fold_accents))
    lexicon = Lexicon({}, lemmas, {}, _organs(layers), _layout(layers), entities=tuple(dict.fromkeys(entities)))
    lexicon.articles, lexicon.language = frozenset(tokens.articles), tokens.language
    lexicon.skipped = _skipped(tokens)
    concepts, finer_entities = _concepts(layers)
    lexicon.concepts.update({name: fields["entity"] for name, fields in concepts.items()})
    for fields in concepts.values():
        for finer in fields["refine"].values():
            lexicon.concepts.setdefault(finer, finer_entities.get(finer, fields["entity"]))
    for layer in reversed(layers):
        _add_layer(lexicon, layer, concepts, finer_entities)
    for mark, (kind, value) in PUNCTUATION.items():
        add_phrase(lexicon.trie, (mark,), Term(kind, value))
    lemmas.update((mark, mark) for mark in ",;/&")  # these have the same meaning everywhere
    content = json.dumps([layer.content() for layer in layers], sort_keys=True)
    lexicon.digest = hashlib.sha256(content.encode()).hexdigest()
    spelled_right = (word for layer in layers for word in layer.spelled_right)
    lexicon.words = frozenset(vocabulary_of(lexicon.trie))
    lemmas.correct_spelling(lexicon.words.union(spelled_right))
    if tokens.compounds:
        lexicon.compounds = Compounds(tokens.compounds, lemmas, lexicon.words)
    return lexicon


def read_layers(
    file: str | Path | None, findings: str | Path | None, anatomy: str | Path | None, cues: str | Path | None
) -> list[Layer]:
    """The layers of ``file``, the lowest first; or the shipped layer with parts replaced by the given files."""
    if file is not None:
        content = read_yaml(file, EXPECTED)
        if is_lexicon_file(content.content):
            return layers_of(content, ())
        findings = file
    below = shipped_layer()
    if anatomy:
        below = replace(below, anatomy=anatomy_part(read_yaml(anatomy, "a lexicon's anatomy"), context_of([])))
    if cues:
        said, layout = cues_part(read_yaml(cues, "a lexicon's cues"), context_of([below]))
        below = replace(below, cues=said, layout=layout)
    if findings:
        whole = findings_layer(read_yaml(findings, "a lexicon's findings"), context_of([replace(below, blocks=None)]))
        below = replace(whole, anatomy=below.anatomy, cues=below.cues, layout=below.layout, tokens=below.tokens)
    return [below]


@cache
def shipped_layer() -> Layer:
    return layer_of(load_yaml("findings.yaml"), load_yaml("anatomy.yaml"), load_yaml("cues.yaml"))


def layer_of(
    findings: Mapping[str, Any],
    anatomy: Mapping[str, Any],
    cues: Mapping[str, Any],
    tokens: Mapping[str, Any] | None = None,
) -> Layer:
    """The layer of parsed files; those of the package come without places in them."""
    words = tokens_part(YamlFile("tokens", tokens or load_yaml("tokens.yaml")))
    context = context_of([Layer(tokens=words)])
    places = anatomy_part(YamlFile("anatomy", anatomy), context, trusted=True)
    said, layout = cues_part(YamlFile("cues", cues), context, trusted=True)
    context = context_of([Layer(anatomy=places, tokens=words)])
    layer = findings_layer(YamlFile("findings", findings), context, trusted=True)
    return replace(layer, anatomy=places, cues=said, layout=layout, tokens=words)


def layers_of(file: YamlFile, extended_by: tuple[Path, ...], trusted: bool = False) -> list[Layer]:
    """The layers of a lexicon file, the lowest first."""
    path = Path(file.name).resolve()
    if path in extended_by:
        raise file.fault(("extends",), "`extends` leads back to a file that this one is extended by")
    extends = file.content.get("extends")
    if extends is None:
        given = {part for part in _PARTS if file.content.get(part) is not None}
        below = [_without(shipped_layer(), given)]
    elif extends == CONCEPTS:
        below = [_concepts_layer()]
    elif extends in lexicon_names():
        below = shipped_layers(extends)
    elif isinstance(extends, str) and extends.lower().endswith((".yaml", ".yml")):
        try:
            other = read_yaml(path.parent / extends, EXPECTED)
        except FileNotFoundError as error:
            raise file.fault(("extends",), str(error)) from None
        below = layers_of(other, (*extended_by, path))
    else:
        known = [*lexicon_names(), CONCEPTS]
        message = f"`extends`: {shown(extends)} where {', '.join(known)} or another .yaml file is expected"
        raise file.fault(("extends",), message + did_you_mean(str(extends), known))
    _, layer = lexicon_layer(file, context_of(below), trusted)
    return [*below, layer]


def lexicon_names() -> list[str]:
    """The names of the shipped lexicons."""
    folder = files("medvlp_reports").joinpath("data", "languages")
    found = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    return [DEFAULT, *found]


@cache
def shipped_layers(name: str) -> list[Layer]:
    """The layers of a shipped lexicon."""
    if name == DEFAULT:
        return [shipped_layer()]
    return layers_of(YamlFile(name, load_yaml(f"languages/{name}.yaml")), (), trusted=True)


@cache
def _concepts_layer() -> Layer:
    """The concepts and organs of the default lexicon without words, as the basis of a lexicon for another language."""
    layer = shipped_layer()
    no_words: dict[str, list[str]] = {"phrases": [], "adjectives": []}
    anatomy = layer.anatomy.value if layer.anatomy else AnatomyFile()
    organs = {name: OrganBlock(words=organ.words) for name, organ in anatomy.organs.items()}
    return Layer(
        blocks=[replace(part, value=part.value.model_copy(update=no_words)) for part in layer.blocks or ()],
        anatomy=Placed(AnatomyFile.model_construct(sides={}, levels={}, organs=organs)),
    )


def _without(layer: Layer, parts: Collection[str]) -> Layer:
    """The layer without the parts that another replaces."""
    if "tokens" in parts:
        layer = replace(layer, tokens=None)
    if "layout" in parts:
        layer = replace(layer, layout=None)
    if "findings" in parts:
        layer = Layer(anatomy=layer.anatomy, cues=layer.cues, layout=layer.layout, tokens=layer.tokens)
    anatomy = None if "anatomy" in parts else layer.anatomy
    return replace(layer, anatomy=anatomy, cues=None if "cues" in parts else layer.cues)


def _layout(layers: Sequence[Layer]) -> Layout:
    """The words of all layers."""
    words: dict[str, set[str]] = {}
    for layer in layers:
        for name, listed in (layer.layout.model_dump(exclude={"source"}) if layer.layout else {}).items():
            words.setdefault(name, set()).update(listed)
    closed = tuple(sorted(words.pop("closed_endings", ())))
    listed_words: dict[str, Any] = {name: frozenset(listed) for name, listed in words.items()}
    listed_words["closed_endings"] = closed
    tokens = _tokens(layers)
    return Layout(**listed_words, capital_nouns=bool(tokens.capital_nouns), ordinal_stops=bool(tokens.ordinal_stops))


def _tokens(layers: Sequence[Layer]) -> TokenWords:
    """The words of all layers; for single values, those of the highest layer."""
    merged: dict[str, Any] = {}
    for layer in layers:
        given = layer.tokens.model_dump(exclude={"source"}, exclude_none=True) if layer.tokens else {}
        for name, value in given.items():
            if isinstance(value, list):
                value = [*merged.get(name, ()), *value]
            elif isinstance(value, dict):
                value = {**merged.get(name, {}), **value}
            merged[name] = value
    return TokenWords.model_construct(**merged)


def _skipped(tokens: TokenWords) -> frozenset[str]:
    return REDACTED.union(tokens.articles, tokens.fillers)


def context_of(layers: Sequence[Layer]) -> dict[str, Any]:
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
        "cues": list(CUES),
        "sides": SIDES,
        "levels": LEVELS,
        "skipped": _skipped(_tokens(layers)),
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
        # Adjectives come first: where a noun has the same base form ("elongación", "elongada"), it may be either.
        for role in ("adjectives", "phrases"):
            for index, phrase in enumerate(getattr(block, role)):
                here = Placed(phrase, part.file, (*part.place, role, index))
                _add(lexicon, own, here, phrase, Term(FINDING, finding, adjective=role == "adjectives"))
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
        for name, meaning in CUES.items():
            kind, said = meaning if isinstance(meaning, tuple) else (meaning, None)
            for index, phrase in enumerate(cues[name].phrases if name in cues else ()):
                _add(lexicon, own, Placed(phrase, file, (*place, name, "phrases", index)), phrase, Term(kind, said))


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
        only_at=frozenset(block.only_at),
        may_change=block.may_change,
        sign=fields.get("sign", False),
        finer_entities={finer: finer_entities[finer] for finer in refine.values() if finer in finer_entities},
    )


def _add(lexicon: Lexicon, own: dict[tuple[str, ...], Placed], here: Placed, phrase: str, term: Term) -> None:
    """Put a phrase into the trie. ``own`` are the phrases of its layer, of which each may have one meaning."""
    for words in expand(phrase, lexicon.skipped):
        lemmas = tuple(lexicon.lemmas[word] for word in words)
        before = add_phrase(lexicon.trie, lemmas, term)
        if before is None:
            own[lemmas] = here
        elif lemmas in own and (before.kind != term.kind or before.value != term.value):
            if here.file is not None and here.file is own[lemmas].file:
                line = here.file.line(own[lemmas].place)
                raise here.file.fault(here.place, f"{' '.join(words)!r} already has another meaning in line {line}")
            lexicon.duplicates.append(" ".join(lemmas))
