"""Calls a function in a separate process, so that its imports, output and crashes stay there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

# stdout is reserved for the result: output of the called code goes to stderr, which is discarded.
_CHILD = """
import json, os, sys
result = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
path, target, arguments = json.loads(sys.stdin.read())
sys.path[:] = path
try:
    from importlib import import_module
    module, _, name = target.partition(":")
    answer = {"value": getattr(import_module(module), name)(*arguments)}
except BaseException as error:
    from medvlp_toolkit.registry import PluginError
    own = isinstance(error, PluginError)
    answer = {"error": str(error) if own else f"{type(error).__name__}: {error}"}
result.write(json.dumps(answer))
result.flush()
os._exit(0)
"""


@dataclass(frozen=True)
class Outcome:
    """``value`` after a JSON round trip, or ``error``: a one-sentence reason."""

    value: Any
    error: str
    seconds: float

    @property
    def ok(self) -> bool:
        return not self.error


def call_isolated(target: str, *arguments: str, timeout: float = 120.0) -> Outcome:
    """Call ``module:function`` with ``arguments`` in a new interpreter with the same ``sys.path``."""
    start = time.monotonic()

    def outcome(value: Any, error: str) -> Outcome:
        return Outcome(value, error, round(time.monotonic() - start, 2))

    try:
        ran = subprocess.run(
            [sys.executable, "-c", _CHILD],
            input=json.dumps([sys.path, target, arguments]),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return outcome(None, f"gave no result within {timeout:g} s")
    if ran.returncode < 0:
        return outcome(None, f"its process was killed by {signal.Signals(-ran.returncode).name}")
    try:
        answer = json.loads(ran.stdout)
    except ValueError:
        return outcome(None, f"its process ended with status {ran.returncode} and no result")
    return outcome(answer.get("value"), " ".join(answer.get("error", "").split()))
