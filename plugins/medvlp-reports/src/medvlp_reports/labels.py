"""Label tables from findings, by a scheme (NIH's 14, CheXpert's 14, MedKLIP's 75).

A scheme is a YAML file that maps concepts of the lexicon to labels, and degrees of certainty to
values. Values are 1 present, 0 absent, -1 uncertain, None not mentioned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from medvlp_reports.certainty import Certainty
from medvlp_reports.lexicon import Lexicon, default_lexicon
from medvlp_reports.resources import load_yaml
from medvlp_reports.rules import Mention, RuleFilter
from medvlp_reports.scheme_file import EXPECTED, SchemeFile
from medvlp_reports.yaml_models import YamlFile, did_you_mean, read_yaml, shown
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

    ``statements`` is the number of statements about findings in the report, labelled or not.
    """

    id: str
    labels: dict[str, int | None]
    statements: int = 0


@dataclass(frozen=True)
class Scheme:
    """A labelling scheme.

    ``labels`` are the columns; ``present`` maps a concept (or an entity, if ``by_entity``) to the labels that it sets;
    ``absent`` maps a concept to the labels that it denies; ``values`` maps a certainty to a value, ``own_values`` does
    so for individual labels. ``no_finding`` is the label that is 1 if no label except ``apart_from`` is present or
    uncertain.
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
        """Labels of one report: present takes precedence over uncertain, uncertain over absent."""
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
    """Names of the shipped schemes."""
    folder = files("medvlp_reports").joinpath("data", "schemes")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_scheme(scheme: str | Path, lexicon: Lexicon | None = None) -> Scheme:
    """A scheme by name (``nih14``, ``chexpert14``, ``medklip75``) or from a YAML file of that form.

    Raises ValueError for a name or a concept that does not exist and, with file and line, for any other mistake in a
    file; FileNotFoundError for a file.
    """
    lexicon = lexicon or default_lexicon()
    if str(scheme) in scheme_names():
        return _scheme(str(scheme), _shipped(str(scheme), lexicon), lexicon)
    path = Path(scheme)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ValueError(f"no labelling scheme {str(scheme)!r}; expected {', '.join(scheme_names())} or a .yaml file")
    return _scheme(path.stem, _read(path, lexicon, ()), lexicon)


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


def _shipped(name: str, lexicon: Lexicon) -> SchemeFile:
    # A lexicon without the default's findings lacks concepts of the shipped schemes, which are then never found.
    concepts = {*lexicon.concepts, *default_lexicon().concepts}
    return YamlFile(name, load_yaml(f"schemes/{name}.yaml")).into(SchemeFile, {"concepts": concepts})


def _read(path: Path, lexicon: Lexicon, extended_by: tuple[Path, ...]) -> SchemeFile:
    """A user's file, merged with the scheme that it extends."""
    file = read_yaml(path, EXPECTED)
    path = path.resolve()
    if path in extended_by:
        raise file.fault(("extends",), "`extends` leads back to a file that this one is extended by")
    scheme = file.into(SchemeFile, {"concepts": lexicon.concepts})
    extends = scheme.extends
    if extends is not None:
        if extends in scheme_names():
            below = _shipped(extends, lexicon)
        elif extends.lower().endswith((".yaml", ".yml")):
            try:
                below = _read(path.parent / extends, lexicon, (*extended_by, path))
            except FileNotFoundError as error:
                raise file.fault(("extends",), str(error)) from None
        else:
            expected = f"{', '.join(scheme_names())} or a .yaml file is expected"
            hint = did_you_mean(extends, scheme_names())
            raise file.fault(("extends",), f"`extends`: {shown(extends)} where {expected}{hint}")
        try:
            scheme = scheme.over(below)
        except ValueError as error:
            raise file.fault(("omit",) if scheme.omit else ("labels",), str(error)) from None
    no_finding = scheme.no_finding
    if no_finding is not None:
        labels = scheme.labels if isinstance(scheme.labels, dict) else lexicon.entities
        for name in (no_finding.label, *no_finding.apart_from):
            if name not in labels:
                hint = did_you_mean(name, labels)
                raise file.fault(("no_finding",), f"`no_finding` names {name!r}, which is none of the labels{hint}")
    return scheme


def _scheme(name: str, file: SchemeFile, lexicon: Lexicon) -> Scheme:
    values = _DEFAULT_VALUES | _values(file.certainty)
    no_finding = file.no_finding.label if file.no_finding else None
    apart_from = frozenset(file.no_finding.apart_from if file.no_finding else ())
    if not isinstance(file.labels, dict):
        entities = lexicon.entities
        present = {entity: (entity,) for entity in entities}
        return Scheme(name, entities, present, {}, values, by_entity=True, no_finding=no_finding, apart_from=apart_from)
    index: dict[str, dict[str, list[str]]] = {"present": {}, "absent": {}}
    own_values: dict[str, Mapping[Certainty, int]] = {}
    for label, meaning in file.labels.items():
        if meaning is None:
            continue
        if meaning.certainty:
            own_values[label] = values | _values(meaning.certainty)
        for role, labels_of in index.items():
            for concept in getattr(meaning, role):
                labels_of.setdefault(concept, []).append(label)
    return Scheme(
        name,
        tuple(file.labels),
        {concept: tuple(labels) for concept, labels in index["present"].items()},
        {concept: tuple(labels) for concept, labels in index["absent"].items()},
        values,
        own_values,
        no_finding=no_finding,
        apart_from=apart_from,
    )


def _values(table: Mapping[Any, int]) -> dict[Certainty, int]:
    return {Certainty[certainty.upper()]: value for certainty, value in table.items()}
