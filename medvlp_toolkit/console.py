"""How a bundle's run speaks to the person who started it: log lines for progress, one line for a mistake."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

#: Errors by which the toolkit tells a person what to mend; anything else is a bug and keeps its traceback.
USER_ERRORS = (ValueError, LookupError, OSError, RuntimeError)
_OURS = ("medvlp_",)
TRACEBACK_FILE = "traceback.txt"

_WORKER = (
    "a process that reads data was killed (is memory short?); the checkpoints are whole: go on with resume.yaml, with "
    "a lower num_workers or none"
)
_OTHER = "another process of this training has ended; its own message says why"
#: What libraries say of processes that are gone, and what that means.
_OF_LIBRARIES = (
    ("DataLoader worker", _WORKER),
    ("Connection closed by peer", _OTHER),
    ("Connection reset by peer", _OTHER),
    ("Broken pipe", _OTHER),
    ("remote process exited", _OTHER),
)


def set_up(output_dir: str | Path | None = None, first_rank: bool = True) -> None:
    """Call first in a bundle's ``initialize``.

    Errors that the toolkit raises to be read end the run with that one message; the traceback goes to
    ``output_dir/traceback.txt``. Ranks other than the first log warnings only.

    Raises:
        ValueError: when the process runs a bundle and what it was given does not fit the configuration: an override of
            an id that is not there, which MONAI would pass over, a reference or a target that leads nowhere.
    """
    from medvlp_toolkit.verification.run_arguments import check_this_run

    folder = None if output_dir is None else Path(output_dir)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        message = readable_message(error)
        if message is None:
            sys.__excepthook__(kind, error, trace)
            return
        print(f"error: {message}", file=sys.stderr)
        if folder is not None:
            try:
                (folder / TRACEBACK_FILE).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
            except OSError:
                return
            print(f"(traceback: {folder / TRACEBACK_FILE})", file=sys.stderr)

    sys.excepthook = hook
    # Said on every bundle run, by libraries below, of things a user cannot change.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    # A schedule counts batches; within an accumulation the optimiser has not stepped yet.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    # The engines' own lines repeat what the progress lines say.
    logging.getLogger("ignite").setLevel(logging.WARNING)
    if not first_rank:
        logging.getLogger().setLevel(logging.WARNING)
    check_this_run()


def readable_message(error: BaseException) -> str | None:
    """The message of the innermost error that the toolkit or a plugin raised on purpose, or None for a bug.

    MONAI wraps what an instantiation raises, so the cause is looked for along the chain.
    """
    chain = list(_chain(error))
    for link in reversed(chain):
        if isinstance(link, USER_ERRORS) and _raised_by_us(link):
            return str(link)
    if any(_lost_a_worker(link) for link in chain):
        return _WORKER
    return next((told for link in chain for said, told in _OF_LIBRARIES if _says(link, said)), None)


def _lost_a_worker(error: BaseException) -> bool:
    """A worker that dies while it hands over a batch is first noticed as the end of its connection."""
    return isinstance(error, ConnectionError | EOFError) and any(
        str(frame.f_globals.get("__name__", "")).startswith("torch.utils.data")
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _says(error: BaseException, words: str) -> bool:
    return isinstance(error, RuntimeError) and words in str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _raised_by_us(error: BaseException) -> bool:
    """True where the frame that raised belongs to the toolkit or a plugin of it."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith(_OURS)
