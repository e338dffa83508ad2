"""The ``radgraph`` report filter: findings from RadGraph's published JSON, with MedKLIP's rules.

RadGraph (Jain et al., NeurIPS Datasets and Benchmarks 2021) publishes entities and relations of
MIMIC-CXR's reports. MedKLIP (Wu et al., ICCV 2023, arXiv 2301.02228) turns them into statements
(landmark, class, presence). The steps, per sentence:

1. Heads are anatomies without a relation. An anatomy is a head with the anatomies that point to it.
2. An observation ``located_at`` a word of an anatomy is there. One without a relation, or whose
   relations leave the sentence, is at ``unspecified``; so is every one of a sentence without anatomy.
3. The observation's lemma is merged into one of 75 classes, the anatomy's words name a landmark.

RadGraph indexes words of the text as split at white space, and so do we; a tokenizer that splits
otherwise assigns sentences wrongly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lemmas import Lemmatizer, lemmatize
from medvlp_reports.radgraph_json import DEFINITELY_ABSENT, DEFINITELY_PRESENT, UNCERTAIN, StudyBatch, read_batches
from medvlp_toolkit.data.records import Finding, Presence, Report

_PRESENCE = {
    DEFINITELY_PRESENT: Presence.PRESENT,
    DEFINITELY_ABSENT: Presence.ABSENT,
    UNCERTAIN: Presence.UNCERTAIN,
}
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Statements:
    """Statements of many studies, one row each, sorted by study and without repeats.

    ``study`` indexes ``studies`` (the JSON's keys), ``position`` and ``entity`` MedKLIP's 51 and 75,
    ``label`` is RadGraph's (``radgraph_json``'s codes), ``lemma`` indexes ``lemmas``.
    """

    studies: list[str]
    lemmas: list[str]
    study: NDArray[np.int32]
    position: NDArray[np.int8]
    entity: NDArray[np.int8]
    label: NDArray[np.int8]
    lemma: NDArray[np.int32]

    def to_matrix(self, studies: slice | None = None) -> NDArray[np.int8]:
        """MedKLIP's label matrix (S, 51, 75) int8: 1 present, 0 absent, -1 not mentioned.

        Present outweighs absent; uncertain statements are left out. ``studies`` limits the rows:
        220,000 studies need 0.84 GB.
        """
        start, stop, _ = (studies or slice(None)).indices(len(self.studies))
        vocabulary = medklip_vocabulary()
        matrix = np.full((stop - start, len(vocabulary.positions), len(vocabulary.entities)), -1, dtype=np.int8)
        low, high = np.searchsorted(self.study, [start, stop])
        rows = slice(int(low), int(high))
        for label, value in ((DEFINITELY_ABSENT, 0), (DEFINITELY_PRESENT, 1)):
            chosen = np.flatnonzero(self.label[rows] == label) + low
            matrix[self.study[chosen] - start, self.position[chosen], self.entity[chosen]] = value
        return matrix


class RadGraphFilter:
    """Looks up reports in RadGraph's JSON (``MIMIC-CXR_graphs.json``) instead of reading their text.

    Args:
        path: the JSON file: ``{study_path: {"text": …, "entities": {…}}, …}``.
        lemmatizer: phrase → base forms; the package's own table, or ``spacy_lemmatizer()``.
        uncertain: also give RadGraph's uncertain observations (MedKLIP leaves them out).

    A report's id may be the study's path in the JSON, its file name, or that without ``s``
    (``50414267``). Reports that the JSON lacks get no findings; ``missing`` counts them.

    The file is read at first use, and before the filter is sent to another process.

    Example::

        report_filter:
          _target_: medvlp_toolkit.report_filters.radgraph
          path: MIMIC-CXR_graphs.json
    """

    def __init__(self, path: str | Path, lemmatizer: Lemmatizer = lemmatize, uncertain: bool = True) -> None:
        vocabulary = medklip_vocabulary()
        self.path = Path(path)
        self.lemmatizer = lemmatizer
        self.uncertain = uncertain
        self.entities: list[str] = list(vocabulary.entities)
        self.positions: list[str] = list(vocabulary.positions)
        self.missing = 0
        self._statements: Statements | None = None
        self._bounds: list[int] = []  # study i has the statements _bounds[i] to _bounds[i + 1]
        self._findings: list[Finding] = []
        self._finding: NDArray[np.int32] = np.empty(0, dtype=np.int32)  # statement → its place in _findings
        self._rows: dict[str, int] = {}
        self._digest = ""

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        """Findings of each report; spans are None, ``concept_id`` is the observation's lemma."""
        self.statements()
        found: list[list[Finding]] = []
        for report in reports:
            row = self._rows.get(report.id)
            if row is None:
                row = self._rows.get(_short_id(report.id))
            if row is None:
                self.missing += 1
                found.append([])
            else:
                places = self._finding[self._bounds[row] : self._bounds[row + 1]]
                found.append([self._findings[place] for place in places.tolist()])
        return found

    def statements(self) -> Statements:
        """All statements of the file, read once.

        Raises FileNotFoundError, or ValueError where the file is not RadGraph's JSON.
        """
        if self._statements is None:
            digest = hashlib.sha256()
            self._statements = statements_of(read_batches(self.path, digest), self.lemmatizer)
            self._digest = digest.hexdigest()
            self._index_findings(self._statements)
            for row, study in enumerate(self._statements.studies):
                self._rows[study] = row
                self._rows.setdefault(_short_id(study), row)
        return self._statements

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the findings depend on besides the report."""
        self.statements()
        lemmatizer = getattr(self.lemmatizer, "__qualname__", type(self.lemmatizer).__qualname__)
        return {"sha256": self._digest, "uncertain": self.uncertain, "lemmatizer": lemmatizer}

    def __getstate__(self) -> dict[str, Any]:
        self.statements()  # tens of megabytes; every process parsing the file again would take far longer
        return {**self.__dict__, "lemmatizer": lemmatize}

    def _index_findings(self, statements: Statements) -> None:
        """Make each distinct finding once: studies share them, since they cannot be changed."""
        shape = (len(statements.lemmas), len(self.entities), len(self.positions), len(_PRESENCE) + 1)
        fields = (statements.lemma, statements.entity, statements.position, statements.label)
        distinct, finding = np.unique(np.ravel_multi_index(fields, shape), return_inverse=True)
        self._findings = [
            Finding(
                entity=self.entities[entity],
                presence=_PRESENCE[int(label)],
                position=self.positions[position],
                concept_id=statements.lemmas[lemma],
            )
            for lemma, entity, position, label in zip(*np.unravel_index(distinct, shape), strict=True)
        ]
        study = statements.study
        self._finding = finding.astype(np.int32)
        if not self.uncertain:
            certain = statements.label != UNCERTAIN
            study, self._finding = study[certain], self._finding[certain]
        self._bounds = np.searchsorted(study, np.arange(len(statements.studies) + 1)).tolist()


def _short_id(study: str) -> str:
    """The bare number of a study: ``files/p10/p10000032/s50414267.txt`` and ``s50414267`` give ``50414267``."""
    stem = PurePosixPath(study).stem if "/" in study or study.endswith(".txt") else study
    return stem[1:] if stem[:1] == "s" and stem[1:].isdigit() else stem


def statements_of(batches: Iterator[StudyBatch], lemmatizer: Lemmatizer = lemmatize) -> Statements:
    """Apply MedKLIP's rules to RadGraph's entities and relations, a batch of studies at a time."""
    vocabulary = medklip_vocabulary()
    entity_index = {name: index for index, name in enumerate(vocabulary.entities)}
    position_index = {name: index for index, name in enumerate(vocabulary.positions)}
    studies: list[str] = []
    lemma_index: dict[str, int] = {}
    lemma_of_token: dict[str, tuple[int, int]] = {}  # token → (lemma, entity)
    position_of_anatomy: dict[str, int] = {"unspecified": position_index["unspecified"]}
    parts: list[NDArray[np.int64]] = []

    for batch in batches:
        observation, anatomy, anatomies = _located_observations(batch)
        classes = np.empty((len(batch.tokens), 2), dtype=np.int64)
        for code in np.unique(batch.token[observation]).tolist():
            token = batch.tokens[code]
            known = lemma_of_token.get(token)
            if known is None:
                lemma = lemmatizer(token)
                lemma = vocabulary.merges.get(lemma, lemma)
                number = lemma_index.setdefault(lemma, len(lemma_index))
                known = lemma_of_token[token] = number, entity_index[vocabulary.entity(lemma)]
            classes[code] = known
        places = np.empty(len(anatomies), dtype=np.int64)
        for number, name in enumerate(anatomies):
            place = position_of_anatomy.get(name)
            if place is None:
                place = position_of_anatomy[name] = position_index[vocabulary.position(name)]
            places[number] = place
        tokens = batch.token[observation]
        rows = np.stack(
            [
                batch.study[observation] + len(studies),
                places[anatomy],
                classes[tokens, 1],
                batch.label[observation],
                classes[tokens, 0],
            ],
            axis=1,
        )
        parts.append(_unique_rows(rows).astype(np.int32))
        studies.extend(batch.studies)
    table = np.concatenate(parts) if parts else np.empty((0, 5), dtype=np.int32)
    return Statements(
        studies=studies,
        lemmas=list(lemma_index),
        study=table[:, 0].astype(np.int32),
        position=table[:, 1].astype(np.int8),
        entity=table[:, 2].astype(np.int8),
        label=table[:, 3].astype(np.int8),
        lemma=table[:, 4].astype(np.int32),
    )


def _located_observations(batch: StudyBatch) -> tuple[Int, Int, list[str]]:
    """(observation's entity row, anatomy) pairs, and the anatomies' strings."""
    source, target, located = batch.source, batch.target, batch.located_at
    is_anatomy = batch.label == batch.ANATOMY
    known = target >= 0
    in_sentence = known & (batch.sentence[source] == batch.sentence[np.where(known, target, 0)])
    has_relation = np.zeros(len(batch.label), dtype=bool)
    has_relation[source] = True
    stays = np.zeros(len(batch.label), dtype=bool)
    stays[source[in_sentence]] = True

    is_head = is_anatomy & ~has_relation
    modifies = in_sentence & is_anatomy[source] & is_head[np.where(known, target, 0)]
    anatomies, anatomy_of_head = _anatomy_strings(batch, np.flatnonzero(is_head), source[modifies], target[modifies])

    # Each word of an anatomy → its head; a word may modify two heads.
    heads = np.flatnonzero(is_head)
    word = np.concatenate([heads, source[modifies]])
    head = np.concatenate([heads, target[modifies]])
    order = np.argsort(word, kind="stable")
    word, head = word[order], head[order]
    placed = in_sentence & located & ~is_anatomy[source]
    low = np.searchsorted(word, target[placed], side="left")
    count = np.searchsorted(word, target[placed], side="right") - low
    observation = np.repeat(source[placed], count)
    offsets = np.arange(len(observation)) - np.repeat(np.cumsum(count) - count, count)
    anatomy = anatomy_of_head[head[np.repeat(low, count) + offsets]]

    sentence_has_anatomy = np.zeros(int(batch.sentence.max(initial=-1)) + 1, dtype=bool)
    sentence_has_anatomy[batch.sentence[is_anatomy]] = True
    lost = ~is_anatomy & (~stays | ~sentence_has_anatomy[batch.sentence])
    unplaced = np.flatnonzero(lost)
    return (
        np.concatenate([observation, unplaced]),
        np.concatenate([anatomy, np.full(len(unplaced), len(anatomies), dtype=np.int64)]),
        [*anatomies, "unspecified"],
    )


def _anatomy_strings(batch: StudyBatch, heads: Int, modifier: Int, modified: Int) -> tuple[list[str], Int]:
    """Distinct anatomies ("lobe|left|lower") and, per entity row that is a head, which it is."""
    code = np.zeros(len(batch.label), dtype=np.int64)
    code[heads] = batch.token[heads]
    strings = list(batch.tokens)
    order = np.lexsort((modifier, modified))
    modifier, modified = modifier[order], modified[order]
    first = np.searchsorted(modified, modified, side="left")
    rank = np.arange(len(modified)) - first
    # The k-th modifier of every head is appended at once; a string is a pair (string so far, word).
    for step in range(int(rank.max(initial=-1)) + 1):
        chosen = rank == step
        pair = code[modified[chosen]] * len(batch.tokens) + batch.token[modifier[chosen]]
        distinct, inverse = np.unique(pair, return_inverse=True)
        base = len(strings)
        for value in distinct.tolist():
            so_far, word = divmod(value, len(batch.tokens))
            strings.append(f"{strings[so_far]}|{batch.tokens[word]}")
        code[modified[chosen]] = base + inverse
    return strings, code


def _unique_rows(rows: Int) -> Int:
    """Rows sorted by study, position, entity, label, lemma, without repeats."""
    if not len(rows):
        return rows
    rows = rows[np.lexsort(rows.T[::-1])]
    keep = np.ones(len(rows), dtype=bool)
    keep[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return rows[keep]
