"""Reports into label tables: what a scheme (NIH's 14, CheXpert's 14, MedKLIP's 75) reads from findings.

A scheme is a YAML file that says which concepts of the lexicon make which label, and what each
degree of certainty counts as. Values are 1 present, 0 absent, -1 uncertain, None not mentioned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from medvlp_reports.certainty import Certainty
from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lexicon import Lexicon, default_lexicon
from medvlp_reports.resources import load_yaml, load_yaml_file
from medvlp_reports.rules import Mention, RuleFilter
from medvlp_toolkit.data.records import Report

PRESENT, ABSENT, UNCERTAIN = 1, 0, -1
_PRECEDENCE = {PRESENT: 3, UNCERTAIN: 2, ABSENT: 1, None: 0}
_DEFAULT_VALUES = {
    Certainty.STATED: PRESENT,
    Certainty.LIKELY: PRESENT,
    Certainty.ALTERNATIVE: UNCERTAIN,
    Certainty.POSSIBLE: UNCERTAIN,
    Certainty.ABSENT: ABSENT,
}


@dataclass(frozen=True, slots=True)
class LabelledReport:
    """One row: the report's id and ``{label: 1, 0, -1 or None}``, labels in the scheme's order.

    ``statements`` is how many statements about findings the report makes, labelled or not.
    """

    id: str
    labels: dict[str, int | None]
    statements: int = 0


@dataclass(frozen=True)
class Scheme:
    """A labelling scheme.

    ``labels`` are the columns; ``present`` maps a concept (or, where ``by_entity``, an entity) to
    the labels it makes; ``absent`` maps a concept to the labels it denies; ``values`` maps a
    certainty to a value, ``own_values`` does so for a label that differs. ``no_finding`` is the label
    that is 1 where none but ``apart_from`` is present or uncertain.
    """

    name: str
    labels: tuple[str, ...]
    present: Mapping[str, tuple[str, ...]]
    absent: Mapping[str, tuple[str, ...]]
    values: Mapping[Certainty, int]
    own_values: Mapping[str, Mapping[Certainty, int]] = field(default_factory=dict)
    by_entity: bool = False
    no_finding: str | None = None
    apart_from: frozenset[str] = frozenset()

    def label(self, mentions: Iterable[Mention]) -> dict[str, int | None]:
        """Labels of one report: present outweighs uncertain, uncertain outweighs absent."""
        row: dict[str, int | None] = dict.fromkeys(self.labels)
        mentioned = False
        for mention in mentions:
            value = self.values.get(mention.certainty)
            if value is None:
                continue
            mentioned = True
            for label in self.present.get(mention.entity if self.by_entity else mention.concept, ()):
                own = self.own_values[label][mention.certainty] if label in self.own_values else value
                if _PRECEDENCE[own] > _PRECEDENCE[row[label]]:
                    row[label] = own
            if value == PRESENT:
                for label in self.absent.get(mention.concept, ()):
                    if row[label] is None or mention.amends:
                        row[label] = ABSENT
        if self.no_finding is not None and mentioned:
            others = (value for label, value in row.items() if label not in self.apart_from)
            if not any(value in (PRESENT, UNCERTAIN) for value in others):
                row[self.no_finding] = PRESENT
        return row


def scheme_names() -> list[str]:
    """Names of the schemes that come with the package."""
    folder = files("medvlp_reports").joinpath("data", "schemes")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_scheme(scheme: str | Path, lexicon: Lexicon | None = None) -> Scheme:
    """A scheme by name (``nih14``, ``chexpert14``, ``medklip75``) or from a YAML file of that form.

    Raises ValueError for a name or a concept that does not exist, FileNotFoundError for a file.
    """
    if str(scheme) in scheme_names():
        return _scheme(str(scheme), load_yaml(f"schemes/{scheme}.yaml"), lexicon or default_lexicon())
    path = Path(scheme)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ValueError(f"no labelling scheme {str(scheme)!r}; expected {', '.join(scheme_names())} or a .yaml file")
    return _scheme(path.stem, load_yaml_file(path), lexicon or default_lexicon())


def label_reports(
    reports: Iterable[Report], scheme: str | Path | Scheme = "nih14", report_filter: RuleFilter | None = None
) -> Iterator[LabelledReport]:
    """Label reports one by one; a report without text gets a row of None."""
    if report_filter is None:
        report_filter = RuleFilter()
    chosen = scheme if isinstance(scheme, Scheme) else load_scheme(scheme, report_filter.lexicon)
    for report in reports:
        mentions = report_filter.mentions(report)
        said = sum(mention.certainty is not Certainty.HISTORY for mention in mentions)
        yield LabelledReport(report.id, chosen.label(mentions), said)


def _scheme(name: str, table: Any, lexicon: Lexicon) -> Scheme:
    if not isinstance(table, dict) or not table.get("labels"):
        raise ValueError(f"scheme {name}: expected a mapping with `labels`")
    values = _DEFAULT_VALUES | _values(name, table.get("certainty") or {})
    if table["labels"] == "entities":
        entities = medklip_vocabulary().entities
        return Scheme(name, entities, {entity: (entity,) for entity in entities}, {}, values, by_entity=True)
    if not isinstance(table["labels"], dict):
        raise ValueError(f"scheme {name}: `labels` must map each label to its concepts, or be the word `entities`")
    present: dict[str, list[str]] = {}
    absent: dict[str, list[str]] = {}
    own_values: dict[str, dict[Certainty, int]] = {}
    for label, concepts in table["labels"].items():
        if "certainty" in (concepts or {}):
            own_values[label] = values | _values(name, concepts["certainty"])
        for role, index in (("present", present), ("absent", absent)):
            for concept in (concepts or {}).get(role, ()):
                if concept not in lexicon.concepts:
                    raise ValueError(f"scheme {name}: label {label!r} has concept {concept!r}, which the lexicon lacks")
                index.setdefault(concept, []).append(label)
    no_finding = table.get("no_finding") or {}
    unknown = {no_finding.get("label"), *no_finding.get("apart_from", ())} - {None, *table["labels"]}
    if unknown:
        raise ValueError(f"scheme {name}: no_finding names {sorted(unknown)[0]!r}, which is none of its labels")
    return Scheme(
        name,
        tuple(table["labels"]),
        {concept: tuple(labels) for concept, labels in present.items()},
        {concept: tuple(labels) for concept, labels in absent.items()},
        values,
        own_values,
        no_finding=no_finding.get("label"),
        apart_from=frozenset(no_finding.get("apart_from", ())),
    )


def _values(name: str, table: Mapping[str, Any]) -> dict[Certainty, int]:
    values: dict[Certainty, int] = {}
    for certainty, value in table.items():
        if certainty.upper() not in Certainty.__members__ or value not in (PRESENT, ABSENT, UNCERTAIN):
            raise ValueError(
                f"scheme {name}: certainty has {certainty}: {value}; "
                "expected 1, 0 or -1 for stated, likely, alternative, possible or absent"
            )
        values[Certainty[certainty.upper()]] = value
    return values
