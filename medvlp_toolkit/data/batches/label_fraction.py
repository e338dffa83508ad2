"""Selects a fraction of the labels by seed and records the choice, for experiments with few labels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medvlp_toolkit.data.store.store import PackedStore

logger = logging.getLogger(__name__)

#: The seeds for reporting results over several choices of labels.
SEEDS = (0, 1, 2)


def choose_labelled(
    store: PackedStore,
    split: str,
    labels: Sequence[str] = (),
    fraction: float = 1.0,
    seed: int = 0,
    id_list: str | Path | None = None,
) -> list[str]:
    """The ids of the labelled studies to train on.

    Studies are ordered by a hash of the seed and their id; the first ``fraction`` of them are selected, rounded down,
    at least one. The choice depends on nothing else, and the 1 % of a seed is a subset of its 10 %.

    Args:
        store: with the split and the labels.
        split: name of the training split.
        labels: studies without a known value of any of these are left out first; empty keeps all.
        fraction: share of the labelled studies, in (0, 1].
        seed: use :data:`SEEDS` for comparable results.
        id_list: a text file with one id per line to use instead, such as a published choice.

    Raises:
        ValueError: for a fraction outside (0, 1], for an unknown label, or when no study is labelled.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"label_fraction is {fraction}; give a share above 0 and at most 1, such as 0.01")
    if id_list is not None:
        return read_ids(id_list)
    unknown = [name for name in labels if name not in store.labels]
    if unknown:
        raise ValueError(f"{store.path} has no label {', '.join(unknown)}; it has {', '.join(store.labels) or 'none'}")
    rows = store.rows(split)
    if labels and len(rows):
        table = store.table("studies", [f"label:{name}" for name in labels])
        known = np.stack([np.isin(column.fill_null(-1).to_numpy(), (0, 1)) for column in table.columns], axis=1)
        rows = rows[known[rows].any(axis=1)]
    ids = list(dict.fromkeys(store.values("study_id", rows) or []))  # once per study, however many images it has
    if not ids:
        wanted = f" with a known label of {', '.join(labels)}" if labels else ""
        raise ValueError(f"{store.path}: no study of split '{split}'{wanted}; its splits: {_splits(store)}")
    ids.sort(key=lambda study: (_place(seed, study), study))
    chosen = ids[: max(1, int(fraction * len(ids)))]
    logger.info("%d of %d labelled studies of split %s (seed %d)", len(chosen), len(ids), split, seed)
    return sorted(chosen)


def _splits(store: PackedStore) -> str:
    return ", ".join(f"{name} {count}" for name, count in store.meta["counts"]["splits"].items()) or "none"


def _place(seed: int, study: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{study}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def read_ids(path: str | Path) -> list[str]:
    """One id per line; blank lines are skipped.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it contains no id, or is not text.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no list of ids at {file}; give a text file with one study id per line")
    try:
        ids = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not a text file in UTF-8; expected one study id per line") from None
    if not ids:
        raise ValueError(f"{file} contains no id; expected one study id per line")
    return ids


def write_ids(path: str | Path, ids: Sequence[str]) -> Path:
    """Write the ids, one per line, as :func:`read_ids` reads them."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{study}\n" for study in ids), encoding="utf-8")
    return file
