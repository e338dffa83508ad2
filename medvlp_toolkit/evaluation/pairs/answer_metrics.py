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
    """Share of questions whose highest-scoring answer is the true one, exactly.

    Args:
        predicted: (N,) number of the answer given.
        answer: (N,) number of the true answer; -1 where the vocabulary lacks it, which counts as wrong.
        category, answer_type: of each question; empty where the data set has none. ``answer_type`` is ``open`` or
            ``closed``; a question of neither counts in ``overall`` only.
        image: (N,) what each question is about: questions of one image are resampled together.
        replicates, seed, level: of the bootstrap.

    Returns:
        ``overall``, ``open``, ``closed`` (where there are any) and ``categories``: each with ``n``, ``accuracy``,
        ``interval``, ``unseen`` (true answers that the vocabulary lacks) and ``bound``, the highest accuracy that
        leaves possible.
    """
    given, true = np.asarray(predicted), np.asarray(answer)
    if given.shape != true.shape or given.ndim != 1:
        raise ValueError(f"answer_metrics got {given.shape} predicted and {true.shape} true answers")
    if not len(given):
        raise ValueError("no question was answered, so there is nothing to measure")
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
        predicted, answer: (N,) numbers; -1 as true class counts against the class that was given instead.
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
    """Accuracy of answering without the image: the baseline to beat.

    Args:
        trained, tested: (questions, answers, categories) of the training and of the test questions; answers cleaned
            alike.

    Returns:
        ``category``: the most frequent training answer of the question's category; ``question``: that of the very
        same question, or where it is new, of its category. Each a dict of category -> accuracy, with ``overall``.
        Ties go to the answer that comes first in training.
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
