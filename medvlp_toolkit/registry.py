"""Plugins: found through entry points, imported on first use, addressed as attributes.

A :class:`Registry` is a read-only mapping from plugin name to plugin for one kind. Its names come
from the installed distributions' entry points of the group ``medvlp_toolkit.<kind>`` and from
:meth:`Registry.register`. Attribute access loads a plugin, so that MONAI resolves
``_target_: medvlp_toolkit.encoders.resnet`` without knowing about registries.

Every error here is a ``LookupError``: ``pydoc.locate``, which MONAI uses to resolve targets, swallows
``AttributeError`` and would turn a misspelt name into "cannot locate class".
"""

from __future__ import annotations

import difflib
import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any

from packaging.requirements import Requirement

from medvlp_toolkit.known_plugins import KNOWN_PLUGINS
from medvlp_toolkit.version import __version__

CORE_DISTRIBUTION = "medvlp-toolkit"
_GROUP = "medvlp_toolkit."


class PluginError(LookupError):
    """A plugin cannot be resolved: unknown, ambiguous or broken."""


class PluginNotFoundError(PluginError, KeyError):
    """No installed distribution offers the name. It is also a ``KeyError``, so that ``Mapping.get`` works."""

    def __str__(self) -> str:  # KeyError would quote the message
        return str(self.args[0])


class PluginConflictError(PluginError):
    """Several distributions offer the name, or a registration would shadow another plugin."""


class PluginLoadError(PluginError):
    """The plugin exists, but importing it failed or it was made for another toolkit version."""


@dataclass(frozen=True)
class PluginRef:
    """The origin of a plugin, known without importing it."""

    kind: str
    name: str
    distribution: str
    version: str
    target: str
    _entry_point: EntryPoint | None = field(default=None, repr=False, compare=False)
    _requires: tuple[str, ...] = field(default=(), repr=False, compare=False)
    _object: Any = field(default=None, repr=False, compare=False)

    @property
    def import_path(self) -> str:
        """The dotted path that works as ``_target_`` regardless of other distributions."""
        return self.target.replace(":", ".")

    def load(self) -> Any:
        """Import the plugin.

        Raises:
            PluginLoadError: when the import fails, naming the plugin and the cause.
        """
        if self._entry_point is None:
            return self._object
        self._check_contract()
        try:
            return self._entry_point.load()
        except Exception as error:
            raise PluginLoadError(
                f"{self.kind} plugin '{self.name}' of {self.distribution} {self.version} cannot be imported from "
                f"{self.target}: {type(error).__name__}: {error}. Fix or uninstall {self.distribution}."
            ) from error

    def _check_contract(self) -> None:
        """A plugin's contract version is its distribution's requirement on the toolkit."""
        for line in self._requires:
            requirement = Requirement(line)
            if requirement.name.replace("_", "-").lower() != CORE_DISTRIBUTION:
                continue
            if not requirement.specifier.contains(__version__, prereleases=True):
                raise PluginLoadError(
                    f"{self.kind} plugin '{self.name}' of {self.distribution} {self.version} needs {CORE_DISTRIBUTION}"
                    f"{requirement.specifier}, and {__version__} is installed. "
                    f"Install a version of {self.distribution} made for it."
                )


_scans: dict[tuple[str, ...], dict[str, list[PluginRef]]] = {}


def _scan() -> dict[str, list[PluginRef]]:
    """All entry points of the toolkit's groups, by kind; one scan per ``sys.path``."""
    key = tuple(sys.path)
    if key not in _scans:
        found: dict[str, list[PluginRef]] = {}
        seen: set[str] = set()
        for distribution in distributions():
            try:
                refs = list(_offers(distribution, seen))
            except Exception as error:  # unreadable metadata affects this distribution only
                where = getattr(distribution, "_path", "an installed distribution")
                warnings.warn(f"{where} is left out: its metadata is damaged ({error}); install it again", stacklevel=2)
                continue
            for ref in refs:
                found.setdefault(ref.kind, []).append(ref)
        _scans[key] = found
    return _scans[key]


def _offers(distribution: Distribution, seen: set[str]) -> Iterator[PluginRef]:
    """The plugins of one distribution; none for a second copy later on ``sys.path``, which Python does not import."""
    entry_points = [ep for ep in distribution.entry_points if ep.group.startswith(_GROUP)]
    if not entry_points:  # first of all, because parsing every distribution's metadata is slow
        return
    normalized = distribution.name.replace("_", "-").lower()
    if normalized in seen:
        return
    seen.add(normalized)
    for entry_point in entry_points:
        yield PluginRef(
            kind=entry_point.group.removeprefix(_GROUP),
            name=entry_point.name,
            distribution=distribution.name,
            version=distribution.version,
            target=entry_point.value,
            _entry_point=entry_point,
            _requires=tuple(distribution.requires or ()),
        )


class Registry(Mapping[str, Any]):
    """The plugins of one kind: a read-only mapping of names to classes or functions.

    >>> import medvlp_toolkit as mv
    >>> mv.encoders.resnet                # as an attribute
    >>> mv.encoders["resnet"]             # by name
    >>> mv.encoders["my-encoders:resnet"]   # of one distribution
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._registered: dict[str, PluginRef] = {}

    # -- listing ------------------------------------------------------------------------------

    def refs(self) -> list[PluginRef]:
        """All plugins offered, including conflicting ones, sorted by name; imports nothing."""
        refs = [ref for ref in _scan().get(self.kind, []) if ref.name not in self._registered]
        return sorted([*refs, *self._registered.values()], key=lambda ref: (ref.name, ref.distribution))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({ref.name for ref in self.refs()}))

    def __len__(self) -> int:
        return len({ref.name for ref in self.refs()})

    def __contains__(self, name: object) -> bool:
        return any(ref.name == name for ref in self.refs())

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def __repr__(self) -> str:
        return f"<registry of {self.kind}: {', '.join(self) or 'none installed'}>"

    # -- lookup -------------------------------------------------------------------------------

    def ref(self, name: str) -> PluginRef:
        """Find a plugin by ``name`` or ``distribution:name`` without importing it.

        Raises:
            PluginNotFoundError: when no distribution offers the name; lists the nearest and all others.
            PluginConflictError: when two distributions offer the bare name.
        """
        distribution, _, bare = name.rpartition(":")
        offers = [ref for ref in self.refs() if ref.name == bare and distribution in ("", ref.distribution)]
        if not offers:
            raise PluginNotFoundError(self._unknown(name, bare))
        if len(offers) > 1:
            choices = "; ".join(f"{ref.import_path} (from {ref.distribution})" for ref in offers)
            raise PluginConflictError(
                f"{self.kind} plugin '{name}' is offered by {len(offers)} distributions. Write the import path "
                f"instead, one of: {choices}. In Python also {self.kind}['{offers[0].distribution}:{bare}']."
            )
        return self._usable(offers[0])

    def __getitem__(self, name: str) -> Any:
        return self.ref(name).load()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # looked up by Python's own protocols (pickling, copying, inspection)
            raise AttributeError(name)
        return self[name]

    def register(self, name: str, obj: Any, *, override: bool = False) -> Any:
        """Offer ``obj`` under ``name`` in this process; returns ``obj``.

        Raises:
            PluginConflictError: when the name is taken and ``override`` is False.
            ValueError: when the name is not an identifier or belongs to the registry itself.
        """
        _check_name(self.kind, name)
        if not override and name in self:
            raise PluginConflictError(
                f"{self.kind} plugin '{name}' exists already; pass override=True to replace it in this process"
            )
        module = getattr(obj, "__module__", "__main__")
        target = f"{module}:{getattr(obj, '__qualname__', type(obj).__qualname__)}"
        self._registered[name] = PluginRef(self.kind, name, "(this process)", "", target, _object=obj)
        return obj

    def unregister(self, name: str) -> None:
        """Undo :meth:`register`."""
        self._registered.pop(name, None)

    def describe(self, name: str) -> dict[str, str]:
        """Name, summary, signature, distribution, version, target and source file of a plugin (imports it)."""
        ref = self.ref(name)
        obj = ref.load()
        try:
            signature = str(inspect.signature(obj))
        except (TypeError, ValueError):
            signature = "(…)"
        try:
            source = inspect.getsourcefile(obj) or ""
        except TypeError:
            source = ""
        documentation = inspect.getdoc(obj) or ""
        return {
            "kind": self.kind,
            "name": ref.name,
            "summary": documentation.partition("\n")[0],
            "signature": signature,
            "distribution": ref.distribution,
            "version": ref.version,
            "target": ref.import_path,
            "source": source,
            "documentation": documentation,
        }

    # -- errors -------------------------------------------------------------------------------

    def _usable(self, ref: PluginRef) -> PluginRef:
        try:
            _check_name(self.kind, ref.name)
        except ValueError as error:
            raise PluginLoadError(f"{error} (offered by {ref.distribution} {ref.version})") from None
        return ref

    def _unknown(self, name: str, bare: str) -> str:
        parts = [f"no {self.kind} plugin named '{name}'"]
        near = difflib.get_close_matches(bare, list(self), n=3, cutoff=0.5)
        if near:
            parts.append(f"did you mean {' or '.join(repr(n) for n in near)}?")
        known = KNOWN_PLUGINS.get(self.kind, {}).get(bare)
        if known:
            parts.append(f"it is part of {known}: pip install {known}")
        parts.append(f"available: {', '.join(self) or 'none'}")
        return "; ".join(parts)


def _check_name(kind: str, name: str) -> None:
    if not name.isidentifier() or name.startswith("_"):
        raise ValueError(f"{kind} plugin name '{name}' is not a public Python identifier; rename it, e.g. my_plugin")
    if name in RESERVED_NAMES:
        raise ValueError(f"{kind} plugin name '{name}' belongs to the registry itself; choose another")


RESERVED_NAMES = frozenset(n for n in dir(Registry) if not n.startswith("_")) | {"kind"}
