"""MedKLIP's rules on RadGraph's entities and relations.

RadGraph (Jain et al., NeurIPS Datasets and Benchmarks 2021) publishes entities and relations of
MIMIC-CXR's reports. MedKLIP (Wu et al., ICCV 2023, arXiv 2301.02228) turns them into statements
(landmark, class, presence). The steps, per sentence:

1. Heads are anatomies without a relation. An anatomy is a head with the anatomies that point to it.
2. An observation ``located_at`` a word of an anatomy is there. One without a relation, or whose
   relations leave the sentence, is at ``unspecified``; so is every one of a sentence without anatomy.
3. The observation's lemma is merged into one of 75 classes, the anatomy's words name a landmark.

Two things are added, since they lose findings: places are carried along ``suggestive_of`` ("opacity in the left base
suggestive of pneumonia": the published rules leave the pneumonia without a place, and an opacity without one out), and
of a phrase that is no class, as the package's newer models mark them ("et tube"), the last word counts.

RadGraph indexes words of the text as split at white space, and so do we; a tokenizer that splits
otherwise assigns sentences wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp_reports.landmarks import Vocabulary, medklip_vocabulary
from medvlp_reports.lemmas import Lemmatizer, lemmatize
from medvlp_reports.radgraph_json import (
    DEFINITELY_ABSENT,
    DEFINITELY_PRESENT,
    LOCATED_AT,
    SUGGESTIVE_OF,
    StudyBatch,
)

NO_PLACE = "unspecified"
"""The row of MedKLIP's matrix for statements without a place; a finding has the position None."""
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


def statements_of(
    batches: Iterable[StudyBatch], lemmatizer: Lemmatizer = lemmatize, suggestive_places: bool = True
) -> Statements:
    """Apply MedKLIP's rules to RadGraph's entities and relations, a batch of studies at a time."""
    vocabulary = medklip_vocabulary()
    entity_index = {name: index for index, name in enumerate(vocabulary.entities)}
    position_index = {name: index for index, name in enumerate(vocabulary.positions)}
    studies: list[str] = []
    lemma_index: dict[str, int] = {}
    lemma_of_token: dict[str, tuple[int, int]] = {}  # token → (lemma, entity)
    position_of_anatomy: dict[str, int] = {NO_PLACE: position_index[NO_PLACE]}
    parts: list[NDArray[np.int64]] = []

    for batch in batches:
        observation, anatomy, anatomies = _located_observations(batch, suggestive_places)
        classes = np.empty((len(batch.tokens), 2), dtype=np.int64)
        for code in np.unique(batch.token[observation]).tolist():
            token = batch.tokens[code]
            known = lemma_of_token.get(token)
            if known is None:
                lemma = lemmatizer(token)
                lemma = vocabulary.merges.get(lemma, lemma)
                number = lemma_index.setdefault(lemma, len(lemma_index))
                known = lemma_of_token[token] = number, entity_index[_entity(vocabulary, lemma, batch.phrases)]
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


def _entity(vocabulary: Vocabulary, lemma: str, phrases: bool) -> str:
    """The class of an observation; a phrase ("et tube") that is none counts as its last word."""
    entity = vocabulary.entity(lemma)
    if phrases and entity == "tail_abnorm_obs" and " " in lemma:
        return vocabulary.entity(lemma.rpartition(" ")[2])
    return entity


def _located_observations(batch: StudyBatch, suggestive_places: bool) -> tuple[Int, Int, list[str]]:
    """(observation's entity row, anatomy) pairs, and the anatomies' strings."""
    source, target, located = batch.source, batch.target, batch.relation == LOCATED_AT
    is_anatomy = batch.label == batch.ANATOMY
    known = target >= 0
    in_sentence = known & (batch.sentence[source] == batch.sentence[np.where(known, target, 0)])
    has_relation = np.zeros(len(batch.label), dtype=bool)
    has_relation[source] = True
    # By the published rules an observation whose only relation is to what it suggests is left out.
    keeps_it = in_sentence & (batch.relation != SUGGESTIVE_OF) if suggestive_places else in_sentence
    stays = np.zeros(len(batch.label), dtype=bool)
    stays[source[keeps_it]] = True

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
    if suggestive_places:
        edges = (
            known & (batch.relation == SUGGESTIVE_OF) & ~is_anatomy[source] & ~is_anatomy[np.where(known, target, 0)]
        )
        carried, place = _carried_places(observation, anatomy, source[edges], target[edges])
        lost[carried] = False
        observation, anatomy = np.concatenate([observation, carried]), np.concatenate([anatomy, place])
    unplaced = np.flatnonzero(lost)
    return (
        np.concatenate([observation, unplaced]),
        np.concatenate([anatomy, np.full(len(unplaced), len(anatomies), dtype=np.int64)]),
        [*anatomies, NO_PLACE],
    )


def _carried_places(observation: Int, anatomy: Int, source: Int, target: Int) -> tuple[Int, Int]:
    """(observation, anatomy) pairs of those without a place that suggest, or are suggested by, one that has one."""
    if not len(source):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    neighbours: dict[int, list[int]] = {}
    for one, other in zip(source.tolist(), target.tolist(), strict=True):
        neighbours.setdefault(one, []).append(other)
        neighbours.setdefault(other, []).append(one)
    related = np.isin(observation, list(neighbours))
    places: dict[int, list[int]] = {}
    for row, place in zip(observation[related].tolist(), anatomy[related].tolist(), strict=True):
        places.setdefault(row, []).append(place)
    pairs: list[tuple[int, int]] = []
    reached = list(places)
    while reached:
        given: dict[int, list[int]] = {}
        for row in reached:
            for other in neighbours[row]:
                if other not in places:
                    given.setdefault(other, []).extend(places[row])
        places |= {row: list(dict.fromkeys(found)) for row, found in given.items()}
        pairs += [(row, place) for row in given for place in places[row]]
        reached = list(given)
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


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
