"""Agreement of a label table with an annotated one: precision, recall and F1, per label and overall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medvlp_toolkit.tables.table import Table


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts for one label, or for several together."""

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )


def agreement(
    labels: Mapping[str, Mapping[str, str]], annotated: Mapping[str, Mapping[str, str]], names: Sequence[str]
) -> dict[str, Agreement]:
    """Agreement per label over the annotated reports; a value of 1 counts as positive.

    Raises ValueError where an annotated report has no labels.
    """
    missing = [report for report in annotated if report not in labels]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(annotated)} annotated reports have no labels, the first is {missing[0]}"
        )
    result = {}
    for name in names:
        pairs = [(labels[report].get(name) == "1", row[name] == "1") for report, row in annotated.items()]
        result[name] = Agreement(pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True)))
    return result


def together(per_label: Mapping[str, Agreement]) -> Agreement:
    """Micro-average: the counts of all labels together."""
    return sum(per_label.values(), Agreement(0, 0, 0))


def read_labels(path: str | Path) -> dict[str, dict[str, str]]:
    """A label table by the id in its first column; values without a trailing ``.0``.

    Raises ValueError for an empty table, and for a row that cannot be read, naming its line.
    """
    table = Table(path)
    if not table.columns:
        raise ValueError(f"{path}: empty; expected a label table with a header line")
    labels: dict[str, dict[str, str]] = {}
    for row in table:
        if row.values is None:
            raise ValueError(f"{path}, {row.place}: {row.problem}")
        labels[row.values[table.columns[0]]] = {name: row.values[name].removesuffix(".0") for name in table.columns[1:]}
    return labels


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
