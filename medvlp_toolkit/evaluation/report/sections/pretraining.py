"""Pre-training: its own tasks on unseen studies, and a linear probe on frozen image features."""

from __future__ import annotations

from collections.abc import Mapping

from medvlp_toolkit.evaluation.report.parts import (
    Column,
    Heading,
    Legend,
    Models,
    Part,
    Row,
    Section,
    Table,
    Text,
    at,
    numbers,
    readable,
    union,
)
from medvlp_toolkit.evaluation.report.verdicts import UNDECIDED
from medvlp_toolkit.evaluation.results.pretext import without_learning


def pretraining(models: Models) -> list[Section]:
    """Each task beside the most frequent answer, and the probe beside one of an untrained model."""
    tasks = [part if isinstance(part, Mapping) else {} for part in models.metrics("pretext")]
    names = [name for name in union(tasks) if not name.endswith("_floor")]
    parts: list[Part] = []
    if names:
        rows = [
            Row(
                readable(name),
                [
                    numbers(tasks, name),
                    numbers([{"floor": without_learning(task, name)} for task in tasks], "floor"),
                ],
            )
            for name in names
        ]
        columns = [Column("Measured"), Column("Without learning", explained="The most frequent answer, or chance")]
        parts += [
            Text(
                "What pre-training learned to do, on studies it never saw, beside what the most frequent answer "
                f"scores. These figures have {UNDECIDED.replace(', no', ' and no')}."
            ),
            Legend(),
            Table("Pretext tasks", columns, rows),
        ]
    parts += _probe(models)
    return [Section("pretraining", "Pre-training", "What pre-training learned", parts)] if parts else []


def _probe(models: Models) -> list[Part]:
    probes = models.metrics("probe")
    if not any(at(probe, "trained", "auc") for probe in probes):
        return []
    labels = union([at(probe, "trained", "auc", default={}) for probe in probes])
    kinds = ("trained", "untrained")
    rows = [
        Row(readable(label), [numbers([at(probe, kind, "auc") for probe in probes], label) for kind in kinds])
        for label in labels
    ]
    means = [numbers([at(probe, kind) for probe in probes], "mean_auc") for kind in kinds]
    rows.append(Row("mean", means, "total"))
    return [
        Heading("A linear probe on frozen image features"),
        Text("AUC of a logistic regression on the image encoder's features, trained and untrained: 0.5 is chance."),
        Legend(),
        Table("AUC of a linear probe", [Column("Trained"), Column("Untrained")], rows),
    ]
