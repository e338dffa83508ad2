"""How a training begins: its processes, its log, its folder, its random numbers."""

from __future__ import annotations

from pathlib import Path

from medvlp_toolkit.console import set_up
from medvlp_toolkit.engines.device import set_tf32
from medvlp_toolkit.engines.ranks import is_first_rank, start_ranks
from medvlp_toolkit.engines.run_lock import lock_run


def start_run(output_dir: str | Path, seed: int = 0, tf32: bool | None = None, distributed: bool = False) -> None:
    """Call first in the ``initialize`` of a configuration that trains, before anything is built.

    Joins the other processes where there are any, sets up messages (:func:`~medvlp_toolkit.console.set_up`), checks
    what the run was given, keeps other runs out of ``output_dir``, and seeds Python, NumPy and torch alike on every
    process, so that all build the same model.

    Args:
        output_dir: of the run.
        seed: of what is drawn while the model is built and trained.
        tf32: see :func:`set_tf32`; None leaves torch's own setting.
        distributed: whether this is one of several processes that ``torchrun`` or ``srun`` started.

    Raises:
        ValueError: when another run trains into ``output_dir``, or what this one was given does not fit.
    """
    from monai.utils import set_determinism

    if distributed:
        start_ranks()
    set_up(output_dir, first_rank=is_first_rank())
    if is_first_rank():
        lock_run(output_dir)
    if tf32 is not None:
        set_tf32(tf32)
    set_determinism(seed=seed)
