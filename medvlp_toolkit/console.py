"""Logging and error messages of bundle runs: log lines for progress, one line for a mistake."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from pathlib import Path
from types import TracebackType

from medvlp_toolkit.errors import user_message

TRACEBACK_FILE = "traceback.txt"


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
        message = user_message(error)
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
    # Warnings that libraries emit on every bundle run, about things a user cannot change.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    # A schedule counts batches; within an accumulation the optimiser has not stepped yet.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    # The engines' own lines duplicate the progress lines.
    logging.getLogger("ignite").setLevel(logging.WARNING)
    if not first_rank:
        logging.getLogger().setLevel(logging.WARNING)
    check_this_run()
