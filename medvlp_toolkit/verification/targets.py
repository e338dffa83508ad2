"""Checks that ``_target_`` mappings resolve to a callable and that their arguments fit."""

from __future__ import annotations

import builtins
import contextlib
import inspect
import re
from collections.abc import Mapping
from functools import cached_property
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from medvlp_toolkit.verification.composition import Composition
from medvlp_toolkit.verification.located_file import IdPath
from medvlp_toolkit.verification.modules import Modules, Resolved, UnresolvedError, signature_of
from medvlp_toolkit.verification.problem import nearest

#: Keys of a mapping that belong to MONAI and are not arguments.
RESERVED = frozenset({"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"})
MODES = ("default", "callable", "debug")
_EMPTY = inspect.Parameter.empty
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Targets:
    """Checks every ``_target_`` of a composition."""

    def __init__(self, modules: Modules) -> None:
        self.modules = modules

    def check(self, composition: Composition) -> None:
        for path, value in composition.walk():
            if isinstance(value, dict) and "_target_" in value:
                self._check_one(composition, path, value)

    def _check_one(self, composition: Composition, path: IdPath, mapping: Mapping[str, Any]) -> None:
        if mapping.get("_disabled_", False) in (True, "True", "true"):
            return  # never built, so its dependencies may be absent
        here = (*path, "_target_")
        target = mapping["_target_"]
        mode = mapping.get("_mode_", "default")
        if mode not in MODES and not _is_open(mode):
            composition.add((*path, "_mode_"), f"'{mode}' is not a mode", f"one of {', '.join(MODES)}")
        if not isinstance(target, str) or not target.strip():
            kind = type(target).__name__ if not isinstance(target, str) else "nothing"
            composition.add(here, f"_target_ is {kind}; expected a dotted path", "write package.module.name")
            return
        if _is_open(target):
            return
        try:
            found = self.resolve(target)
        except UnresolvedError as error:
            composition.add(here, str(error), error.fix)
            return
        if found.imported and not callable(found.object):
            composition.add(here, f"{target} is a {type(found.object).__name__}, which is not callable")
            return
        arguments = {str(key): item for key, item in mapping.items() if key not in RESERVED}
        check_arguments(composition, path, found, arguments, complete=mode == "default")

    def resolve(self, target: str) -> Resolved:
        """Resolve a dotted path, or the bare name of a class or function of MONAI.

        Raises:
            UnresolvedError: when it cannot be resolved.
        """
        if "." in target:
            return self.modules.resolve(target)
        homes = self.monai_names.get(target)
        if homes:
            return self.modules.resolve(f"{homes[0]}.{target}")
        if not target.isidentifier():
            raise UnresolvedError(f"'{target}' is not a name", "write package.module.name")
        if hasattr(builtins, target):
            return Resolved(target, getattr(builtins, target), imported=True)
        hint = nearest(target, self.monai_names) or "write package.module.name"
        raise UnresolvedError(f"MONAI has nothing named {target}", hint)

    @cached_property
    def monai_names(self) -> dict[str, list[str]]:
        """Bare name -> modules of MONAI that define it, as in MONAI's own lookup."""
        self.modules.resolve("monai")
        try:
            from monai.bundle.config_item import ComponentLocator
        except ImportError:
            return {}
        locator = ComponentLocator()
        locator.get_component_module_name("SimpleInferer")
        return dict(locator._components_table or {})


def check_arguments(
    composition: Composition, path: IdPath, found: Resolved, arguments: Mapping[str, Any], complete: bool
) -> None:
    """Problems for arguments that are unknown, missing or of the wrong type."""
    signature = found.signature
    if signature is None:
        return
    parameters = signature.parameters
    takes = [name for name, p in parameters.items() if p.kind not in _VARIADIC]
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for name in arguments:
        if name not in takes and not open_ended:
            hint = nearest(name, takes) or f"it takes {', '.join(takes) or 'no arguments'}"
            composition.add((*path, name), f"{found.path} takes no argument {name}", hint)
    missing = [n for n in takes if parameters[n].default is _EMPTY and n not in arguments] if complete else []
    if missing:
        wants = ", ".join(missing)
        composition.add((*path, "_target_"), f"{found.path} lacks the argument {wants}", f"add {missing[0]}: …")
    hints = _hints(found.object)
    for name, value in arguments.items():
        if name in hints and (wanted := _unfit(value, hints[name])):
            composition.add((*path, name), f"{found.path} takes {wanted} for {name}, not {value!r}")


def _hints(target: Any) -> dict[str, Any]:
    """Type hints of the arguments; of those that a class passes on to its base (``**``), the base's."""
    if target is None:
        return {}
    kinds = target.__mro__ if inspect.isclass(target) else ()
    made = [vars(kind)["__init__"] for kind in kinds if "__init__" in vars(kind)] or [target]
    found: dict[str, Any] = {}
    for function in made:
        with contextlib.suppress(Exception):  # names that exist for type checkers only
            found = {**get_type_hints(function), **found}
        if not _takes_any_name(function):
            break
    return found


def _takes_any_name(function: Any) -> bool:
    signature = signature_of(function)
    return signature is not None and any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())


def _unfit(value: Any, hint: Any) -> str:
    """The expected type or values, if a literal value certainly differs; else an empty text."""
    if _is_open(value) or isinstance(value, dict | list):
        return ""
    choices = list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]
    accepted = []
    for choice in choices:
        if choice is NoneType:
            if value is None:
                return ""
        elif get_origin(choice) is Literal:
            if value in get_args(choice):
                return ""
            accepted.append(f"one of {', '.join(map(repr, get_args(choice)))}")
        elif choice in (int, float, bool) and isinstance(value, str):
            accepted.append({int: "a whole number", float: "a number", bool: "true or false"}[choice])
        else:
            return ""
    return " or ".join(accepted)


def _is_open(value: Any) -> bool:
    """Whether a value is known only when the bundle runs."""
    return isinstance(value, str) and re.match(r"[$@%]", value) is not None
