"""Logging and error messages of bundle runs: log lines for progress, one line for a user's mistake."""

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

    User errors end the run with their message alone; the traceback is written to ``output_dir/traceback.txt``. Ranks
    other than the first log warnings only.

    Raises:
        ValueError: when the process runs a bundle with a faulty configuration: an override of an unknown id (which
            MONAI would ignore), or a reference or target that cannot be resolved.
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
    # Warnings that libraries emit on every bundle run and that a user cannot act on.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    # A schedule counts batches; during gradient accumulation the optimiser has not stepped yet.
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

    No part of the training may have been built before. It joins the other processes if there are any, sets up messages
    and checks the configuration (:func:`set_up`), locks ``output_dir`` against other runs, and seeds Python, NumPy and
    torch identically on every process, so that all build the same model.

    Args:
        output_dir: folder of the run.
        seed: for the random numbers of building and training the model.
        tf32: see :func:`~medvlp_toolkit.engines.set_tf32`; None keeps torch's own setting.
        distributed: whether this is one of several processes that ``torchrun`` or ``srun`` started.

    Raises:
        ValueError: when another run trains into ``output_dir``, or the configuration is faulty.
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
