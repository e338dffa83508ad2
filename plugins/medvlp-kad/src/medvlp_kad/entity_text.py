"""A study's text as KAD reads it: the findings and linked entities of its report in a row.

Zhang et al. 2023, Methods: " [ENT] pleural effusion Observation Definitely Present [SEP] …". There the entities are
RadGraph's; here they are those of any report filter and entity linker, in the order in which the report names them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_reports.sentences import sentences
from medvlp_toolkit.data import PackedStore
from medvlp_toolkit.data.records import Presence
from medvlp_toolkit.data.store.tokens import Tokenizer
from medvlp_toolkit.evaluation.results.names import name_or_words

#: What is said of a finding, in the published words (RadGraph's labels written out).
STATED = {
    Presence.PRESENT: "Observation Definitely Present",
    Presence.ABSENT: "Observation Definitely Absent",
    Presence.UNCERTAIN: "Observation Uncertain",
}
PLACED = "Anatomy Definitely Present"
#: Beyond any character of a report: spans of different studies never overlap, and items without a span come last.
_FAR = 1 << 31
_NONE = -1


def entity_segment(name: str, presence: Presence | None = None, position: str | None = None) -> str:
    """The text of one finding: its name, what is said of it, where it is; of a linked entity the name alone."""
    words = [f"[ENT] {name}", *([STATED[presence]] if presence is not None else [])]
    words += [f"[ENT] {position} {PLACED}"] if position else []
    return " ".join([*words, "[SEP]"])


class EntityTexts:
    """Token ids of the entity texts of some rows of a store, without the special tokens around them.

    Every distinct statement (finding, presence, position) is tokenised once. A linked entity within a finding is that
    finding. A report without findings and links is read sentence by sentence, with a separator after each.

    Args:
        store: with reports.
        rows: of the store, ascending.
        names: id -> name of findings, positions and linked entities. Ids of findings and positions without a name are
            read as words; linked entities without a name are left out.
        tokenizer: of the text encoder.
        excluded: findings and linked entities that the texts are silent about.
    """

    def __init__(
        self,
        store: PackedStore,
        rows: NDArray[np.int64],
        names: Mapping[str, str],
        tokenizer: Tokenizer,
        excluded: Collection[str] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self.before, self.after = _around(tokenizer)
        index = np.full(len(store), _NONE, dtype=np.int64)
        index[rows] = np.arange(len(rows))
        finds, links = _Items(store, "findings", index), _Items(store, "links", index)
        segments, codes = _segments_of_findings(finds, names, excluded)
        linked, link_codes = _segments_of_links(links, names.keys() - set(excluded), names)
        kept = (link_codes != _NONE) & ~links.overlap(finds)
        places = np.concatenate([finds.starts, links.starts[kept]])
        order = np.argsort(places, kind="stable")
        self._codes = np.concatenate([codes, link_codes[kept] + len(segments)])[order].astype(np.int32)
        studies = np.concatenate([finds.studies, links.studies[kept]])[order]
        self._bounds = np.searchsorted(studies, np.arange(len(rows) + 1))
        self._segments = self._tokenised([*segments, *linked])
        self._plain = self._without_entities(store, rows)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def ids(self, study: int) -> list[int]:
        """The token ids of one study's text, uncut."""
        if study in self._plain:
            return self._plain[study]
        codes = self._codes[self._bounds[study] : self._bounds[study + 1]]
        return [token for code in codes for token in self._segments[code]]

    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each study's text."""
        sizes = np.array([len(segment) for segment in self._segments], dtype=np.int64)
        ends = np.concatenate([[0], np.cumsum(sizes[self._codes])])
        counts = ends[self._bounds[1:]] - ends[self._bounds[:-1]]
        for study, ids in self._plain.items():
            counts[study] = len(ids)
        return np.asarray(counts, dtype=np.int64)

    def _tokenised(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._tokenizer.backend.encode_batch(list(texts), add_special_tokens=False) if texts else []
        return [list(one.ids) for one in encoded]

    def _without_entities(self, store: PackedStore, rows: NDArray[np.int64]) -> dict[int, list[int]]:
        studies = np.flatnonzero(np.diff(self._bounds) == 0)
        texts = store.values("text", rows[studies]) or [""] * len(studies)
        joined = ["".join(f"{part} [SEP] " for _, part in sentences(text or "")).strip() for text in texts]
        return dict(zip(studies.tolist(), self._tokenised(joined), strict=True))


class _Items:
    """Findings or links of the chosen rows, in the order of the table."""

    def __init__(self, store: PackedStore, name: str, index: NDArray[np.int64]) -> None:
        table = store.table(name, ["study", "entity", "presence", "position", "start", "end"])
        studies = index[table.column("study").to_numpy()]
        chosen = studies != _NONE
        self.studies = studies[chosen]
        starts, ends = (
            table.column(name).fill_null(_FAR - 1).to_numpy().astype(np.int64)[chosen] for name in ("start", "end")
        )
        self.starts, self.ends = self.studies * _FAR + starts, self.studies * _FAR + ends
        self._table, self._chosen = table, chosen

    def codes(self, name: str) -> tuple[NDArray[np.int64], list[Any]]:
        """A text column as codes, -1 for null, and the values that they index."""
        encoded = self._table.column(name).combine_chunks().dictionary_encode()
        codes = encoded.indices.fill_null(_NONE).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes[self._chosen], encoded.dictionary.to_pylist()

    def overlap(self, others: _Items) -> NDArray[np.bool_]:
        """Which of these lie, in part at least, within one of the others of the same study."""
        if not len(others.starts):
            return np.zeros(len(self.starts), dtype=bool)
        order = np.argsort(others.starts, kind="stable")
        starts, furthest = others.starts[order], np.maximum.accumulate(others.ends[order])
        before = np.searchsorted(starts, self.ends, side="left")  # those that begin before this one ends
        return (before > 0) & (furthest[np.maximum(before - 1, 0)] > self.starts)


def _segments_of_findings(
    items: _Items, names: Mapping[str, str], excluded: Collection[str]
) -> tuple[list[str], NDArray[np.int64]]:
    columns = [items.codes(name) for name in ("entity", "presence", "position")]
    if not len(items.studies):
        return [], np.zeros(0, dtype=np.int64)
    distinct, codes = np.unique(np.stack([code for code, _ in columns], axis=1), axis=0, return_inverse=True)
    (_, entities), (_, presences), (_, positions) = columns
    segments = [
        ""
        if entities[entity] in excluded
        else entity_segment(
            name_or_words(entities[entity], names),
            None if presence == _NONE else Presence(presences[presence]),
            None if position == _NONE else name_or_words(positions[position], names),
        )
        for entity, presence, position in distinct.tolist()
    ]
    return segments, codes.reshape(-1)


def _segments_of_links(
    items: _Items, read: Collection[str], names: Mapping[str, str]
) -> tuple[list[str], NDArray[np.int64]]:
    codes, entities = items.codes("entity")
    named = [number for number, entity in enumerate(entities) if entity in read]
    place = np.full(len(entities) + 1, _NONE, dtype=np.int64)
    place[named] = np.arange(len(named))
    return [entity_segment(names[entities[number]]) for number in named], place[codes]


def _around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text: those of an empty one, its class token and its end."""
    ids = list(tokenizer.backend.encode("").ids)
    return ids[:1], ids[1:]
