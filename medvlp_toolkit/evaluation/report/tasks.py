"""Which task a results folder is of: what its page is made of, and what it cannot be made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from medvlp_toolkit.evaluation.report.parts import at
from medvlp_toolkit.evaluation.results.results import Results, ResultsError
from medvlp_toolkit.evaluation.zero_shot.classification import classification_metrics

#: Part of the metrics -> the task that it is of.
_TASKS = {
    "zero_shot": "classification",
    "zero_shot_held_out": "classification",
    "fine_tuned": "classification",
    "from_scores": "classification",
    "grounding": "classification",
    "laterality": "classification",
    "probes": "classification",
    "subgroups": "classification",
    "segmentation": "segmentation",
    "answers": "answers to questions",
    "classes": "classes of pairs",
    "retrieval": "retrieval",
    "pretext": "pre-training",
    "probe": "pre-training",
}
#: What a row of the scores is, where it is no image.
_ROWS = {"answers to questions": "question", "classes of pairs": "pair", "retrieval": "text"}


def tasks(results: Results) -> list[str]:
    """The tasks that a folder's metrics are of."""
    return list(dict.fromkeys(task for key, task in _TASKS.items() if at(results.metrics, key)))


def row_noun(results: Results) -> str:
    """What a row of the table of scores is: an image, a question, a pair or a text."""
    return next((noun for task in tasks(results) if (noun := _ROWS.get(task))), "image")


def measured(results: Results, name: str) -> Results:
    """The results, with figures of classification computed from the scores where an evaluation measured nothing.

    Args:
        results: as read.
        name: what messages call them.

    Raises:
        ResultsError: where there is nothing to show.
    """
    if tasks(results):
        return results
    strange = [key for key in results.metrics if key not in ("seconds", "pooling", "labels", "names")]
    if strange:
        raise ResultsError(
            f"{name}: a page shows none of what was measured ({', '.join(map(str, strange[:5]))}); it shows "
            f"{', '.join(_TASKS)}"
        )
    targets, scores = results.target_matrix(), results.score_matrix()
    usable = [place for place, label in enumerate(results.labels) if (targets[:, place] >= 0).any()]
    if not usable:
        raise ResultsError(
            f"{name}: no figure to show, since no image is known to have or lack one of its {len(results.labels)} "
            "labels; evaluate with labels (label_names), then write the report again"
        )
    if not np.isfinite(scores[:, usable]).all():
        raise ResultsError(f"{name}: some scores are not finite, so nothing can be ranked; evaluate again")
    labels = [results.labels[place] for place in usable]
    patients = results.scores["patient_id"].to_pylist()
    found = classification_metrics(targets[:, usable], scores[:, usable], labels, patient_id=patients)
    return dataclasses.replace(results, metrics={**results.metrics, "from_scores": found})


def same_task(both: Sequence[Results], names: Sequence[str]) -> None:
    """
    Raises:
        ResultsError: where two results share no task.
    """
    first, second = map(tasks, both)
    if not set(first) & set(second):
        raise ResultsError(
            f"{names[0]} is of {' and '.join(first)}, {names[1]} of {' and '.join(second)}: there is nothing to "
            "compare; give two evaluations of the same task"
        )
