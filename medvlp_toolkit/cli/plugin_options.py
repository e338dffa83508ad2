"""``--option key=value`` on the command line, as the arguments of a plugin."""

from __future__ import annotations

import difflib
import inspect
import pkgutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

import medvlp_toolkit as mv

_LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable)
_NUMBERS = {int: "a whole number", float: "a number", bool: "true or false"}


def make_plugin(kind: str, name: str, pairs: Sequence[str]) -> Any:
    """The plugin ``name`` of a kind, called with the options given as ``key=value`` pairs.

    A value is YAML, converted by the plugin's signature: text stays text, one value becomes a list where a list is
    expected, and a mapping with ``_target_`` is built first, as in a bundle.

    Raises:
        PluginError: when the plugin cannot be resolved.
        ValueError: when an option is unknown, missing, or of another type.
    """
    plugin = mv.registries[kind][name]
    called = f"{kind} plugin '{name}'"
    signature, hints = _signature(plugin), _hints(plugin)
    options = {}
    for key, text in split_pairs(pairs, "--option").items():
        _check_known(called, key, signature)
        options[key] = _value(f"--option {key}={text}", text, hints.get(key, Any))
    _check_complete(called, options, signature, hints)
    return plugin(**options)


def split_pairs(pairs: Iterable[str], option: str) -> dict[str, str]:
    """``["a=1", "b=2"]`` as a mapping; raises ValueError for pairs without ``=`` and for duplicates."""
    split: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{option} {pair}: expected key=value")
        if key.strip() in split:
            raise ValueError(f"{option} {key.strip()} is given twice")
        split[key.strip()] = value
    return split


def read_value(option: str, text: str) -> Any:
    """A value written as YAML; raises ValueError with ``option`` in it.

    ``1e-4`` is a number, unlike in YAML 1.1. A value that begins with ``@``, ``$`` or ``%`` is kept as text: it
    has a meaning for MONAI, and usually none in YAML.
    """
    if text.startswith(("@", "$", "%")):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(f"{option}: not readable as YAML; quote values that contain ': ' or brackets") from None
    if isinstance(value, str) and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _signature(plugin: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(plugin).parameters
    except (TypeError, ValueError):  # a built-in, which checks its arguments itself
        return {"options": inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)}


def _hints(plugin: Any) -> dict[str, Any]:
    try:
        return get_type_hints(plugin.__init__ if inspect.isclass(plugin) else plugin)
    except (AttributeError, NameError, TypeError):  # names that exist for type checkers only
        return {}


def _check_known(called: str, key: str, signature: Mapping[str, inspect.Parameter]) -> None:
    if key in signature or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.values()):
        return
    near = difflib.get_close_matches(key, signature, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ValueError(f"{called} has no option '{key}'; {hint}its options are {', '.join(signature) or 'none'}")


def _check_complete(
    called: str, options: Mapping[str, Any], signature: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]
) -> None:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = [
        name
        for name, parameter in signature.items()
        if parameter.default is inspect.Parameter.empty and parameter.kind not in variadic and name not in options
    ]
    if missing:
        plain = _is_text(_choices(hints.get(missing[0], str)))
        example = "…" if plain else "{_target_: medvlp_toolkit.…, …}"
        raise ValueError(f"{called} needs {', '.join(missing)}; give --option '{missing[0]}={example}'")


def _value(option: str, text: str, hint: Any) -> Any:
    choices = _choices(hint)
    if _is_text(choices) and not (NoneType in choices and text in ("null", "none", "None")):
        return text
    value = _built(option, read_value(option, text))
    if value is None or hint is Any:
        return value
    plain = [choice for choice in choices if choice in _NUMBERS]
    if plain and len(plain) == len([choice for choice in choices if choice is not NoneType]):
        return _number(option, value, plain)
    is_list = any((get_origin(choice) or choice) in _LISTS for choice in choices)
    if is_list and isinstance(value, str | int | float) and str not in choices:
        return [value]
    return value


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_text(choices: tuple[Any, ...]) -> bool:
    return all(choice in (str, Path, NoneType) for choice in choices)


def _number(option: str, value: Any, kinds: list[type]) -> Any:
    for kind in kinds:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if fits or (kind is float and isinstance(value, int) and not isinstance(value, bool)):
            return kind(value)
    raise ValueError(f"{option}: expected {' or '.join(_NUMBERS[kind] for kind in kinds)}")


def _built(option: str, value: Any) -> Any:
    """``value``, with every mapping that has ``_target_`` called."""
    if isinstance(value, list):
        return [_built(option, item) for item in value]
    if not isinstance(value, dict):
        return value
    arguments = {key: _built(option, item) for key, item in value.items() if key != "_target_"}
    if "_target_" not in value:
        return arguments
    try:
        target = pkgutil.resolve_name(str(value["_target_"]))
    except (ImportError, AttributeError, ValueError):
        raise ValueError(f"{option}: there is no {value['_target_']}") from None
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{option}: {value['_target_']}: {error}") from None
    return target(**arguments)
