"""The file of a labelling scheme as a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, model_validator

from medvlp_reports.yaml_models import Strict, did_you_mean, shown

EXPECTED = "a labelling scheme (`labels:`, or `extends: nih14` and what it changes)"
ENTITIES = "entities"
"""What ``labels`` is where each entity of the filter is a label."""


def _value(value: Any) -> int:
    if type(value) is not int or value not in (1, 0, -1):
        raise ValueError(f"{shown(value)} where 1 (present), 0 (absent) or -1 (uncertain) is expected")
    return value


def _concept(name: str, info: ValidationInfo) -> str:
    known = (info.context or {}).get("concepts", ())
    if name not in known:
        raise ValueError(f"concept {name!r} is none of the lexicon's{did_you_mean(name, known)}")
    return name


Name = Annotated[str, Field(min_length=1)]
Concept = Annotated[Name, AfterValidator(_concept)]
Value: TypeAlias = Annotated[Any, AfterValidator(_value)]
Certainties = dict[Literal["stated", "likely", "alternative", "possible", "absent"], Value]


class Label(Strict):
    """The concepts that make a label, those that deny it, and what a certainty counts as for it alone."""

    present: list[Concept] = Field(default_factory=list)
    absent: list[Concept] = Field(default_factory=list)
    certainty: Certainties = Field(default_factory=dict)


class NoFinding(Strict):
    """The label that is 1 where none but ``apart_from`` is present or uncertain."""

    label: Name
    apart_from: list[Name] = Field(default_factory=list)


def _branch(value: Any) -> str:
    return "word" if isinstance(value, str) else "labels"


Labels = Annotated[
    Annotated[Literal["entities"], Tag("word")] | Annotated[dict[Name, Label | None], Tag("labels")],
    Discriminator(_branch),
]


class SchemeFile(Strict):
    """A scheme; with ``extends`` it adds labels to another, or gives labels of the same name another meaning."""

    extends: Name | None = None
    source: str | None = None
    certainty: Certainties = Field(default_factory=dict)
    no_finding: NoFinding | None = None
    omit: list[Name] = Field(default_factory=list)
    labels: Labels | None = None

    @model_validator(mode="after")
    def _says_something(self) -> SchemeFile:
        if self.extends is None and not self.labels:
            raise ValueError(f"no `labels`; expected {EXPECTED}")
        if self.extends is None and self.omit:
            raise ValueError("`omit` leaves out labels of the scheme that this one extends, and it extends none")
        return self

    def over(self, below: SchemeFile) -> SchemeFile:
        """This scheme's labels and certainties over those of the one it extends.

        Raises ValueError where ``omit`` names a label that is not there, or one of the two is a scheme of entities.
        """
        mine, others = self.labels or {}, below.labels or {}
        if not isinstance(mine, Mapping) or not isinstance(others, Mapping):
            if (mine and mine != others) or self.omit:
                raise ValueError("a scheme whose labels are the entities has no labels to change or leave out")
            labels: Any = ENTITIES
        else:
            for name in self.omit:
                if name not in others:
                    raise ValueError(f"`omit`: {name!r} is no label of the extended scheme{did_you_mean(name, others)}")
            labels = {name: label for name, label in {**others, **mine}.items() if name not in self.omit}
        no_finding = self.no_finding or below.no_finding
        if no_finding is not None and self.omit:
            kept = [name for name in no_finding.apart_from if name not in self.omit]
            omitted = no_finding.label in self.omit
            no_finding = None if omitted else NoFinding(label=no_finding.label, apart_from=kept)
        certainty = {**below.certainty, **self.certainty}
        return SchemeFile.model_construct(labels=labels, certainty=certainty, no_finding=no_finding)
