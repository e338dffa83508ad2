"""A user's mistake is told in a line or two on stderr; a traceback is kept for bugs."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import typer
from typer.core import TyperGroup

import medvlp_toolkit as mv
from medvlp_toolkit.registry import PluginError

#: Exit status for what the user can mend, the one that wrong options have too.
USER_ERROR = 2


class Commands(TyperGroup):
    """The group of all commands: turns errors that a user can cause into lines."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            message = None if ctx.params.get("traceback") else user_message(error)
            if message is None:
                raise
            typer.echo(f"medvlp: {message}", err=True)
            raise typer.Exit(USER_ERROR) from None


def user_message(error: Exception) -> str | None:
    """What to tell the user, or None for an error that is a bug.

    A mistake of the user's is a plugin that cannot be had, a file that is not there or not to be used, and every
    ``ValueError`` that the toolkit or a plugin raises itself: their messages say what to mend. The same error from
    within another library is a bug, and so is any other.
    """
    if isinstance(error, PluginError):
        return str(error)
    if isinstance(error, OSError) and (error.filename is not None or _is_own(error.__traceback__)):
        return str(error) if error.filename is None else f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError) and _is_own(error.__traceback__):
        return str(error)
    return None


def _is_own(trace: TracebackType | None) -> bool:
    """Whether the innermost frame is code of the toolkit or of a plugin's package."""
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__", ""))
    packages = {"medvlp_toolkit", *(ref.target.partition(".")[0].partition(":")[0] for ref in _all_refs())}
    return module.partition(".")[0] in packages


def _all_refs() -> list[mv.PluginRef]:
    return [ref for registry in mv.registries.values() for ref in registry.refs()]
