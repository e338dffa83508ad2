"""Separates user mistakes from bugs, and formats them: one rule for commands, bundle runs, every rank, and Python.

A user's mistake is an error that the toolkit or the package of a registered plugin raises on purpose: a ``raise``
statement of theirs, of one of :data:`USER_ERRORS`. Its message states what was given, what was expected and how to fix
it, and is all that is shown. A file that cannot be opened counts too. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import dis
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType

import medvlp_toolkit as mv
from medvlp_toolkit.registry import PluginError

#: Types of error that are raised for users to read.
USER_ERRORS = (ValueError, LookupError, OSError, RuntimeError)
#: Exit status for errors that the user can fix, the same as for wrong options.
USER_ERROR = 2

#: Subclasses of these types that are never meant for a user.
_BUGS = (KeyError, IndexError, NotImplementedError)
_OWN = "medvlp_"
_RAISE = dis.opmap["RAISE_VARARGS"]
_WORKER = (
    "a process that reads data was killed (is memory short?); the checkpoints are intact: resume with resume.yaml, "
    "with a lower num_workers or none"
)
_OTHER = "another process of this training has ended; its own message has the cause"
#: Library errors about lost processes, and their meaning.
_OF_LIBRARIES = (
    ("DataLoader worker", _WORKER),
    ("Connection closed by peer", _OTHER),
    ("Connection reset by peer", _OTHER),
    ("Broken pipe", _OTHER),
    ("remote process exited", _OTHER),
)


def user_message(error: BaseException) -> str | None:
    """The message to show for a user error, or None for a bug.

    MONAI wraps errors raised during instantiation, so the chain of causes is searched, innermost first.
    """
    cause = user_error(error)
    if isinstance(cause, OSError) and cause.filename is not None:
        return f"{cause.filename}: {cause.strerror}"
    if cause is not None:
        return str(cause)
    chain = list(causes(error))
    if any(_lost_a_worker(link) for link in chain):
        return _WORKER
    return next((line for link in chain for words, line in _OF_LIBRARIES if _says(link, words)), None)


def user_error(error: BaseException) -> BaseException | None:
    """The innermost user error of a chain, else one that names a file, or None."""
    chain = list(causes(error))[::-1]
    raised = next((link for link in chain if _is_users(link)), None)
    return raised or next((link for link in chain if isinstance(link, OSError) and link.filename is not None), None)


@contextmanager
def unwrapped() -> Iterator[None]:
    """Re-raise a user error without the errors that libraries wrap around it."""
    try:
        yield
    except Exception as error:
        cause = user_error(error)
        if cause is None or cause is error:
            raise
        raise cause from None


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, outermost first."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_users(error: BaseException) -> bool:
    if isinstance(error, PluginError):
        return True
    return isinstance(error, USER_ERRORS) and not isinstance(error, _BUGS) and _raised_on_purpose(error.__traceback__)


def _raised_on_purpose(trace: TracebackType | None) -> bool:
    """Whether a ``raise`` statement of the toolkit's or of a plugin's package raised it.

    A failing lookup or conversion in the same code (``table[key]``, ``int(text)``) is a bug of that code.
    """
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code.co_code
    if not 0 <= trace.tb_lasti < len(code) or code[trace.tb_lasti] != _RAISE:
        return False
    package = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    return package.startswith(_OWN) or package in _plugin_packages(_registered())


def _registered() -> tuple[str, ...]:
    return tuple(ref.target for registry in mv.registries.values() for ref in registry.refs())


@lru_cache(maxsize=8)
def _plugin_packages(targets: tuple[str, ...]) -> frozenset[str]:
    return frozenset(target.partition(":")[0].partition(".")[0] for target in targets)


def _lost_a_worker(error: BaseException) -> bool:
    """A worker that dies while sending a batch first appears as a closed connection."""
    return isinstance(error, ConnectionError | EOFError) and any(
        str(frame.f_globals.get("__name__", "")).startswith("torch.utils.data")
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _says(error: BaseException, words: str) -> bool:
    return isinstance(error, RuntimeError) and words in str(error)
