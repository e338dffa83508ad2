"""Reading RadGraph's JSON study by study into columns, without holding the file in memory.

Two forms are read: the published graphs of MIMIC-CXR (RadGraph 1.0, labels ``OBS-DP`` …) and what the ``radgraph``
package (version 0.1.18) writes for its models, RadGraph-XL's among them (labels ``Observation::definitely present``,
``Anatomy::measurement::definitely present`` …).
"""

from __future__ import annotations

import codecs
import json
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

ANATOMY, DEFINITELY_PRESENT, DEFINITELY_ABSENT, UNCERTAIN = 0, 1, 2, 3
MODIFIES, LOCATED_AT, SUGGESTIVE_OF = 0, 1, 2
"""Kinds of relation; ``modify``, and any that is neither of the others, is the first."""

_PUBLISHED_LABELS = {
    "ANAT-DP": ANATOMY,
    "OBS-DP": DEFINITELY_PRESENT,
    "OBS-DA": DEFINITELY_ABSENT,
    "OBS-U": UNCERTAIN,
}
_PACKAGE_LABELS = {
    "Anatomy::definitely present": ANATOMY,
    "Anatomy::definitely absent": ANATOMY,
    "Anatomy::uncertain": ANATOMY,
    "Observation::definitely present": DEFINITELY_PRESENT,
    "Observation::definitely absent": DEFINITELY_ABSENT,
    "Observation::uncertain": UNCERTAIN,
}
_LABELS = _PUBLISHED_LABELS | _PACKAGE_LABELS
_MEASUREMENT = "::measurement::"  # a size ("3 cm") is no finding, a distance ("2 cm above") no anatomy
_RELATIONS = {"located_at": LOCATED_AT, "suggestive_of": SUGGESTIVE_OF}
_LONGEST_LABEL = 60
_ENDS = frozenset([".", "!", "?"])
_PIECE = 1 << 23
_LARGEST_STUDY = 1 << 27
_SPACE = re.compile(r"[ \t\r\n]*")


class Digest(Protocol):
    """What ``hashlib`` gives."""

    def update(self, data: bytes, /) -> None: ...


@dataclass(frozen=True)
class StudyBatch:
    """Entities and relations of some studies, in columns.

    Entity rows: ``study`` (in ``studies``), ``token`` (in ``tokens``, lower case), ``label`` (the
    module's codes), ``sentence`` (numbered through the batch). Relation rows: ``source`` and
    ``target`` entity rows (target -1 where the JSON has no such entity), ``relation`` (the module's
    codes). ``phrases``: some entity has a label of the package, whose models mark whole phrases ("et
    tube") where the published graphs mark words.
    """

    ANATOMY: ClassVar[int] = ANATOMY

    studies: list[str]
    tokens: list[str]
    study: NDArray[np.int64]
    token: NDArray[np.int64]
    label: NDArray[np.int64]
    sentence: NDArray[np.int64]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    relation: NDArray[np.int8]
    phrases: bool


def read_batches(
    path: str | Path,
    digest: Digest | None = None,
    batch_size: int = 20_000,
    unknown_labels: Counter[str] | None = None,
) -> Iterator[StudyBatch]:
    """Batches of studies from RadGraph's JSON.

    Args:
        path: ``{study_path: {"text": …, "entities": {key: {"tokens", "label", "start_ix",
            "relations": [[type, key], …]}}}, …}``. Studies whose entities are given per annotator
            (the test split's gold standard) have no ``entities`` of their own and are read as empty.
        digest: updated with the file's bytes.
        batch_size: studies a batch.
        unknown_labels: counts labels that RadGraph does not have; their entities are left out.

    An entity that is left out (a measurement, an unknown label) hands its relations on: what is
    located at "2 cm above", which modifies "carina", is located at the carina.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON of that form; says where.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected RadGraph's JSON (MIMIC-CXR_graphs.json)")
    unknown = Counter[str]() if unknown_labels is None else unknown_labels
    columns = _Columns(unknown)
    for key, study in _studies(path, digest):
        try:
            columns.add(key, study)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(
                f"{path}: study number {columns.seen} is not of RadGraph's form ({_reason(error)}); "
                "expected text and entities with tokens, label, start_ix, relations"
            ) from None
        if len(columns.studies) == batch_size:
            yield columns.batch()
            columns = _Columns(unknown, columns.seen)
    if columns.studies:
        yield columns.batch()


def _reason(error: Exception) -> str:
    """What is wrong; Python's own messages here name keys and types, never values."""
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


class _Columns:
    """Collects a batch."""

    def __init__(self, unknown_labels: Counter[str], seen: int = 0) -> None:
        self.seen = seen
        self.unknown_labels = unknown_labels
        self.phrases = False
        self.studies: list[str] = []
        self.codes: dict[str, int] = {}
        self.study, self.token, self.label, self.start = array("q"), array("q"), array("q"), array("q")
        self.ends = array("q")
        self.source, self.target, self.relation = array("q"), array("q"), array("b")

    def add(self, key: str, study: dict[str, Any]) -> None:
        self.seen += 1
        words = study["text"].split()
        entities = study.get("entities") or {}
        number = len(self.studies)
        base = number << 32
        kept: dict[str, tuple[dict[str, Any], int]] = {}
        left_out: dict[str, list[str]] = {}
        for name, entity in entities.items():
            label = _LABELS.get(entity["label"])
            if label is not None:
                kept[name] = entity, label
                self.phrases = self.phrases or entity["label"] in _PACKAGE_LABELS
            else:
                left_out[name] = [target for _, target in _relations(entity)]
                if _MEASUREMENT not in entity["label"]:
                    self.unknown_labels[entity["label"][:_LONGEST_LABEL]] += 1
        rows = {name: row for row, name in enumerate(kept, len(self.token))}
        codes = self.codes
        for name, (entity, label) in kept.items():
            word = entity["tokens"].lower()
            code = codes.get(word)
            if code is None:
                code = codes[word] = len(codes)
            start = entity["start_ix"]
            if not 0 <= start < len(words):
                raise ValueError(f"a start_ix outside its text of {len(words)} words")
            self.token.append(code)
            self.label.append(label)
            self.study.append(number)
            self.start.append(base + start)
            for relation, target in _relations(entity):
                kind = _RELATIONS.get(relation, MODIFIES)
                for final in (target,) if target not in left_out else _handed_on(target, left_out):
                    self.source.append(rows[name])
                    self.target.append(rows.get(final, -1))
                    self.relation.append(kind)
        self.ends.extend([base + i for i, word in enumerate(words) if word[-1] in _ENDS and _ends_sentence(words, i)])
        self.ends.append(base + len(words))
        self.studies.append(key)

    def batch(self) -> StudyBatch:
        return StudyBatch(
            studies=self.studies,
            tokens=list(self.codes),
            study=np.asarray(self.study, dtype=np.int64),
            token=np.asarray(self.token, dtype=np.int64),
            label=np.asarray(self.label, dtype=np.int64),
            sentence=np.searchsorted(np.asarray(self.ends), np.asarray(self.start)).astype(np.int64),
            source=np.asarray(self.source, dtype=np.int64),
            target=np.asarray(self.target, dtype=np.int64),
            relation=np.asarray(self.relation, dtype=np.int8),
            phrases=self.phrases,
        )


def _relations(entity: dict[str, Any]) -> list[tuple[str, str]]:
    """An entity's (kind, key of the other entity) pairs."""
    relations: list[tuple[str, str]] = entity["relations"]
    if not isinstance(relations, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in relations):
        raise ValueError("relations that are no list of [kind, entity] pairs")
    return relations


def _handed_on(key: str, left_out: dict[str, list[str]]) -> list[str]:
    """The entities that a left-out entity's relations lead to, through others that are left out."""
    seen, waiting, found = {key}, list(left_out[key]), []
    while waiting:
        target = waiting.pop(0)
        if target in seen:
            continue
        seen.add(target)
        if target in left_out:
            waiting += left_out[target]
        else:
            found.append(target)
    return found


def _ends_sentence(words: list[str], index: int) -> bool:
    """Whether a word with a full stop ends a sentence: not in "1 . 5" or "2." """
    word = words[index]
    if word in _ENDS:
        after = words[index + 1] if index + 1 < len(words) else ""
        return not (after[:1].isdigit() and index > 0 and words[index - 1].isdigit())
    return not word[:-1].isdigit()


def _studies(path: Path, digest: Digest | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, value) of a JSON object, decoded one member at a time."""
    decode = json.JSONDecoder().raw_decode
    decoder = codecs.getincrementaldecoder("utf-8")()
    buffer, position, consumed, done = "", 0, 0, False

    def bad(reason: str) -> ValueError:
        return ValueError(f"{path}: {reason} (near character {consumed + position}); expected RadGraph's JSON")

    with path.open("rb") as stream:

        def fill() -> None:
            nonlocal buffer, position, consumed, done
            piece = stream.read(_PIECE)
            if digest is not None:
                digest.update(piece)
            done = not piece
            consumed += position
            try:
                buffer, position = buffer[position:] + decoder.decode(piece, final=done), 0
            except UnicodeDecodeError:
                raise bad("no UTF-8 text") from None

        fill()
        while (position := _skip(buffer, position)) == len(buffer) and not done:
            fill()
        if buffer[position : position + 1] != "{":
            raise bad("no JSON object")
        position += 1
        first = True
        while True:
            start = position
            try:
                position = _skip(buffer, position)
                if buffer[position] == "}":
                    break
                if not first:
                    position = _skip(buffer, _after(",", buffer, position))
                key, after = decode(buffer, position)
                after = _skip(buffer, _after(":", buffer, _skip(buffer, after)))
                value, after = decode(buffer, after)
            except (ValueError, IndexError):
                position = start
                if done or len(buffer) - start > _LARGEST_STUDY:
                    raise bad("the JSON is damaged or ends early") from None
                fill()
                continue
            except RecursionError:
                raise bad("the JSON is nested too deeply") from None
            if not isinstance(key, str) or not isinstance(value, dict):
                raise bad("a member that is no study")
            yield key, value
            first = False
            position = after
        rest = buffer[position + 1 :]
        while not rest.strip() and not done:
            position = len(buffer)
            fill()
            rest = buffer
        if rest.strip():
            raise bad("text after the JSON object")


def _skip(text: str, position: int) -> int:
    """Where white space from ``position`` ends."""
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _after(mark: str, text: str, position: int) -> int:
    if text[position] != mark:
        raise ValueError
    return position + 1
