"""What a training and an evaluation say of themselves, in one line each: at the beginning, at the end, when stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from medvlp_toolkit.command_lines import following, resuming
from medvlp_toolkit.progress import duration
from medvlp_toolkit.terminal import show_log_lines

logger = logging.getLogger(__name__)

#: What a training may leave in its folder, in the order in which it is named.
_WRITTEN = ("best.pt", "model.pt", "model.json", "training.json", "tensorboard")


@runtime_checkable
class _OfStudies(Protocol):
    study_ids: Sequence[str]

    def __len__(self) -> int: ...


class RunLines:
    """Logs a line when training begins, and one when it has ended: what was written, which command comes next.

    Args:
        folder: of the run.
        processes: that train together.
        evaluator: that validates.
        best: its :class:`~medvlp_toolkit.engines.BestCheckpoint`.
        early: Ignite's ``EarlyStopping``.
    """

    def __init__(self, folder: str | Path, processes: int, evaluator: Any, best: Any, early: Any) -> None:
        self.folder, self.processes = Path(folder), processes
        self.evaluator, self.best, self.early = evaluator, best, early
        self._since: float | None = None

    def attach(self, engine: Any) -> None:
        from ignite.engine import Events

        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.COMPLETED, self._end)

    def _begin(self, engine: Any) -> None:
        if self._since is None:
            show_log_lines()
            self._since = time.monotonic()
            logger.info("%s", training_begins(engine, self.evaluator.data_loader.dataset, self.processes))

    def _end(self, engine: Any) -> None:
        seconds, self._since = None if self._since is None else time.monotonic() - self._since, None
        score, name = self.best.score, self.evaluator.state.key_metric_name
        best = "" if score is None else f"{name or 'validation'} {score:.4f} in epoch {self.best.epoch}"
        is_early = self.early.counter >= self.early.patience
        logger.info("%s", training_ended(engine, self.folder, seconds, best, is_early))


def counted(dataset: Any, each: str = "item") -> str:
    """``108 studies``, ``120 images of 108 studies``; of a data set without study ids ``500 items``."""
    if not isinstance(dataset, _OfStudies):
        return _count(len(dataset), each)
    studies = len(set(dataset.study_ids))
    images = "" if studies == len(dataset) else f"{_count(len(dataset), 'image')} of "
    return f"{images}{_count(studies, 'study', 'studies')}"


def training_begins(trainer: Any, validated: Any, processes: int) -> str:
    """What is trained on, where, how large the network is, how long.

    Args:
        trainer: the engine, in its first epoch.
        validated: the data set of the validation; None without.
        processes: that train together.
    """
    loader, step, state = trainer.data_loader, trainer.iteration_update, trainer.state
    batch = f"{_count(state.epoch_length, 'batch', 'batches')} of {loader.batch_size}"
    on = f" on each of {processes} processes" if processes > 1 else ""
    parameters = [(parameter.numel(), parameter.requires_grad) for parameter in trainer.network.parameters()]
    trained = sum(size for size, is_trained in parameters if is_trained)
    every = sum(size for size, _ in parameters)
    frozen = f", {_short(trained)} of them trained" if trained < every else ""
    total = state.max_epochs * state.epoch_length
    steps = state.max_epochs * -(-state.epoch_length // step.accumulation_steps)
    of_optimiser = f" ({steps:,} of the optimiser)" if steps != total else ""
    parts = [
        f"training on {counted(loader.dataset)} in {batch}{on}",
        *([] if validated is None else [f"validating on {counted(validated)}"]),
        f"{state.device}, {step.precision}",
        f"{_short(every)} parameters{frozen}",
        f"{_count(state.max_epochs, 'epoch')}, {_count(total, 'step')}{of_optimiser}",
    ]
    return "; ".join(parts)


def training_ended(trainer: Any, folder: Path, seconds: float | None, best: str, early: bool) -> str:
    """How far it came, what lies in its folder, and the command that comes next.

    Args:
        trainer: the engine.
        folder: of the run.
        seconds: that this run took; None where nothing was left to train.
        best: what was best: ``entity_auc 0.75 in epoch 2``; empty without a validation.
        early: whether it ended because the validation was no longer better.
    """
    state = trainer.state
    done = f"{_count(state.epoch, 'epoch')}, {_count(state.iteration, 'step')}"
    how = f"nothing was left to train after {done}" if seconds is None else f"trained {done}, in {duration(seconds)}"
    if early:
        how += f"; ended before epoch {state.max_epochs}, as the validation was no longer better (patience)"
    checkpoints = sorted(folder.glob("checkpoint_epoch=*.pt"), key=lambda path: path.stat().st_mtime)
    names = [name for name in _WRITTEN if (folder / name).exists()] + [path.name for path in checkpoints[-1:]]
    lines = [how + (f"; best {best}" if best else ""), f"Written to {folder}: {', '.join(names)}"]
    command = following("train.yaml", "evaluate.yaml", output_dir=folder)
    return ". ".join([*lines, *([f"Next: {command}"] if command else [])])


def training_stopped(by: str, iteration: int, checkpoint: Path) -> str:
    """Which checkpoint was written, and the command that resumes."""
    return f"stopped by {by} after step {iteration:,}; {checkpoint} is written. Resume with: {resuming()}"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _short(number: int) -> str:
    """``1.23 M``, ``12.3 k``: three digits."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
