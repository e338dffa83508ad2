"""The command that started this process, and the commands that follow from it."""

from __future__ import annotations

import ast
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: MONAI's commands that run a bundle.
COMMANDS = ("run", "run_workflow")
_BUNDLE = "python -m monai.bundle"


@dataclass
class BundleCommand:
    """What ``python -m monai.bundle run`` was called with: options as given, ``-`` in their names as ``_``."""

    command: str
    words: list[str]
    positional: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def config_files(self) -> list[str]:
        given = self.options.get("config_file") or []
        return [given] if isinstance(given, str) else [str(name) for name in given]


def bundle_command(argv: Sequence[str]) -> BundleCommand | None:
    """The command of a process that runs a bundle; None for any other process.

    Python Fire's rules: ``--key value``, ``--key=value``, ``--flag``; ``-`` within a key is ``_``.
    """
    place = next((n for n, word in enumerate(argv[1:], start=1) if not word.startswith("-")), None)
    program = Path(argv[0]).as_posix() if argv else ""
    if not program.endswith("monai/bundle/__main__.py") or place is None or argv[place] not in COMMANDS:
        return None
    made = BundleCommand(argv[place], list(argv[place + 1 :]))
    words = list(made.words)
    while words:
        word = words.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or _is_number(word):
            made.positional.append(word)
            continue
        key, equals, value = word.lstrip("-").partition("=")
        if not equals:
            value = words.pop(0) if words and (not words[0].startswith("-") or _is_number(words[0])) else "True"
        made.options[key.replace("-", "_")] = _literal(value)
    return made


def resuming() -> str:
    """How to resume what this process is training."""
    command = bundle_command(sys.argv)
    if command is None:
        return "the same with resume=True (in a bundle: resume: true)"
    words = [*_without(command.words, "resume"), "--resume", "True"]
    again = _joined([*_BUNDLE.split(), command.command, *words])
    return f"{again} (started by torchrun or srun, as before)" if _is_launched() else again


def following(after: str, config: str, **options: Any) -> str | None:
    """The command that runs another configuration beside ``after``, if that is the one running; else None."""
    command = bundle_command(sys.argv)
    running = None if command is None or not command.config_files else Path(command.config_files[0])
    if running is None or running.name != after or not running.with_name(config).is_file():
        return None
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return _joined([*_BUNDLE.split(), "run", "--config_file", str(running.with_name(config)), *given])


def _joined(words: Sequence[str]) -> str:
    """A line for a shell; a list of files keeps its quotes readable."""
    plain = ("'" in word and not any(letter in word for letter in '"$`\\!') for word in words)
    return " ".join(f'"{word}"' if is_plain else shlex.quote(word) for word, is_plain in zip(words, plain, strict=True))


def _without(words: Sequence[str], option: str) -> list[str]:
    """The words of a command without an option and its value."""
    kept, skip = [], False
    for number, word in enumerate(words):
        name, equals, _ = word.lstrip("-").partition("=")
        if skip:
            skip = False
        elif word.startswith("-") and name == option:
            skip = not equals and number + 1 < len(words) and not words[number + 1].startswith("-")
        else:
            kept.append(word)
    return kept


def _is_launched() -> bool:
    return int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))) > 1


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
