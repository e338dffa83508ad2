"""Finds ids that are set but never read: changing them has no effect.

An id is read if running the configuration resolves it, if MONAI's commands look it up by name, or if a macro copies it.
A file is checked in all stacks of files that it can be part of: an overlay may be for several configurations, and a
configuration may have a default that only one of its overlays refers to.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medvlp_toolkit.verification.composition import SEPARATOR, Composition, as_path, compose
from medvlp_toolkit.verification.expressions import read_expressions
from medvlp_toolkit.verification.located_file import IdPath, LocatedFile
from medvlp_toolkit.verification.problem import Problem
from medvlp_toolkit.verification.references import reached, references_in
from medvlp_toolkit.verification.trained_models import ids_of_model
from medvlp_toolkit.verification.workflow_ids import KNOWN_IDS, RUN_IDS, properties, workflow_kind
from medvlp_toolkit.weights.nested import OF_ENTITIES

Stack = Sequence[LocatedFile]

#: Looked up by MONAI's commands or by the description of a trained model, even if the workflow does not refer to them.
_OF_COMMANDS = ("bundle_root", "network_def", "val_interval", *OF_ENTITIES)
_REMEDY = "refer to it, or leave it out"


class UnreadIds:
    """Finds unread ids in the files of a bundle.

    Args:
        bases: runnable configurations, those of neighbouring bundles last.
        overlays: files to overlay on them.
        composed: composes the files of a stack, with macros resolved.
    """

    def __init__(self, bases: Stack, overlays: Stack, composed: Callable[[Stack], Composition]) -> None:
        self.bases, self.overlays, self.composed = list(bases), list(overlays), composed
        self._mentions: dict[str, _Mentions] = {}

    def check(self, file: LocatedFile, likeliest: Stack) -> list[Problem]:
        """Problems of one file: ids that no stack reads, and imports that no expression uses.

        Args:
            file: one of the bases, the overlays, or another.
            likeliest: the stack to check first, such as the overlay over its base.
        """
        unread: dict[tuple[int, IdPath], IdPath] | None = None
        left: set[str] = set()
        for stack in self._stacks(file, likeliest, left):
            composition = self.composed(stack)
            roots = _roots(composition, stack)
            if roots:
                roots += sorted(ids_of_model(composition, stack[0].path.parent))
                read = _Read(composition, [*roots, *(id_ for one in stack for id_ in self._of(one).copied)])
                found: dict[tuple[int, IdPath], IdPath] = {}
                for path in _items_of(file, composition):
                    if path not in read:
                        found.setdefault(_key(composition, path), path)
                unread = found if unread is None else {key: path for key, path in unread.items() if key in found}
            left.clear()
            left.update(path[0] for path in (unread or {}).values())
            if unread is not None and not unread:
                break
        return [*_outermost(file, unread or {}), *self._unused_imports(file)]

    def _stacks(self, file: LocatedFile, likeliest: Stack, unread: set[str]) -> Iterator[list[LocatedFile]]:
        """Stacks that contain ``file``; with a further overlay only if it mentions unread ids."""
        yield list(likeliest)
        is_base = self._is_base(file)
        bases = [] if is_base else self.bases
        yield from ([base, file] for base in bases)
        for one in self.overlays:
            if one.name != file.name and unread & self._of(one).references:
                if is_base:
                    yield [file, one]
                for base in bases:
                    yield from ([base, one, file], [base, file, one])

    def _is_base(self, file: LocatedFile) -> bool:
        return any(base.name == file.name for base in self.bases)

    def _unused_imports(self, file: LocatedFile) -> list[Problem]:
        alone = compose([file])
        others = [*self.overlays, *([] if self._is_base(file) else self.bases)]
        used = set().union(*(self._of(one).names for one in [file, *others]))
        return [
            Problem(file.name, alone.place(path).line, SEPARATOR.join(path), f"imports {name}, which is never used",
                    "leave it out")
            for name, path in read_expressions(alone).import_places.items()
            if name.partition(".")[0] not in used
        ]  # fmt: skip

    def _of(self, file: LocatedFile) -> _Mentions:
        if file.name not in self._mentions:
            self._mentions[file.name] = _Mentions.of(file)
        return self._mentions[file.name]


@dataclass(frozen=True)
class _Mentions:
    """What a file mentions: ids that it refers to (their first part), ids that macros copy, names in expressions."""

    references: frozenset[str]
    copied: frozenset[str]
    names: frozenset[str]

    @classmethod
    def of(cls, file: LocatedFile) -> _Mentions:
        alone = compose([file])
        texts = [value for _, value in alone.walk() if isinstance(value, str)]
        copied = {text[1:].replace("#", SEPARATOR) for text in texts if text.startswith("%")}
        referred = {as_path(id_)[0] for text in texts for id_ in references_in(text)}
        trees = read_expressions(alone).trees.values()
        names = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
        return cls(frozenset(referred | {as_path(id_)[0] for id_ in copied}), frozenset(copied), frozenset(names))


class _Read:
    """Paths of a composition that are read."""

    def __init__(self, composition: Composition, roots: Iterable[str]) -> None:
        self.ids = reached(composition, roots)
        self.around = {SEPARATOR.join(as_path(id_)[:n]) for id_ in self.ids for n in range(1, len(as_path(id_)))}

    def __contains__(self, path: IdPath) -> bool:
        if SEPARATOR.join(path) in self.around:
            return True
        return any(SEPARATOR.join(path[:length]) in self.ids for length in range(1, len(path) + 1))


def _roots(composition: Composition, stack: Stack) -> list[str]:
    """The ids resolved first; empty for files that do not form a runnable configuration."""
    runs = [id_ for id_, value in composition.config.items() if _is_run(id_, value)]
    kind = workflow_kind(composition, stack[0].path.stem)
    asked = [id_ for id_, required in properties(kind).items() if required] if kind is not None else []
    if not runs and not asked:
        return []
    return [id_ for id_ in dict.fromkeys([*runs, *asked, *_OF_COMMANDS]) if as_path(id_) in composition]


def _is_run(id_: str, value: Any) -> bool:
    """``run`` and the like, or expressions of another name that run something (``monai.bundle run NAME``)."""
    if id_ in RUN_IDS:
        return True
    expressions = isinstance(value, list) and bool(value) and all(isinstance(v, str) and v[:1] == "$" for v in value)
    return expressions and any(".run(" in v for v in value)


def _items_of(file: LocatedFile, composition: Composition) -> Iterator[IdPath]:
    """The items that a file sets in a composition, containers first."""
    for path, _ in composition.walk():
        if path in composition.places and composition.places[path].file == file.name and path[:1] not in _KNOWN:
            yield path


_KNOWN = {(), *((id_,) for id_ in KNOWN_IDS)}


def _key(composition: Composition, path: IdPath) -> tuple[int, IdPath]:
    """Identifies an item in every stack by its line, because its index in a list may change."""
    return composition.places[path].line, tuple(part for part in path if not part.isdigit())


def _outermost(file: LocatedFile, unread: dict[tuple[int, IdPath], IdPath]) -> list[Problem]:
    """One problem for a completely unread mapping, instead of one for each of its items."""
    paths = set(unread.values())
    return [
        Problem(file.name, line, SEPARATOR.join(path), "is set and never read", _REMEDY)
        for (line, _), path in unread.items()
        if not any(path[:length] in paths for length in range(1, len(path)))
    ]
