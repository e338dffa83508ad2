"""The knowledge source ``umls``: a licensed copy of the UMLS Metathesaurus."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from functools import cached_property
from os import PathLike
from pathlib import Path

from medvlp_knowledge.rrf import find_table, read_rows
from medvlp_toolkit.data.records import Concept, Triple


class UmlsMetathesaurus:
    """Concepts and relations of the UMLS Metathesaurus, from the RRF files of the user's own licensed copy.

    The tables MRCONSO, MRDEF, MRSTY and MRREL (``.RRF`` or ``.RRF.gz``) are streamed row by row; only the selected
    entries are kept in memory. Suppressible rows (SUPPRESS other than ``N``) are dropped. Concepts are ordered by CUI.

    A concept's name is the first of its kept strings by (TS, STT, ISPREF), that is: of the preferred term, in its
    preferred form, of the preferred atom; the other strings are synonyms, once each without regard to case. Of
    several definitions it takes that of the first vocabulary in ``vocabularies``, then in alphabetical order.

    A row of MRREL states the relationship that its *second* concept has to its first, so CUI2 becomes the head of the
    triple and CUI1 the tail; the relation is RELA if the row has one, else REL. MRREL holds most relationships in
    both directions; ``relations`` selects one. Triples between concepts that are kept come in the file's order, once
    each; MRREL is read when ``triples`` is first accessed.

    No part of the UMLS is shipped or downloaded. This class is tested on small files written in the layout of the UMLS
    Reference Manual (National Library of Medicine), not on a release.

    Args:
        path: the folder of the RRF files, or the one above it that has ``META``.
        vocabularies: source abbreviations (SAB) to take names and relations from, such as ``["SNOMEDCT_US", "MSH"]``;
            None: all. Definitions are taken from every vocabulary of the language.
        semantic_types: keep concepts with one of these, as TUI (``T047``) or name (``Disease or Syndrome``).
        language: LAT of names and definitions, three capital letters.
        relations: RELA or REL values to keep, such as ``["isa", "finding_site_of"]``; None: all.
        definitions: read MRDEF.
        kind: :attr:`Concept.kind` of all concepts; None: the name of the (first chosen) semantic type.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: a malformed row, or a vocabulary, semantic type or relation that does not occur.

    Example:
        >>> source = UmlsMetathesaurus("/data/umls/2024AB/META", vocabularies=["SNOMEDCT_US"], semantic_types=["T047"])
        ... # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | PathLike[str],
        vocabularies: Iterable[str] | None = None,
        semantic_types: Iterable[str] | None = None,
        language: str = "ENG",
        relations: Iterable[str] | None = None,
        definitions: bool = True,
        kind: str | None = None,
    ) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise FileNotFoundError(f"no folder '{self.path}'; expected the one that holds MRCONSO.RRF")
        self._vocabularies = None if vocabularies is None else _as_list(vocabularies)
        self._relations = None if relations is None else _as_list(relations)
        types: dict[str, str] = {}
        if semantic_types is not None:
            types = self._read_semantic_types(_as_list(semantic_types), None)
        names, vocabularies_of_language = self._read_names(language, None if semantic_types is None else types)
        if semantic_types is None and kind is None:
            types = self._read_semantic_types(None, names)
        texts = self._read_definitions(names, vocabularies_of_language) if definitions else {}
        concepts = []
        for cui in sorted(names):
            name, *synonyms = names.pop(cui)
            concepts.append(Concept(cui, name, tuple(synonyms), texts.pop(cui, ""), kind or types.get(cui, "concept")))
        self._concepts = tuple(concepts)

    @property
    def concepts(self) -> Sequence[Concept]:
        """The concepts kept, in order of their CUI."""
        return self._concepts

    @cached_property
    def triples(self) -> Sequence[Triple]:
        """The relationships between concepts kept, in the order of MRREL."""
        path = find_table(self.path, "MRREL")
        kept = {concept.id: concept.id for concept in self._concepts}
        names: dict[str, str] = {}
        triples: dict[Triple, None] = {}
        rows = read_rows(path, "MRREL", "CUI1", "REL", "CUI2", "RELA", "SAB", "SUPPRESS")
        for first, rel, second, rela, vocabulary, suppress in rows:
            if first not in kept or second not in kept or first == second or suppress != "N":
                continue
            if self._vocabularies is not None and vocabulary not in self._vocabularies:
                continue
            relation = rela or rel
            if self._relations is not None and relation not in self._relations:
                continue
            # One string object per CUI and per relation, however many triples share it.
            triples.setdefault(Triple(kept[second], names.setdefault(relation, relation), kept[first]))
        for relation in self._relations or ():
            if relation not in names:
                raise ValueError(f"{path}: no relation '{relation}' between the concepts kept")
        return tuple(triples)

    def __len__(self) -> int:
        return len(self._concepts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path}: {len(self._concepts)} concepts)"

    def _read_semantic_types(self, wanted: Sequence[str] | None, among: Collection[str] | None) -> dict[str, str]:
        """The name of each concept's first semantic type that is wanted."""
        hint = "" if wanted is not None else "; give kind='concept' to do without semantic types"
        path = find_table(self.path, "MRSTY", hint)
        wanted_keys = None if wanted is None else {name.casefold() for name in wanted}
        known: dict[str, str] = {}
        types: dict[str, str] = {}
        for cui, tui, name in read_rows(path, "MRSTY", "CUI", "TUI", "STY"):
            name = known.setdefault(tui, name)
            if wanted_keys is not None and tui.casefold() not in wanted_keys and name.casefold() not in wanted_keys:
                continue
            if among is None or cui in among:
                types.setdefault(cui, name)
        found = {key.casefold() for pair in known.items() for key in pair}
        for name in wanted or ():
            if name.casefold() not in found:
                raise ValueError(f"{path}: no semantic type '{name}'{_nearest(name, [*known, *known.values()])}")
        return types

    def _read_names(self, language: str, among: Collection[str] | None) -> tuple[dict[str, list[str]], set[str]]:
        """The strings of each concept, the preferred one first, and the vocabularies that have the language."""
        path = find_table(self.path, "MRCONSO")
        wanted = None if self._vocabularies is None else set(self._vocabularies)
        # Per concept: its strings by case-folded form, and the rank and form of the preferred one so far.
        strings: dict[str, dict[str, str]] = {}
        preferred: dict[str, tuple[tuple[bool, bool, bool], str]] = {}
        vocabularies: set[str] = set()
        vocabularies_of_language: set[str] = set()
        columns = ("CUI", "LAT", "TS", "STT", "ISPREF", "SAB", "STR", "SUPPRESS")
        for cui, lat, ts, stt, ispref, vocabulary, string, suppress in read_rows(path, "MRCONSO", *columns):
            vocabularies.add(vocabulary)
            if lat != language:
                continue
            vocabularies_of_language.add(vocabulary)
            if suppress != "N" or (wanted is not None and vocabulary not in wanted):
                continue
            if among is not None and cui not in among:
                continue
            form = string.casefold()
            rank = (ts != "P", stt != "PF", ispref != "Y")
            if cui not in strings:
                strings[cui] = {form: string}
                preferred[cui] = (rank, form)
                continue
            strings[cui].setdefault(form, string)
            if rank < preferred[cui][0]:
                preferred[cui] = (rank, form)
                strings[cui][form] = string
        for name in self._vocabularies or ():
            if name not in vocabularies:
                raise ValueError(f"{path}: no vocabulary (SAB) '{name}'{_nearest(name, sorted(vocabularies))}")
        if not strings:
            raise ValueError(
                f"{path}: no concept has a name in the language '{language}' with the chosen vocabularies and "
                "semantic types"
            )
        names = {}
        for cui in list(strings):
            forms, form = strings.pop(cui), preferred.pop(cui)[1]
            names[cui] = [forms.pop(form), *forms.values()]
        return names, vocabularies_of_language

    def _read_definitions(self, among: Collection[str], vocabularies: set[str]) -> dict[str, str]:
        # MRDEF has no language; a vocabulary has one, and MRCONSO has the vocabularies of the language wanted.
        path = find_table(self.path, "MRDEF", "; give definitions=False to do without")
        order = {name: n for n, name in enumerate(self._vocabularies or ())}
        best: dict[str, tuple[tuple[int, str], str]] = {}
        columns = ("CUI", "SAB", "DEF", "SUPPRESS")
        for cui, vocabulary, text, suppress in read_rows(path, "MRDEF", *columns):
            if suppress != "N" or cui not in among or vocabulary not in vocabularies or not text:
                continue
            rank = (order.get(vocabulary, len(order)), vocabulary)
            if cui not in best or rank < best[cui][0]:
                best[cui] = (rank, text)
        return {cui: text for cui, (_, text) in best.items()}


def _as_list(value: Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _nearest(name: str, known: Sequence[str]) -> str:
    nearest = get_close_matches(name, known, n=1)
    if nearest:
        return f"; did you mean '{nearest[0]}'?"
    return f"; there are {', '.join(known[:10])}{', …' if len(known) > 10 else ''}"
