"""Handlers of training that neither MONAI nor Ignite has: throughput, progress, notes."""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import Tensor

from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.engines.ranks import world_size
from medvlp_toolkit.files import write_whole
from medvlp_toolkit.progress import Progress
from medvlp_toolkit.weights.weights import TRAINING_NOTE

logger = logging.getLogger(__name__)

_READ_EVERY = 5.0  # seconds between looks at the losses while a bar is shown


class Throughput:
    """Measures samples per second (of all processes) and the share of time this one spends waiting for data.

    Both cover the iterations since they were last read; they are kept in ``engine.state.throughput``
    as ``samples_per_second`` and ``data_wait``.

    The clock is the host's: on a GPU the wait for data is what the host could not hide.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.samples = 0
        self.waiting = 0.0
        self.since = time.perf_counter()
        self._asked = self.since

    def attach(self, engine: Engine) -> None:
        engine.state.throughput = self
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.reset())
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._ask)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._got)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)

    def _ask(self, engine: Engine) -> None:
        self._asked = time.perf_counter()

    def _got(self, engine: Engine) -> None:
        self.waiting += time.perf_counter() - self._asked

    def _count(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        self.samples += len(batch["study_id"]) if isinstance(batch, dict) and "study_id" in batch else 0

    @property
    def samples_per_second(self) -> float:
        return world_size() * self.samples / max(time.perf_counter() - self.since, 1e-9)

    @property
    def data_wait(self) -> float:
        return self.waiting / max(time.perf_counter() - self.since, 1e-9)


class ProgressBar:
    """Shows epoch, losses, samples per second, data wait and time left; without a terminal, as log lines.

    The losses are read from the device only when they are shown.

    Args:
        every: seconds between log lines within an epoch; one follows every epoch anyway.
        enabled: False on ranks other than the first.
    """

    def __init__(self, every: float = 30.0, enabled: bool = True) -> None:
        self.every = every
        self.enabled = enabled
        self._progress: Progress | None = None
        self._shown, self._read = "", 0.0
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def attach(self, engine: Engine) -> None:
        if not self.enabled:
            return
        if getattr(engine.state, "throughput", None) is None:
            Throughput().attach(engine)
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)
        engine.add_event_handler(Events.TERMINATE, self._stop)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _begin(self, engine: Engine) -> None:
        self._progress = None

    def _start(self, engine: Any) -> None:
        self._sums, self._count = {}, 0
        if self._progress is None:
            total = engine.state.max_epochs * engine.state.epoch_length
            detail = partial(self._detail, engine)
            self._progress = Progress(
                "", total, detail=detail, every=self.every, share=0, unit="step", rate=False, transient=True
            )
            self._progress.advance(engine.state.iteration, counted=False)
        self._progress.what = f"epoch {engine.state.epoch}/{engine.state.max_epochs}"
        self._progress.__enter__()

    def _advance(self, engine: Engine) -> None:
        losses: Any = engine.state.output
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._count += 1
        assert self._progress is not None
        if self._progress.bar is not None and time.monotonic() - self._read > _READ_EVERY:
            self._shown, self._read = self._numbers(engine), time.monotonic()
        self._progress.advance()

    def _detail(self, engine: Engine) -> str:
        """In a bar, which another thread draws, what was read last."""
        return self._shown if self._progress and self._progress.bar is not None else self._numbers(engine)

    def _finish(self, engine: Engine) -> None:
        numbers = self._numbers(engine)
        self._stop(engine)
        left = self._progress.left() if self._progress else ""
        told = f"{numbers}  {left}".rstrip()
        logger.info("epoch %d/%d  done  %s", engine.state.epoch, engine.state.max_epochs, told)

    def _stop(self, engine: Engine) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._stop(engine)
        raise error

    def _numbers(self, engine: Engine) -> str:
        meter: Throughput = engine.state.throughput  # type: ignore[assignment]
        losses = "  ".join(f"{name} {float(total) / max(self._count, 1):.4f}" for name, total in self._sums.items())
        return f"{losses}  {meter.samples_per_second:.0f} samples/s  waiting for data {meter.data_wait:.0%}"


class LogMetrics:
    """Logs an evaluator's metrics, and the best of its key metric so far, in one line."""

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self._log)

    def _log(self, engine: Engine) -> None:
        state: Any = engine.state
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in state.metrics.items())
        best = f"  (best {state.best_metric:.4f} in epoch {state.best_metric_epoch})" if state.key_metric_name else ""
        logger.info("epoch %d  validation  %s%s", state.epoch, metrics, best)


class TrainingNote:
    """Notes in ``training.json`` how long training took, how far it came, whether it is complete; a resumed run adds
    its time.

    Args:
        output_dir: folder of the run.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.path = Path(output_dir) / TRAINING_NOTE
        self._before = 0.0
        self._started = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._note)
        engine.add_event_handler(Events.COMPLETED, self._note, complete=True)

    def _start(self, engine: Engine) -> None:
        if self._started:
            return
        # At the first epoch: a checkpoint has been loaded by then.
        resumed = engine.state.iteration > 0 and self.path.is_file()
        self._before = float(json.loads(self.path.read_text())["seconds"]) if resumed else 0.0
        self._started = time.perf_counter()

    def _note(self, engine: Engine, complete: bool = False) -> None:
        if not self._started:
            return  # nothing was left to train
        seconds = round(self._before + time.perf_counter() - self._started, 1)
        state = engine.state
        note = {"seconds": seconds, "epoch": state.epoch, "iteration": state.iteration, "complete": complete}
        content = (json.dumps(note) + "\n").encode()
        write_whole(self.path, lambda file: file.write(content))


class BroadcastBuffers:
    """Gives all processes the first one's buffers before they validate: running statistics differ between them."""

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._broadcast)

    def _broadcast(self, engine: Any) -> None:
        if world_size() > 1:
            for buffer in unwrap(engine.network).buffers():
                dist.broadcast(buffer, src=0)


def write_training_scalars(engine: Engine, writer: Any, optimizer: torch.optim.Optimizer) -> None:
    """Losses, learning rate and throughput to TensorBoard: ``iteration_event_writer`` of MONAI's handler."""
    step = engine.state.iteration
    losses: Any = engine.state.output
    for name, value in losses.items():
        writer.add_scalar(f"train/{name}", float(value), step)
    writer.add_scalar("train/learning_rate", optimizer.param_groups[0]["lr"], step)
    meter: Throughput | None = getattr(engine.state, "throughput", None)
    if meter is not None:
        writer.add_scalar("train/samples_per_second", meter.samples_per_second, step)
        writer.add_scalar("train/data_wait", meter.data_wait, step)
