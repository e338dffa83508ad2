"""Retrieval metrics from a matrix of scores: recall at rank k and median rank, with explicit handling of ties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap

#: Candidates with the same score as the true one rank all before it, all after it, or half before it.
Ties = Literal["pessimistic", "optimistic", "middle"]

RANKS = (1, 5, 10)


def ranks(scores: ArrayLike, relevant: ArrayLike, ties: Ties = "pessimistic") -> NDArray[np.float64]:
    """Rank of the best-ranked relevant candidate of each query, 1 the highest.

    Args:
        scores: (queries, candidates). NaN ranks last, like a candidate that was not scored.
        relevant: (queries, candidates) bool; each query has at least one.
        ties: treatment of other candidates with the same score. ``pessimistic`` ranks them before it, so that a
            constant score retrieves nothing.

    Returns:
        (queries,) float; ``middle`` can give halves.
    """
    values = np.asarray(scores, np.float64)
    true = np.asarray(relevant, bool)
    if values.shape != true.shape or values.ndim != 2:
        raise ValueError(f"ranks got scores {values.shape} and relevant {true.shape}; both are (queries, candidates)")
    if not true.any(axis=1).all():
        raise ValueError(f"{int((~true.any(axis=1)).sum())} queries have no relevant candidate")
    if ties not in ("pessimistic", "optimistic", "middle"):
        raise ValueError(f"ties is pessimistic, optimistic or middle, not {ties!r}")
    values = np.where(np.isnan(values), -np.inf, values)
    best = np.where(true, values, -np.inf).max(axis=1, keepdims=True)
    higher = (values > best).sum(axis=1)
    equal = ((values == best) & ~true).sum(axis=1)
    share = {"pessimistic": 1.0, "optimistic": 0.0, "middle": 0.5}[ties]
    rank: NDArray[np.float64] = 1 + higher + share * equal
    return rank


def retrieval_metrics(
    scores: ArrayLike,
    image_of_text: Sequence[Any],
    image: Sequence[Any],
    ties: Ties = "pessimistic",
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Image to text and text to image.

    Args:
        scores: (images, texts), higher is a better match.
        image_of_text: (texts,) the image of each text.
        image: (images,) their unique names.
        ties: see :func:`ranks`.
        replicates, seed: of the bootstrap over queries.

    Returns:
        ``image_to_text`` and ``text_to_image``, each with ``queries``, ``candidates``, ``R@1``, ``R@5``, ``R@10``,
        their ``…_interval`` and ``median_rank``.
    """
    values = np.asarray(scores)
    relevant = np.array([[owner == name for owner in image_of_text] for name in image], dtype=bool)
    if values.shape != relevant.shape:
        raise ValueError(f"scores {values.shape} are not of {len(image)} images and {len(image_of_text)} texts")
    return {
        "image_to_text": _direction(ranks(values, relevant, ties), values.shape[1], replicates, seed),
        "text_to_image": _direction(ranks(values.T, relevant.T, ties), values.shape[0], replicates, seed),
        "ties": ties,
    }


def _direction(rank: NDArray[np.float64], candidates: int, replicates: int, seed: int) -> dict[str, Any]:
    bootstrap = PatientBootstrap(rows=len(rank), replicates=replicates, seed=seed)
    measured: dict[str, Any] = {"queries": len(rank), "candidates": candidates}
    for k in RANKS:
        found = rank <= k
        measured[f"R@{k}"] = float(found.mean())
        measured[f"R@{k}_interval"] = bootstrap.interval(bootstrap.mean(found))
        measured[f"R@{k}_chance"] = min(k / candidates, 1.0)
    measured["median_rank"] = float(np.median(rank))
    return measured
