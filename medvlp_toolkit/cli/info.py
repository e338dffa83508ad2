"""``medvlp info``: documentation of one plugin, and how to write it in YAML."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer
import yaml
from rich.markup import escape
from rich.syntax import Syntax

import medvlp_toolkit as mv
from medvlp_toolkit.cli.output import console, print_json
from medvlp_toolkit.cli.plugins import known_kind
from medvlp_toolkit.docstring import example_of

_EMPTY = inspect.Parameter.empty
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def info(
    kind: Annotated[str, typer.Argument(help="Kind of plugin, e.g. encoders.")],
    name: Annotated[str, typer.Argument(help="Its name, or distribution:name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Show a plugin's signature, documentation, source file and an example in YAML."""
    registry = mv.registries[known_kind(kind)]
    described = registry.describe(name)
    plugin = registry[name]
    target = _target(registry, name)
    example = example_yaml(plugin, registry.ref(name).name, target)
    if as_json:
        print_json({**described, "arguments": arguments(plugin), "example": example})
        return
    out = console()
    out.print(f"[bold]{escape(described['kind'])}.{escape(described['name'])}[/]  {escape(described['summary'])}\n")
    for label in ("distribution", "target", "source"):
        version = f" {described['version']}" if label == "distribution" else ""
        out.print(f"[dim]{label:<13}[/]{escape(described[label] + version) or '(unknown)'}", soft_wrap=True)
    out.print("\n[bold]Arguments[/]")
    for line in arguments(plugin) or ["(none)"]:
        out.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    out.print("\n[bold]Documentation[/]")
    out.print(escape(described["documentation"]) or "(none)", highlight=False, soft_wrap=True)
    out.print("\n[bold]YAML[/]")
    out.print(Syntax(example, "yaml", background_color="default") if out.is_terminal else escape(example))


def arguments(plugin: Any) -> list[str]:
    """One line per argument: name, type, default."""
    return [_argument(parameter) for parameter in _parameters(plugin)]


def _argument(parameter: inspect.Parameter) -> str:
    star = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
    kind = "" if parameter.annotation is _EMPTY else f": {_annotation(parameter)}"
    default = "" if parameter.default is _EMPTY else f" = {parameter.default!r}"
    return f"{star}{parameter.name}{kind}{default}"


def _annotation(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _parameters(plugin: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(plugin).parameters.values())
    except (TypeError, ValueError):
        return []


def _target(registry: mv.Registry, name: str) -> str:
    """The ``_target_`` to write: the registry's path, or the import path if the name is ambiguous."""
    ref = registry.ref(name)
    alone = sum(other.name == ref.name for other in registry.refs()) == 1
    return f"medvlp_toolkit.{ref.kind}.{ref.name}" if alone else ref.import_path


def example_yaml(plugin: Any, name: str, target: str) -> str:
    """The YAML example of the plugin's documentation, else one generated from its signature."""
    documented = example_of(inspect.getdoc(plugin) or "")
    if documented is not None and "_target_" in documented:
        return documented
    lines = [f"{name}:", f"  _target_: {target}"]
    for parameter in _parameters(plugin):
        if parameter.kind in _VARIADIC:
            continue
        if parameter.default is _EMPTY:
            kind = "" if parameter.annotation is _EMPTY else f": {_annotation(parameter)}"
            lines.append(f"  {parameter.name}: ...  # required{kind}")
        else:
            lines.append(f"  {parameter.name}: {_value(parameter.default)}")
    return "\n".join(lines)


def _value(default: Any) -> str:
    """A default as one line of YAML; a value that YAML cannot hold is its quoted ``repr``."""
    plain = list(default) if isinstance(default, tuple | frozenset | set) else default
    try:
        written: str = yaml.safe_dump(plain, default_flow_style=True, width=10_000)
    except yaml.YAMLError:
        written = yaml.safe_dump(repr(default))
    return written.removesuffix("\n").removesuffix("\n...")
