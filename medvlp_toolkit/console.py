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
        if first_rank:
            (folder / TRACEBACK_FILE).unlink(missing_ok=True)  # of an earlier run

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
            return
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
    # The engines' own lines duplicate the progress lines, and repeat an error that is shown at the end.
    logging.getLogger("ignite").setLevel(logging.WARNING)
    logging.getLogger("ignite.engine").setLevel(logging.CRITICAL)
    # The hub's client writes its retries itself; the root logger would repeat them.
    logging.getLogger("huggingface_hub").propagate = False
    if not first_rank:
        logging.getLogger().setLevel(logging.WARNING)
    check_this_run()


def start_run(output_dir: str | Path, seed: int = 0, tf32: bool | None = None, distributed: bool = False) -> None:
    """Call first in the ``initialize`` of a configuration that trains, instead of :func:`set_up`.

    Nothing of the training may have been built before. Joins the other processes where there are any, sets up messages
    and checks what the run was given (:func:`set_up`), keeps other runs out of ``output_dir``, and seeds Python, NumPy
    and torch alike on every process, so that all build the same model.

    Args:
        output_dir: folder of the run.
        seed: of what is drawn while the model is built and trained.
        tf32: see :func:`~medvlp_toolkit.engines.set_tf32`; None leaves torch's own setting.
        distributed: whether this is one of several processes that ``torchrun`` or ``srun`` started.

    Raises:
        ValueError: when another run trains into ``output_dir``, or what this one was given does not fit.
    """
    from monai.utils import set_determinism

    from medvlp_toolkit.engines.device import set_tf32
    from medvlp_toolkit.engines.ranks import is_first_rank, start_ranks
    from medvlp_toolkit.engines.run_lock import lock_run

    if distributed:
        start_ranks()
    set_up(output_dir, first_rank=is_first_rank())
    if is_first_rank():
        lock_run(output_dir)
    if tf32 is not None:
        set_tf32(tf32)
    set_determinism(seed=seed)
