"""The knowledge source ``definitions``: descriptions from a YAML or JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from os import PathLike
from types import MappingProxyType

from medvlp_knowledge.definition_file import Definition, read_definitions
from medvlp_toolkit.data.concept_source import ConceptSource
from medvlp_toolkit.data.records import Concept

PathOrName = str | PathLike[str]


class Definitions(ConceptSource):
    """Concepts with a description each, from a YAML or JSON file, in the file's order.

    ``path`` is the name of a file shipped with the package or the path of your own
    (layouts: :mod:`medvlp_knowledge.definition_file`); a list of files is concatenated. Shipped are

    * ``chest_entities``: the 75 entities of MedKLIP (Wu et al., ICCV 2023, arXiv:2301.02228),
    * ``chest_positions``: its 51 positions, each with its side and its mirror,
    * ``chest_extra``: findings of ChestX-ray14, CheXpert and VinDr-CXR that the others lack.

    Args:
        path: name or path, or a list of them.
        kind: :attr:`Concept.kind` of entries without one.
        include: keep these ids only, in the file's order.
        exclude: leave these ids out.
        subset: keep these ids only, in the order given.
        ids_from: name or path of definitions in the same order whose ids, names and synonyms replace those of
            ``path``; for files with unreliable keys, such as the explanations published with MedKLIP.

    Raises:
        FileNotFoundError: no such file or shipped name.
        ValueError: a malformed file (the message names file and entry) or an unknown id.

    Example:
        >>> entities = Definitions(path="chest_entities", subset=["effusion", "edema"])
        >>> entities.ids
        ('effusion', 'edema')
        >>> entities.descriptions("{name}")
        ['pleural effusion', 'pulmonary edema']
        >>> Definitions(path="chest_positions").descriptions("It is located at {id}")[1]
        'It is located at left_hilar'
    """

    def __init__(
        self,
        path: PathOrName | Sequence[PathOrName],
        kind: str = "finding",
        include: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        subset: Iterable[str] | None = None,
        ids_from: PathOrName | None = None,
    ) -> None:
        paths: Sequence[PathOrName] = [path] if isinstance(path, (str, PathLike)) else path
        if not paths:
            raise ValueError("path is an empty list; expected at least one name or file of definitions")
        entries = _read_all(paths)
        if ids_from is not None:
            entries = _with_ids_of(entries, read_definitions(ids_from), ids_from)
        entries = _select(entries, include=include, exclude=exclude, subset=subset)
        if not entries:
            raise ValueError("no definition is left; include, exclude or subset leaves out every id")
        self._entries = tuple(entries)
        self._concepts = tuple(
            Concept(entry.id, entry.name, entry.synonyms, entry.definition, entry.kind or kind) for entry in entries
        )

    @property
    def concepts(self) -> Sequence[Concept]:
        """The concepts, in order."""
        return self._concepts

    @property
    def sources(self) -> Mapping[str, str]:
        """For each id, the reference for the described fact (empty if the file has none)."""
        return MappingProxyType({entry.id: entry.source for entry in self._entries})

    @property
    def sides(self) -> Mapping[str, str]:
        """For each position, the side of the body it names: ``left``, ``right`` or ``none``."""
        return MappingProxyType({entry.id: entry.side for entry in self._entries if entry.side is not None})

    @property
    def mirrors(self) -> Mapping[str, str | None]:
        """For each position, its id in an image mirrored left to right.

        None if it names a side and has no counterpart among the positions kept: a statement about it cannot be
        mirrored. Entries without a side are not in the mapping.
        """
        kept = set(self.ids)
        return MappingProxyType(
            {
                entry.id: entry.mirror if entry.mirror in kept else None
                for entry in self._entries
                if entry.side is not None
            }
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} concepts: {', '.join(self.ids[:3])}{', …' if len(self) > 3 else ''})"


def _read_all(paths: Sequence[PathOrName]) -> list[Definition]:
    origin: dict[str, PathOrName] = {}
    entries: list[Definition] = []
    for path in paths:
        for entry in read_definitions(path):
            if entry.id in origin:
                raise ValueError(f"id '{entry.id}' is in both '{origin[entry.id]}' and '{path}'; exclude or rename one")
            origin[entry.id] = path
            entries.append(entry)
    return entries


def _with_ids_of(entries: Sequence[Definition], reference: Sequence[Definition], name: PathOrName) -> list[Definition]:
    if len(entries) != len(reference):
        raise ValueError(
            f"ids_from '{name}' has {len(reference)} entries, path has {len(entries)}; they correspond in order"
        )
    return [replace(r, definition=e.definition, source=e.source) for e, r in zip(entries, reference, strict=True)]


def _select(
    entries: Sequence[Definition],
    *,
    include: Iterable[str] | None,
    exclude: Iterable[str] | None,
    subset: Iterable[str] | None,
) -> list[Definition]:
    by_id = {entry.id: entry for entry in entries}
    if subset is not None:
        if include is not None or exclude is not None:
            raise ValueError("subset names every id to keep; give it without include and exclude")
        chosen = _known("subset", subset, by_id)
        repeated = [entry_id for n, entry_id in enumerate(chosen) if entry_id in chosen[:n]]
        if repeated:
            raise ValueError(f"subset names '{repeated[0]}' twice")
        return [by_id[entry_id] for entry_id in chosen]
    kept = set(by_id) if include is None else set(_known("include", include, by_id))
    kept -= set() if exclude is None else set(_known("exclude", exclude, by_id))
    return [entry for entry in entries if entry.id in kept]


def _known(option: str, ids: Iterable[str], by_id: Mapping[str, Definition]) -> list[str]:
    chosen = [ids] if isinstance(ids, str) else list(ids)
    for entry_id in chosen:
        if entry_id not in by_id:
            nearest = get_close_matches(str(entry_id), by_id, n=1)
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"the file has {len(by_id)} others"
            raise ValueError(f"{option} names the unknown id '{entry_id}'; {hint}")
    return chosen
