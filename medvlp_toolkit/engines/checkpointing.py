"""Checkpoints of a training run, exact resuming, and a clean stop on SIGTERM."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import nn

from medvlp_toolkit.data.contracts import StartsWithin
from medvlp_toolkit.engines.checkpoint_files import (
    BrokenCheckpointError,
    Progress,
    checkpoints_in,
    put_aside,
    read_checkpoint,
    remove_unfinished,
    write_checkpoint,
)
from medvlp_toolkit.engines.guards import NonFiniteGuard
from medvlp_toolkit.engines.parallel import (
    load_network_state,
    load_optimizer_state,
    network_state,
    optimizer_state,
    unwrap,
)
from medvlp_toolkit.engines.ranks import (
    any_rank,
    control_group,
    is_distributed,
    is_first_rank,
    of_all_ranks,
    of_first_rank,
)
from medvlp_toolkit.engines.run_configuration import RunConfiguration
from medvlp_toolkit.files import write_whole
from medvlp_toolkit.run_lines import training_stopped
from medvlp_toolkit.stop_signal import StopSignal
from medvlp_toolkit.weights.weights import mismatches

logger = logging.getLogger(__name__)


class Checkpointing:
    """Writes checkpoints, resumes from the newest whole one, and stops cleanly on SIGTERM and Ctrl-C.

    Attach it to the trainer last, on every process, so that a checkpoint includes what other handlers did in the same
    iteration. The first process writes, atomically. (MONAI's ``CheckpointSaver`` writes in place and removes an old
    checkpoint before the new one is complete.)

    A checkpoint is written after every epoch, and ``every`` iterations within one as soon as the optimiser has stepped:
    an accumulation is not cut in two. On SIGTERM (a batch system takes the machine back) one is written after the
    optimiser's next step, and the process ends with status 0; on the first Ctrl-C (SIGINT) likewise, with status 130.
    A second Ctrl-C stops at once, unless several processes train: their launcher forwards the first to each of them.

    Args:
        folder: the run's folder.
        state: name -> object with ``state_dict`` and ``load_state_dict``, including ``model`` and ``trainer``; loaded
            in this order.
        every: iterations between checkpoints within an epoch; 0 writes after epochs only.
        keep: number of checkpoints to keep.
        resume: False starts a new run and moves an earlier run's checkpoints aside, True resumes and fails if there is
            no checkpoint, ``auto`` resumes if there is one.
        guard: checked before each checkpoint, so that NaN weights are not saved.

    Raises:
        FileNotFoundError: when ``resume`` is True and there is no checkpoint.
        ValueError: when there are checkpoints but none can be read.
        OSError: when a checkpoint cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        state: Mapping[str, Any],
        every: int = 0,
        keep: int = 2,
        resume: bool | Literal["auto"] = False,
        guard: NonFiniteGuard | None = None,
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}; expected 1 checkpoint or more to be kept")
        if resume not in (True, False, "auto"):
            raise ValueError(f"resume is {resume!r}; expected true, false or auto")
        self.folder = Path(folder)
        self.state = dict(state)
        self.every = every
        self.keep = keep
        self.resume = resume
        self.guard = guard
        self._due = False
        self._stop = StopSignal()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._after_iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch)
        engine.add_event_handler(Events.COMPLETED, lambda _: self._stop.restore())

    # -- resuming ---------------------------------------------------------------------------------

    def _start(self, engine: Any) -> None:
        control_group()  # made here, where every process is
        self._stop.watch(second_ends=not is_distributed())
        if is_first_rank():
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.folder)
        found = of_first_rank([str(path) for path in checkpoints_in(self.folder)])
        if self.resume is True and not found:
            raise FileNotFoundError(
                f"no checkpoint_epoch=*.pt in {self.folder}: nothing to resume; leave out resume.yaml to start, or set "
                "output_dir to the run to resume"
            )
        if self.resume and found:
            self._load_newest(engine, [Path(path) for path in found])
        elif is_first_rank() and (aside := put_aside(self.folder)) is not None:
            logger.warning("checkpoints of an earlier run were moved to %s", aside)
        self._describe()

    def _describe(self) -> None:
        """Write the model's description next to its checkpoints."""
        for part in self.state.values():
            description = part.description() if isinstance(part, RunConfiguration) else None
            if description is not None and is_first_rank():
                description.write(self.folder)

    def _load_newest(self, engine: Any, candidates: list[Path]) -> None:
        problems: list[str] = []
        for path in candidates:
            checkpoint, problem = self._read(path, engine.state.device)
            problem = next((found for found in of_all_ranks(problem) if found), None)
            if problem is None:
                if problems and is_first_rank():
                    logger.warning("%s; resuming from %s", "; ".join(problems), path)
                self._load(engine, checkpoint)
                logger.info("resuming from %s", path)
                return
            problems.append(problem)
        raise ValueError(f"no usable checkpoint in {self.folder}: {'; '.join(problems)}")

    def _read(self, path: Path, device: torch.device) -> tuple[dict[str, Any], str | None]:
        try:
            checkpoint = read_checkpoint(path, list(self.state), device)
        except BrokenCheckpointError as error:
            return {}, str(error)
        # Before anything is loaded, so that a checkpoint of another model does not change this one.
        wrong = mismatches(unwrap(self.state["model"]).state_dict(), checkpoint["model"])
        message = f"{len(wrong)} entries of {path} do not fit this model:\n" + "\n".join(wrong)
        return checkpoint, message if wrong else None

    def _load(self, engine: Any, checkpoint: Mapping[str, Any]) -> None:
        epochs, length = engine.state.max_epochs, engine.state.epoch_length
        saved = checkpoint["trainer"]
        iteration, saved_length = int(saved["iteration"]), int(saved["epoch_length"])
        within = iteration % saved_length
        if within and saved_length != length:
            raise ValueError(
                f"the checkpoint was written in the middle of an epoch of {saved_length} iterations, and an epoch has "
                f"{length} now; resume with the same batch_size and number of processes, or remove that checkpoint"
            )
        for name, target in self.state.items():
            if isinstance(target, nn.Module):
                load_network_state(target, checkpoint[name])
            elif isinstance(target, torch.optim.Optimizer):
                load_optimizer_state(self.state["model"], target, checkpoint[name])
            elif target is engine:
                done = iteration // saved_length * length + within
                target.load_state_dict({**saved, "iteration": done, "epoch_length": length, "max_epochs": epochs})
            else:
                target.load_state_dict(checkpoint[name])
        sampler = getattr(engine.data_loader, "sampler", None)
        if within and isinstance(sampler, StartsWithin):
            sampler.start_at(within * int(engine.data_loader.batch_size))

    # -- saving -----------------------------------------------------------------------------------

    def _after_iteration(self, engine: Any) -> None:
        self._due = self._due or (self.every > 0 and engine.state.iteration % self.every == 0)
        if getattr(engine.state, "accumulating", False):
            return
        if engine.state.iteration % engine.state.epoch_length == 0:
            return  # the epoch's own checkpoint follows, after validation
        stop = any_rank(self._stop.asked is not None)
        if self._due or stop:
            self._save(engine)
        if stop:
            self._end(engine)

    def _after_epoch(self, engine: Any) -> None:
        self._save(engine)
        if any_rank(self._stop.asked is not None):
            self._end(engine)

    def _save(self, engine: Any) -> None:
        self._due = False
        if self.guard is not None:
            self.guard.look(engine)
        collected: dict[str, Any] = {}
        for name, part in self.state.items():
            if isinstance(part, nn.Module):
                collected[name] = network_state(part)
            elif isinstance(part, torch.optim.Optimizer):
                collected[name] = optimizer_state(self.state["model"], part)
            else:
                collected[name] = dict(part.state_dict())
        if not is_first_rank():
            return
        done, within = divmod(engine.state.iteration, engine.state.epoch_length)
        write_checkpoint(self.folder / Progress(done, within).file_name, collected)
        for path in checkpoints_in(self.folder)[self.keep :]:
            path.unlink(missing_ok=True)

    # -- stopping -----------------------------------------------------------------------------------

    def _end(self, engine: Any) -> None:
        self._stop.restore()
        if is_first_rank():
            file = checkpoints_in(self.folder)[0]
            logger.warning("%s", training_stopped(self._stop.name, engine.state.iteration, file))
        if is_distributed():
            dist.barrier(group=control_group())
            dist.destroy_process_group()
        raise SystemExit(self._stop.status)


class BestCheckpoint:
    """Writes the weights whenever the evaluator's key metric improves on its best value.

    Attach it to the evaluator on every process. Save its state in checkpoints, so that a resumed run does not replace
    the best weights with worse ones. NaN never counts as an improvement; if the metric was always NaN (the
    validation split is too small for it), :meth:`fall_back` writes the last weights.

    Args:
        folder: the run's folder.
        network: its state dict is written.
        file_name: name of the file in ``folder``.
        lower_is_better: whether a lower metric is better; must agree with the evaluator's ``metric_cmp_fn``.
    """

    def __init__(
        self, folder: str | Path, network: nn.Module, file_name: str = "best.pt", lower_is_better: bool = False
    ) -> None:
        self.path = Path(folder) / file_name
        self.network = network
        self.lower_is_better = lower_is_better
        self.score: float | None = None
        self.epoch = -1
        self._metric = ""
        self._validations = 0
        self._engine: Any = None

    def attach(self, engine: Engine) -> None:
        self._engine = engine
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._compare)

    def _compare(self, engine: Any) -> None:
        self._metric = engine.state.key_metric_name
        self._validations += 1
        score = float(engine.state.metrics[self._metric])
        if self._is_better(score):
            self.score, self.epoch = score, int(engine.state.epoch)
            state = network_state(self.network)
            if is_first_rank():
                write_whole(self.path, lambda file: torch.save(state, file))
        self._show()

    def fall_back(self, engine: Any) -> None:
        """At the end of training, write the last weights if no validation selected any, with a warning. Collective."""
        if self.score is not None:
            return
        state = network_state(self.network)
        if not is_first_rank():
            return
        write_whole(self.path, lambda file: torch.save(state, file))
        why = "no validation was run"
        if self._validations:
            why = f"{self._metric} was not a number in any of {self._validations} validations (is the split too small?)"
        logger.warning("%s: %s holds the weights of the last epoch", why, self.path)

    def _is_better(self, score: float) -> bool:
        if math.isnan(score) or self.score is None:
            return not math.isnan(score)
        return score < self.score if self.lower_is_better else score > self.score

    def _show(self) -> None:
        """Set the engine's best metric: MONAI's own is not resumed, and would keep a NaN of the first validation."""
        if self._engine is not None and self.score is not None:
            self._engine.state.best_metric, self._engine.state.best_metric_epoch = self.score, self.epoch

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.score, self.epoch = state["score"], int(state["epoch"])
        self._show()
