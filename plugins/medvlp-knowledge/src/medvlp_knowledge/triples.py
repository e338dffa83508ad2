"""The knowledge source ``triples``: a table of relations, with or without names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from os import PathLike
from pathlib import Path

from medvlp_knowledge.text_lines import TextLines
from medvlp_toolkit.data.records import Concept, Triple

Column = int | str

BUNDLED = ("chest_relations",)
"""Names of the tables shipped with this package."""


class TripleTable:
    """Triples from a tab-separated file, one per line, in order and with repetitions.

    The concepts are those of ``names``, in its order, then heads and tails that it does not list, in order of first
    occurrence and named by their ids.

    Args:
        path: ``.tsv`` (or ``.tsv.gz``) in UTF-8; blank lines are skipped. Or a name: ``chest_relations`` relates the
            entries of the shipped definitions (where a finding sits, what it is a kind or part of, what it causes).
        names: a tab-separated file of id, name, synonyms separated by ``|``, and definition; the last two may be
            missing. A first line that begins with ``id`` is its header.
        head: column of the head: its number counted from 0, or its title.
        relation: column of the relation.
        tail: column of the tail.
        header: whether the first line has titles; None: if columns are given by title, or its cells in the three
            columns are head, relation, tail.
        kind: :attr:`Concept.kind` of all concepts.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line with too few or empty cells, or an unknown title; the message names file and line.

    Example:
        A file ``graph.tsv`` of lines such as ``effusion<TAB>located_in<TAB>pleural_space``::

            source = TripleTable(path="graph.tsv", names="names.tsv")

        and one whose columns are head, tail, weight, relation::

            source = TripleTable(path="graph.tsv", head=0, tail=1, relation=3)
    """

    def __init__(
        self,
        path: str | PathLike[str],
        names: str | PathLike[str] | None = None,
        head: Column = 0,
        relation: Column = 1,
        tail: Column = 2,
        header: bool | None = None,
        kind: str = "finding",
    ) -> None:
        self.path = _shipped(str(path)) if path in BUNDLED else _existing(path, "triples")
        self._triples = tuple(_read_triples(self.path, (head, relation, tail), header))
        if not self._triples:
            raise ValueError(f"{self.path}: no triples; expected lines of head, relation and tail separated by tabs")
        concepts = {} if names is None else {c.id: c for c in _read_names(_existing(names, "concept names"), kind)}
        for triple in self._triples:
            for concept_id in (triple.head, triple.tail):
                if concept_id not in concepts:
                    concepts[concept_id] = Concept(concept_id, concept_id, kind=kind)
        self._concepts = tuple(concepts.values())

    @property
    def concepts(self) -> Sequence[Concept]:
        """The named concepts, then those that only the triples mention."""
        return self._concepts

    @property
    def triples(self) -> Sequence[Triple]:
        """The triples in the file's order."""
        return self._triples

    def __len__(self) -> int:
        return len(self._concepts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path.name}: {len(self._concepts)} concepts, {len(self._triples)} triples)"


def _shipped(name: str) -> Path:
    return Path(str(resources.files("medvlp_knowledge") / "data" / f"{name}.tsv"))


def _existing(path: str | PathLike[str], what: str) -> Path:
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no file of {what} at '{file}' (looked in '{file.absolute().parent}')")
    return file


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    lines = TextLines(path)
    for line in lines:
        if line.strip():
            yield f"{path}, line {lines.number}", [cell.strip() for cell in line.split("\t")]


def _read_triples(path: Path, columns: tuple[Column, Column, Column], header: bool | None) -> Iterator[Triple]:
    for column in columns:
        if isinstance(column, bool) or (isinstance(column, int) and column < 0):
            raise ValueError(f"column {column!r}: expected a number from 0 or a title")
    titled = any(isinstance(column, str) for column in columns)
    if titled and header is False:
        raise ValueError("columns given by title need a header; give numbers, or leave header out")
    numbers: tuple[int, ...] | None = None
    for where, cells in _rows(path):
        if numbers is None:
            numbers = tuple(_number(column, cells, where) for column in columns)
            if header is None:
                header = titled or [cells[n].lower() for n in numbers if n < len(cells)] == ["head", "relation", "tail"]
            if header:
                continue
        if len(cells) <= max(numbers):
            raise ValueError(f"{where}: {len(cells)} tab-separated cells, expected at least {max(numbers) + 1}")
        triple = Triple(*(cells[n] for n in numbers))
        if not (triple.head and triple.relation and triple.tail):
            raise ValueError(f"{where}: an empty head, relation or tail")
        yield triple


def _number(column: Column, titles: Sequence[str], where: str) -> int:
    if isinstance(column, int):
        return column
    if column not in titles:
        raise ValueError(f"{where}: no column '{column}'; the titles are {', '.join(titles)}")
    return titles.index(column)


def _read_names(path: Path, kind: str) -> Iterator[Concept]:
    seen: set[str] = set()
    for n, (where, cells) in enumerate(_rows(path)):
        if n == 0 and cells[0].lower() == "id":
            continue
        if not 2 <= len(cells) <= 4:
            raise ValueError(f"{where}: {len(cells)} tab-separated cells; expected id, name, synonyms, definition")
        concept_id, name, synonyms, definition = [*cells, "", ""][:4]
        if not concept_id or not name:
            raise ValueError(f"{where}: an empty id or name")
        if concept_id in seen:
            raise ValueError(f"{where}: id '{concept_id}' occurs twice")
        seen.add(concept_id)
        others = tuple(synonym.strip() for synonym in synonyms.split("|") if synonym.strip())
        yield Concept(concept_id, name, others, definition, kind)
