"""Output of the commands: tables, or JSON for programs."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.console import Console

#: Width if the output is not a terminal, so that names in a pipe or log are not wrapped.
_PLAIN_WIDTH = 200


def console() -> Console:
    """A console on stdout; wide if stdout is not a terminal."""
    made = Console()
    return made if made.is_terminal else Console(width=_PLAIN_WIDTH)


def progress_console() -> Console:
    """A console on stderr, which keeps progress separate from results."""
    return Console(stderr=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
