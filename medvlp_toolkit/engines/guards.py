"""Guards that stop training: on a non-finite loss, and on a changed store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.engines.ranks import of_all_ranks, rank
from medvlp_toolkit.files import write_whole


class NonFiniteLossError(RuntimeError):
    """Training stopped because a loss is NaN or infinite."""


class NonFiniteGuard:
    """Stops training when a loss is NaN or infinite, and reports which loss and which batch.

    The first such iteration is recorded on the device without synchronising, and read every ``every`` iterations, at
    the end of an epoch and before a checkpoint is written. The batch's study ids are written to ``nan_batch.json`` in
    the output folder, not to the message, because an id may identify a patient.

    Args:
        every: iterations between checks; each check waits for the device.
        output_dir: the run's folder; None writes no file.
    """

    def __init__(self, every: int = 50, output_dir: str | Path | None = None) -> None:
        self.every = every
        self.output_dir = None if output_dir is None else Path(output_dir)
        self._forget()

    def _forget(self) -> None:
        self._first: Tensor | None = None  # (losses,) the first iteration in which each was not finite, else 0
        self._names: list[str] = []
        self._batches: dict[int, list[str]] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self.look)
        # Before the epoch's checkpoint is written: NaN weights are not worth saving.
        engine.add_event_handler(Events.ITERATION_COMPLETED(event_filter=_last_of_epoch), self.look)

    def _note(self, engine: Engine) -> None:
        losses: Any = engine.state.output
        batch: Any = engine.state.batch
        iteration = engine.state.iteration
        broken = ~torch.isfinite(torch.stack([value.float() for value in losses.values()]))
        if self._first is None:
            self._names, self._first = list(losses), torch.zeros_like(broken, dtype=torch.int64)
        self._first = torch.where(broken & (self._first == 0), iteration, self._first)
        self._batches[iteration] = list(batch.get("study_id", ())) if isinstance(batch, Mapping) else []

    def look(self, engine: Engine) -> None:
        """Raise :class:`NonFiniteLossError` if a loss was not finite since the last check. Collective."""
        if self._first is None:
            return
        found = {name: first for name, first in zip(self._names, self._first.tolist(), strict=True) if first}
        iterations = [first for first in of_all_ranks(min(found.values(), default=0)) if first]
        batches, names = self._batches, found
        self._forget()
        if not iterations:
            return
        iteration = min(iterations)  # the weights are broken from then on: later losses are not the cause
        broken = [name for name, first in names.items() if first == iteration]
        where = self._write(broken, iteration, engine.state.epoch, batches[iteration]) if broken else None
        named = [name for name in broken if name != "loss"] or broken
        which = f"loss {', '.join(named)}" if named else "a loss of another process"
        raise NonFiniteLossError(
            f"{which} is not finite at epoch {engine.state.epoch}, iteration {iteration}"
            f"{f' (the ids of its studies are in {where})' if where else ''}: lower the learning rate, clip gradients "
            "(clip_norm: 1), or use precision: fp32; then resume from the last checkpoint with resume.yaml"
        )

    def _write(self, losses: list[str], iteration: int, epoch: int, study_ids: list[str]) -> Path | None:
        if self.output_dir is None:
            return None
        record = {"losses": losses, "epoch": epoch, "iteration": iteration, "rank": rank(), "study_id": study_ids}
        content = (json.dumps(record, indent=2) + "\n").encode()
        name = "nan_batch.json" if rank() == 0 else f"nan_batch_rank{rank()}.json"
        return write_whole(self.output_dir / name, lambda file: file.write(content))


def _last_of_epoch(engine: Engine, event: int) -> bool:
    length = engine.state.epoch_length
    return bool(length) and event % int(length) == 0  # type: ignore[arg-type]


class StoreGuard:
    """Stops training when the store has changed: checked at the start of each epoch and when resuming.

    Its state, to be saved in checkpoints, is the store's fingerprint.

    Args:
        store: the store trained on.
    """

    def __init__(self, store: PackedStore) -> None:
        self.store = store
        self.fingerprint = store.fingerprint

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._check)

    def _check(self, engine: Engine) -> None:
        now = PackedStore.open(self.store.path)
        if now.fingerprint != self.fingerprint:
            raise ValueError(
                f"{self.store.path} has changed since this training began; the checkpoints are intact. Restore the "
                "old store and resume with resume.yaml, or start over in another output_dir"
            )

    def state_dict(self) -> dict[str, str]:
        return {"fingerprint": self.fingerprint}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Raise ``ValueError`` when the checkpoint was trained on another store."""
        if state["fingerprint"] != self.fingerprint:
            raise ValueError(
                f"{self.store.path} is not the store that this run was trained on: order and content of its studies "
                "differ. Set dataset_dir to the original store, or start over in another output_dir"
            )
