"""Accuracy of answers: overall, open, closed and per category, with baselines that ignore the image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap


def answer_metrics(
    predicted: ArrayLike,
    answer: ArrayLike,
    category: Sequence[str | None] = (),
    answer_type: Sequence[str | None] = (),
    image: Sequence[Any] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Share of questions whose highest-scoring answer is exactly the true one.

    Args:
        predicted: (N,) index of the predicted answer.
        answer: (N,) index of the true answer; -1 if it is outside the vocabulary, which counts as wrong.
        category, answer_type: of each question; empty if the data set has none. ``answer_type`` is ``open`` or
            ``closed``; other questions count in ``overall`` only.
        image: (N,) image of each question; questions of one image are resampled together.
        replicates, seed, level: of the bootstrap.

    Returns:
        ``overall``, ``open``, ``closed`` (if there are any) and ``categories``: each with ``n``, ``accuracy``,
        ``interval``, ``unseen`` (true answers outside the vocabulary) and ``bound``, the highest accuracy that is
        possible with them.
    """
    given, true = np.asarray(predicted), np.asarray(answer)
    if given.shape != true.shape or given.ndim != 1:
        raise ValueError(f"answer_metrics got {given.shape} predicted and {true.shape} true answers")
    if not len(given):
        raise ValueError("no question was answered, so accuracy is undefined")
    correct = given == true
    bootstrap = PatientBootstrap(image, rows=len(true), replicates=replicates, seed=seed, level=level)

    def measured(rows: NDArray[np.intp]) -> dict[str, Any]:
        unseen = int((true[rows] < 0).sum())
        return {
            "n": len(rows),
            "accuracy": float(correct[rows].mean()),
            "interval": bootstrap.interval(bootstrap.mean(correct[rows], rows)),
            "unseen": unseen,
            "bound": 1 - unseen / len(rows),
        }

    groups: dict[str, Any] = {"overall": measured(np.arange(len(true)))}
    for name in ("open", "closed"):
        rows = np.flatnonzero([kind == name for kind in answer_type])
        if len(rows):
            groups[name] = measured(rows)
    named = sorted({name for name in category if name})
    groups["categories"] = {name: measured(np.flatnonzero([entry == name for entry in category])) for name in named}
    groups["bootstrap"] = {"replicates": replicates, "level": level, "unit": "image" if image is not None else "pair"}
    return groups


def class_metrics(predicted: ArrayLike, answer: ArrayLike, names: Sequence[str]) -> dict[str, Any]:
    """Precision, recall and F1 of every class, and the mean F1 over the classes that occur.

    Args:
        predicted, answer: (N,) indices; a true class of -1 counts against the predicted class.
        names: of the classes.
    """
    from sklearn.metrics import precision_recall_fscore_support

    given, true = np.asarray(predicted), np.asarray(answer)
    precision, recall, f1, support = precision_recall_fscore_support(
        true, given, labels=np.arange(len(names)), zero_division=0
    )
    rows = {
        name: {"n": int(support[i]), "precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i])}
        for i, name in enumerate(names)
    }
    there = [row["f1"] for row in rows.values() if row["n"]]
    return {"macro_f1": float(np.mean(there)) if there else None, "classes": rows}


def majority_baselines(
    trained: tuple[Sequence[str], Sequence[str], Sequence[str | None]],
    tested: tuple[Sequence[str], Sequence[str], Sequence[str | None]],
) -> dict[str, dict[str, float]]:
    """Accuracy of answering without the image, as a baseline.

    Args:
        trained, tested: (questions, answers, categories) of the training and of the test questions; answers normalised
            in the same way.

    Returns:
        ``category``: the most frequent training answer of the question's category; ``question``: that of the same
        question, or, if the question is new, of its category. Each is a dict of category -> accuracy, with ``overall``.
        Ties are resolved in favour of the answer that occurs first in training.
    """
    by_category: dict[Any, Counter[str]] = defaultdict(Counter)
    by_question: dict[str, Counter[str]] = defaultdict(Counter)
    for question, answer, category in zip(*trained, strict=True):
        by_category[category][answer] += 1
        by_question[question][answer] += 1
    everything = sum(by_category.values(), Counter[str]())
    hits: dict[str, dict[str, list[bool]]] = {"category": defaultdict(list), "question": defaultdict(list)}
    for question, answer, category in zip(*tested, strict=True):
        of_category = _most_common(by_category.get(category) or everything)
        of_question = _most_common(by_question[question]) if question in by_question else of_category
        for rule, guess in (("category", of_category), ("question", of_question)):
            for group in ("overall", *([str(category)] if category else [])):
                hits[rule][group].append(guess == answer)
    return {
        rule: {group: float(np.mean(found)) for group, found in sorted(groups.items())} for rule, groups in hits.items()
    }


def _most_common(counts: Counter[str]) -> str:
    return counts.most_common(1)[0][0]
