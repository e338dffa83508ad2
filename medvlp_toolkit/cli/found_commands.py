"""Commands of `medvlp` from installed distributions: entry points of the group ``medvlp_toolkit.commands``.

The name of the entry point is the name of the command; its object is a function for Typer, or a ``typer.Typer`` with
subcommands. A command that cannot be imported does not affect the others; calling it reports the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

GROUP = "medvlp_toolkit.commands"
_ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}


def add_found_commands(app: typer.Typer) -> None:
    """Add every installed command, sorted by name; the core's own commands are not replaced."""
    own = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    own |= {str(group.name) for group in app.registered_groups}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        if point.name in own:
            continue
        own.add(point.name)
        try:
            command: Any = point.load()
        except Exception as error:
            app.command(point.name, context_settings=_ANY_ARGUMENTS)(_failing(point, error))
            continue
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=point.name)
        else:
            app.command(point.name)(command)


def _failing(point: EntryPoint, error: Exception) -> Callable[[], None]:
    where = point.dist.name if point.dist is not None else point.value

    def fail() -> None:
        raise typer.BadParameter(f"'{point.name}' of {where} cannot be imported: {type(error).__name__}: {error}")

    fail.__doc__ = f"(cannot be imported from {where})"
    return fail
