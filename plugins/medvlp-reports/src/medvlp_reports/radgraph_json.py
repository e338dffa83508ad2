"""Reading RadGraph's JSON study by study into columns, without holding the file in memory."""

from __future__ import annotations

import codecs
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

ANATOMY, DEFINITELY_PRESENT, DEFINITELY_ABSENT, UNCERTAIN = 0, 1, 2, 3
# The published files' labels, and those that the radgraph package writes for its newer models.
_LABELS = {
    "ANAT-DP": ANATOMY,
    "OBS-DP": DEFINITELY_PRESENT,
    "OBS-DA": DEFINITELY_ABSENT,
    "OBS-U": UNCERTAIN,
    "Anatomy::definitely present": ANATOMY,
    "Anatomy::definitely absent": ANATOMY,
    "Anatomy::uncertain": ANATOMY,
    "Observation::definitely present": DEFINITELY_PRESENT,
    "Observation::definitely absent": DEFINITELY_ABSENT,
    "Observation::uncertain": UNCERTAIN,
}
_MEASUREMENT = "Observation::measurement::"  # a size ("3 cm") is no finding
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
    ``target`` entity rows (target -1 where the JSON has no such entity), ``located_at``.
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
    located_at: NDArray[np.bool_]


def read_batches(path: str | Path, digest: Digest | None = None, batch_size: int = 20_000) -> Iterator[StudyBatch]:
    """Batches of studies from RadGraph's JSON.

    Args:
        path: ``{study_path: {"text": …, "entities": {key: {"tokens", "label", "start_ix",
            "relations": [[type, key], …]}}}, …}``. Studies whose entities are given per annotator
            (the test split's gold standard) have no ``entities`` of their own and are read as empty.
        digest: updated with the file's bytes.
        batch_size: studies a batch.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON of that form; says where.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected RadGraph's JSON (MIMIC-CXR_graphs.json)")
    columns = _Columns()
    for key, study in _studies(path, digest):
        try:
            columns.add(key, study)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}: study number {columns.seen} is not of RadGraph's form ({type(error).__name__}: {error}); "
                "expected text and entities with tokens, label, start_ix, relations"
            ) from None
        if len(columns.studies) == batch_size:
            yield columns.batch()
            columns = _Columns(columns.seen)
    if columns.studies:
        yield columns.batch()


class _Columns:
    """Collects a batch."""

    def __init__(self, seen: int = 0) -> None:
        self.seen = seen
        self.studies: list[str] = []
        self.codes: dict[str, int] = {}
        self.study, self.token, self.label, self.start = array("q"), array("q"), array("q"), array("q")
        self.ends = array("q")
        self.source, self.target, self.located_at = array("q"), array("q"), array("b")

    def add(self, key: str, study: dict[str, Any]) -> None:
        self.seen += 1
        entities = study.get("entities") or {}
        number = len(self.studies)
        base = number << 32
        kept = {name: item for name, item in entities.items() if not item["label"].startswith(_MEASUREMENT)}
        rows = {name: row for row, name in enumerate(kept, len(self.token))}
        codes = self.codes
        for name, entity in kept.items():
            word = entity["tokens"].lower()
            code = codes.get(word)
            if code is None:
                code = codes[word] = len(codes)
            label = _LABELS.get(entity["label"])
            if label is None:
                raise ValueError(f"unknown label {entity['label'][:40]!r}")
            self.token.append(code)
            self.label.append(label)
            self.study.append(number)
            self.start.append(base + entity["start_ix"])
            for relation, target in entity["relations"]:
                self.source.append(rows[name])
                self.target.append(rows.get(target, -1))
                self.located_at.append(relation == "located_at")
        words = study["text"].split()
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
            located_at=np.asarray(self.located_at, dtype=bool),
        )


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
