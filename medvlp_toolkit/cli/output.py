"""Output of the commands: tables, or JSON for programs."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.console import Console

from medvlp_toolkit.terminal import console as console


def progress_console() -> Console:
    """A console on stderr, where progress does not mix with results."""
    return console(stderr=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
