"""The files of a lexicon as models, and the layers that they are read into.

A lexicon is written in one file (``LexiconFile``), or in three: findings, anatomy and cues, as the shipped one is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from medvlp_reports.phrases import REDACTED, expand
from medvlp_reports.word_forms import stemmer_names
from medvlp_reports.yaml_models import Strict, YamlFile, did_you_mean

_LONGEST_PHRASE = 2_000
_Place = tuple[str | int, ...]
_Model = TypeVar("_Model", bound=BaseModel)


def _phrase(text: str, info: ValidationInfo) -> str:
    """A phrase in the lexicon's notation."""
    if len(text) > _LONGEST_PHRASE:
        raise ValueError(f"a phrase of {len(text):,} characters; expected a few words")
    try:
        sequences = expand(text, (info.context or {}).get("skipped", REDACTED))
    except RecursionError:
        raise ValueError("a phrase nested too deeply; expected a few brackets") from None
    if not sequences:
        raise ValueError(f"phrase {text!r} has no word that counts")
    return text


def _known(name: str, info: ValidationInfo, kind: str, advice: str) -> str:
    known: Collection[str] = (info.context or {}).get(kind, ())
    if name not in known:
        hint = did_you_mean(name, known)
        raise ValueError(advice.format(name=repr(name), hint=hint, or_known=hint or f"; there are {', '.join(known)}"))
    return name


def _entity(name: str, info: ValidationInfo) -> str:
    return _known(
        name, info, "entities", "entity {name} is not one of the 75 (declare a new one under `entities:`){hint}"
    )


def _organ(name: str, info: ValidationInfo) -> str:
    return _known(name, info, "organs", "organ {name} is one that anatomy does not list{hint}")


def _cue(name: str, info: ValidationInfo) -> str:
    return _known(name, info, "cues", "unknown kind {name}{or_known}")


def _side(name: str, info: ValidationInfo) -> str:
    return _known(name, info, "sides", "unknown side {name}{or_known}")


def _level(name: str, info: ValidationInfo) -> str:
    return _known(name, info, "levels", "unknown level {name}{or_known}")


def _stemmer(name: str) -> str:
    known = stemmer_names()
    if name not in known:
        raise ValueError(f"no stemmer {name!r}{did_you_mean(name, known) or '; there are ' + ', '.join(known)}")
    return name


def _phrases_alone(value: Any) -> Any:
    return {"phrases": value} if isinstance(value, list) else value


def _without_source(value: Any) -> Any:
    return {key: item for key, item in value.items() if key != "source"} if isinstance(value, dict) else value


def _kinds_alone(value: Any) -> Any:
    value = _without_source(value)
    return {key: item for key, item in value.items() if key != "layout"} if isinstance(value, dict) else value


Name = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
Phrase = Annotated[str, AfterValidator(_phrase)]
Phrases = list[Phrase]
Entity = Annotated[Name, AfterValidator(_entity)]
OrganName = Annotated[Name, AfterValidator(_organ)]
Irregular = dict[Name, list[Name]]


class FindingBlock(Strict):
    """A concept: its words and its entity. For a concept of the extended lexicon, only changes are needed."""

    concept: Name
    entity: Entity | None = None
    anatomy: OrganName | None = None
    kind: Literal["finding", "normal", "change", "device"] | None = None
    cue: Literal["absent_before"] | None = None
    phrases: Phrases = Field(default_factory=list)
    adjectives: Phrases = Field(default_factory=list)
    refine: dict[OrganName, Name] = Field(default_factory=dict)
    only_at: list[OrganName] = Field(default_factory=list)
    may_change: bool = False
    sign: bool = False

    @model_validator(mode="after")
    def _is_complete(self, info: ValidationInfo) -> FindingBlock:
        known = (info.context or {}).get("concepts", ())
        if self.entity is None and self.concept not in known:
            raise ValueError(
                f"concept {self.concept!r} is new and has no `entity`: one of the 75, or one declared under `entities:`"
                + did_you_mean(self.concept, known)
            )
        return self


class FindingSection(Strict):
    """Concepts that belong together."""

    source: str | None = None
    blocks: list[FindingBlock]


class PhraseList(Strict):
    """Phrases and where they are from."""

    source: str | None = None
    phrases: Phrases


class FindingsFile(BaseModel):
    """``findings.yaml``: sections of concepts, irregular forms, and ignored phrases."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[str, FindingSection]

    source: str | None = None
    irregular: Irregular = Field(default_factory=dict)
    spelled_right: list[Name] = Field(default_factory=list)
    ignore: PhraseList | None = None


class OrganBlock(Strict):
    """An organ: the words that the landmark table reads, and its phrases."""

    words: list[Name] | None = None
    phrases: Phrases = Field(default_factory=list)


class AnatomyFile(Strict):
    """``anatomy.yaml``: sides, levels and organs."""

    source: str | None = None
    sides: dict[Annotated[str, AfterValidator(_side)], Phrases] = Field(default_factory=dict)
    levels: dict[Annotated[str, AfterValidator(_level)], Phrases] = Field(default_factory=dict)
    organs: dict[Name, OrganBlock] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _new_organs_have_words(self, info: ValidationInfo) -> AnatomyFile:
        known = (info.context or {}).get("known_organs", ())
        for name, organ in self.organs.items():
            if organ.words is None and name not in known:
                raise ValueError(f"organ {name!r} is new and has no `words` for the landmark table")
        return self


_Kinds = dict[Annotated[str, AfterValidator(_cue)], Annotated[PhraseList, BeforeValidator(_phrases_alone)]]


class LayoutWords(Strict):
    """Words that determine whether a line break ends a statement; see ``medvlp_reports.sentences.Layout``."""

    source: str | None = None
    abbreviations: list[Name] = Field(default_factory=list)
    open_words: list[Name] = Field(default_factory=list)
    closed_endings: list[Name] = Field(default_factory=list)
    continuing_words: list[Name] = Field(default_factory=list)
    answers: list[Name] = Field(default_factory=list)


class TokenWords(Strict):
    """``tokens.yaml``: how text is taken apart into words, explained in the file."""

    source: str | None = None
    language: Name | None = None
    stemmer: Annotated[str, AfterValidator(_stemmer)] | None = None
    fold_accents: bool | None = None
    articles: list[Name] = Field(default_factory=list)
    fillers: list[Name] = Field(default_factory=list)
    compounds: dict[Name, Name] = Field(default_factory=dict)
    capital_nouns: bool | None = None
    ordinal_stops: bool | None = None


class CuesFile(BaseModel):
    """``cues.yaml``, read under the one key that this model has; it includes the layout."""

    model_config = ConfigDict(strict=True, frozen=True)
    cues: Annotated[_Kinds, BeforeValidator(_kinds_alone)]


class _LayoutOfCues(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")
    layout: LayoutWords = Field(default_factory=LayoutWords)


class LexiconFile(Strict):
    """A lexicon in one file. With ``extends`` it adds to another; without, each part given replaces the default's."""

    extends: str | None = None
    source: str | None = None
    entities: list[Name] = Field(default_factory=list)
    findings: list[FindingBlock] | None = None
    ignore: Phrases = Field(default_factory=list)
    irregular: Irregular = Field(default_factory=dict)
    spelled_right: list[Name] = Field(default_factory=list)
    anatomy: AnatomyFile | None = None
    cues: Annotated[_Kinds | None, BeforeValidator(_without_source)] = None
    layout: LayoutWords | None = None
    tokens: TokenWords | None = None


@dataclass(frozen=True)
class Placed:
    """A part of a layer and where in which file it stands; ``file`` is None for the shipped lexicon."""

    value: Any
    file: YamlFile | None = None
    place: _Place = ()


@dataclass
class Layer:
    """What one lexicon adds to the one below it. Parts that are None are not given."""

    blocks: list[Placed] | None = None  # of FindingBlock
    ignore: list[Placed] = field(default_factory=list)  # of str
    irregular: Irregular = field(default_factory=dict)
    spelled_right: list[str] = field(default_factory=list)
    anatomy: Placed | None = None  # of AnatomyFile
    cues: Placed | None = None  # of {kind: PhraseList}
    layout: LayoutWords | None = None
    tokens: TokenWords | None = None
    entities: list[str] = field(default_factory=list)

    def content(self) -> Any:
        """What a hash of the layer is taken of."""
        return [
            [part.value.model_dump() for part in self.blocks or ()],
            [part.value for part in self.ignore],
            self.irregular,
            self.spelled_right,
            self.anatomy.value.model_dump() if self.anatomy else None,
            {kind: part.model_dump() for kind, part in self.cues.value.items()} if self.cues else None,
            self.layout.model_dump() if self.layout else None,
            self.tokens.model_dump() if self.tokens else None,
            self.entities,
        ]


def is_lexicon_file(content: Mapping[Any, Any]) -> bool:
    """Whether a mapping is a lexicon in one file; else it is a file of findings in sections."""
    return not any(isinstance(value, dict) and "blocks" in value for value in content.values())


def lexicon_layer(file: YamlFile, context: Mapping[str, Any], trusted: bool = False) -> tuple[LexiconFile, Layer]:
    """The file's model and layer; ``context`` has the names of the lexicon below it."""
    model = file.into(LexiconFile, _with_own_names(file.content, context))
    own = None if trusted else file
    blocks = None
    if model.findings is not None:
        blocks = [Placed(block, own, ("findings", index)) for index, block in enumerate(model.findings)]
    return model, Layer(
        blocks=blocks,
        ignore=[Placed(phrase, own, ("ignore", index)) for index, phrase in enumerate(model.ignore)],
        irregular=dict(model.irregular),
        spelled_right=list(model.spelled_right),
        anatomy=None if model.anatomy is None else Placed(model.anatomy, own, ("anatomy",)),
        cues=None if model.cues is None else Placed(model.cues, own, ("cues",)),
        layout=model.layout,
        tokens=model.tokens,
        entities=list(model.entities),
    )


def findings_layer(file: YamlFile, context: Mapping[str, Any], trusted: bool = False) -> Layer:
    """The layer of a ``findings.yaml``."""
    model = file.into(FindingsFile, _with_own_names(file.content, context))
    own = None if trusted else file
    blocks = [
        Placed(block, own, (name, "blocks", index))
        for name, section in model.__pydantic_extra__.items()
        for index, block in enumerate(section.blocks)
    ]
    ignored = model.ignore.phrases if model.ignore else []
    return Layer(
        blocks=blocks,
        ignore=[Placed(phrase, own, ("ignore", "phrases", index)) for index, phrase in enumerate(ignored)],
        irregular=dict(model.irregular),
        spelled_right=list(model.spelled_right),
    )


def anatomy_part(file: YamlFile, context: Mapping[str, Any], trusted: bool = False) -> Placed:
    """The anatomy of an ``anatomy.yaml``."""
    return Placed(file.into(AnatomyFile, context), None if trusted else file)


def cues_part(file: YamlFile, context: Mapping[str, Any], trusted: bool = False) -> tuple[Placed, LayoutWords]:
    """The cues and the layout of a ``cues.yaml``."""
    lines = {("cues", *place): line for place, line in file.lines.items()}
    below = YamlFile(file.name, {"cues": file.content}, lines)
    cues = Placed(below.into(CuesFile, context).cues, None if trusted else below, ("cues",))
    return cues, file.into(_LayoutOfCues).layout


def tokens_part(file: YamlFile) -> TokenWords:
    """The model of a ``tokens.yaml``."""
    return file.into(TokenWords)


def _with_own_names(content: Any, context: Mapping[str, Any]) -> dict[str, Any]:
    """The context, with the entities, organs and concepts that the file itself declares."""
    entities = content.get("entities")
    anatomy = content.get("anatomy")
    organs = anatomy.get("organs") if isinstance(anatomy, dict) else None
    declared = [name for name in entities if isinstance(name, str)] if isinstance(entities, list) else []
    return {
        **context,
        "skipped": {*context.get("skipped", REDACTED), *_skipped_words(content)},
        "entities": [*context.get("entities", ()), *declared],
        "organs": [*context.get("organs", ()), *(organs if isinstance(organs, dict) else ())],
        "concepts": {*context.get("concepts", ()), *_concepts_with_entity(content)},
    }


def _skipped_words(content: Mapping[Any, Any]) -> Iterator[str]:
    """Words of the file that count for nothing."""
    tokens = content.get("tokens")
    for key in ("articles", "fillers"):
        words = tokens.get(key) if isinstance(tokens, dict) else None
        yield from (word for word in words if isinstance(word, str)) if isinstance(words, list) else ()


def _concepts_with_entity(content: Mapping[Any, Any]) -> Iterator[str]:
    """Concepts that some block of the file gives an entity: another block of theirs need not repeat it."""
    listed = content.get("findings")
    groups = [listed, *(part.get("blocks") for part in content.values() if isinstance(part, dict))]
    for group in groups:
        for block in group if isinstance(group, list) else ():
            if (
                isinstance(block, dict)
                and isinstance(block.get("entity"), str)
                and isinstance(block.get("concept"), str)
            ):
                yield block["concept"]
