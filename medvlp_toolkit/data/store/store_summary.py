"""Statistics of a packed store: prevalence of labels, entities and positions, token counts, rejected items."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.records import STRENGTH, Presence
from medvlp_toolkit.data.store.store import PackedStore

_LABELS = {"present": 1, "absent": 0, "uncertain": -1}


def summarise(store: PackedStore, split: str | None = None) -> dict[str, Any]:
    """Counts of a store, as plain values; ``rows`` counts its images, or its studies if it has none.

    ``counts`` is from ``store.json``, for the whole store. Everything else is counted over ``split``, or over all:
    ``rows`` are its images (or reports), ``labels`` map a name to the rows present, absent and uncertain, ``entities``
    to such studies (images of one study share its report), ``positions`` to the studies and findings there (of present
    entities).

    Raises ValueError if ``split`` has no study.
    """
    rows = rows_of_split(store, split)
    ids = store.table("studies", ["study_id", "patient_id"]).take(rows)
    wanted = np.zeros(len(store), dtype=bool)
    wanted[store.first_images(rows)] = True
    entities, positions = _findings(store, wanted)
    return {
        "store": str(store.path),
        "schema_version": store.meta["schema_version"],
        "counts": store.meta["counts"],
        "names": store.meta.get("names", {}),
        "split": split,
        "rows": len(rows),
        "studies": len(ids.column("study_id").unique()),
        "patients": len(ids.column("patient_id").unique()),
        "images": _images(store),
        "labels": _labels(store, rows),
        "entities": entities,
        "positions": positions,
        "tokens": _tokens(store, rows),
    }


def rows_of_split(store: PackedStore, split: str | None) -> NDArray[np.int64]:
    """Rows of a split, or all; raises ValueError if there are none."""
    rows = store.rows(*([] if split is None else [split]))
    if not len(rows):
        there = ", ".join(store.meta["counts"]["splits"]) or "none"
        raise ValueError(f"{store.path}: no study in split {split}; the store has the splits {there}")
    return rows


def _images(store: PackedStore) -> dict[str, Any] | None:
    if not store.has_images:
        return None
    images = store.images
    return {
        "shape": list(images.shape[1:]),
        "dtype": str(images.dtype),
        "bytes": store.meta["files"]["images.npy"]["bytes"],
        "masks": "masks.npy" in store.meta["files"],
    }


def _labels(store: PackedStore, rows: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    counts = {}
    for name in store.labels:
        column = store.table("studies", [f"label:{name}"]).column(0).take(rows).drop_null().to_numpy()
        counts[name] = {word: int((column == value).sum()) for word, value in _LABELS.items()}
    return counts


def _findings(
    store: PackedStore, wanted: NDArray[np.bool_]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Studies per entity and presence; studies and findings per position of a present entity."""
    table = store.table("findings", ["study", "entity", "presence", "position"])
    study = table.column("study").to_numpy()
    kept = np.flatnonzero(wanted[study]) if len(study) else np.empty(0, dtype=np.int64)
    study = study[kept].astype(np.int64)
    entity, entity_names = _codes(table.column("entity"), kept)
    presence, words = _codes(table.column("presence"), kept)
    position, position_names = _codes(table.column("position"), kept)

    rank = np.array([*(STRENGTH.index(Presence(word)) for word in words), -1])[presence]
    said = rank >= 0  # a linker's mentions have no presence
    # The strongest statement of each (study, entity): the last one when sorted by strength.
    pair = study[said] * max(len(entity_names), 1) + entity[said]
    order = np.lexsort((rank[said], pair))
    pair, strongest = pair[order], rank[said][order]
    last = np.append(pair[1:] != pair[:-1], True) if len(pair) else np.empty(0, dtype=bool)
    of_entity = pair[last] % max(len(entity_names), 1)
    entities = {name: dict.fromkeys(("present", "absent", "uncertain"), 0) for name in [*store.entities, *entity_names]}
    for number, word in enumerate(STRENGTH):
        found = np.bincount(of_entity[strongest[last] == number], minlength=len(entity_names))
        for name, count in zip(entity_names, found.tolist(), strict=True):
            entities[name][str(word)] = count

    present = (rank == STRENGTH.index(Presence.PRESENT)) & (position >= 0)
    places = {name: {"studies": 0, "findings": 0} for name in [*store.positions, *position_names]}
    findings = np.bincount(position[present], minlength=len(position_names))
    distinct = np.unique(study[present] * max(len(position_names), 1) + position[present])
    studies = np.bincount(distinct % max(len(position_names), 1), minlength=len(position_names))
    for name, in_studies, count in zip(position_names, studies.tolist(), findings.tolist(), strict=False):
        places[name] = {"studies": in_studies, "findings": count}
    return entities, places


def _codes(column: Any, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """Some rows of a text column as codes, -1 for null, and the values that they index."""
    encoded = column.take(rows).combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _tokens(store: PackedStore, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    folder = store.path / "tokens"
    keys = sorted(path.name for path in folder.iterdir() if (path / "tokens.json").is_file()) if folder.is_dir() else []
    tables = []
    for key in keys:
        table = store.tokens(key)
        lengths = np.asarray(table.lengths)[rows]
        tables.append({"key": key, **table.meta, "median_length": float(np.median(lengths))})
    return tables
