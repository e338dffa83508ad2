"""The handlers that every training has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from monai.handlers import LrScheduleHandler, MLFlowHandler, TensorBoardStatsHandler, ValidationHandler
from torch import nn

from medvlp_toolkit.engines.checkpointing import BestCheckpoint, Checkpointing
from medvlp_toolkit.engines.guards import NonFiniteGuard, StoreGuard
from medvlp_toolkit.engines.handlers import (
    BroadcastBuffers,
    LogMetrics,
    ProgressBar,
    Throughput,
    TrainingNote,
    write_training_scalars,
)
from medvlp_toolkit.engines.random_states import RandomStates
from medvlp_toolkit.engines.ranks import is_distributed, is_first_rank, seed_rank, world_size
from medvlp_toolkit.engines.run_configuration import RunConfiguration
from medvlp_toolkit.run_lines import RunLines
from medvlp_toolkit.weights.weights import export_network

#: What can be left out, by name, in the order in which it is attached.
NAMES = (
    "progress",
    "training_note",
    "tensorboard",
    "mlflow",
    "broadcast_buffers",
    "validation",
    "log_metrics",
    "best_checkpoint",
    "early_stop",
    "non_finite_guard",
    "store_guard",
    "checkpointing",
)
_EXPERIMENT = "medvlp_toolkit"


class TrainingHandlers:
    """What every training has beside its recipe, attached to its trainer and the evaluator that validates.

    ========================  ==========================================================================================
    ``progress``              a line at the beginning and at the end, between them a progress bar or log lines: losses,
                              samples per second, share of time waiting for data, time left
    ``training_note``         ``training.json``: seconds, epochs, whether training is complete
    ``tensorboard``           the same figures and the validation's, in ``tensorboard/``
    ``mlflow``                the same in MLflow, where ``mlflow`` says where
    ``broadcast_buffers``     running statistics alike on all processes before they validate
    ``validation``            the evaluator runs every ``val_interval`` epochs
    ``log_metrics``           one line per validation
    ``best_checkpoint``       ``best.pt``: the weights of the best validation
    ``early_stop``            ends training after ``patience`` validations without a better one
    ``non_finite_guard``      ends training at a loss that is not a number
    ``store_guard``           ends training when the store changes
    ``checkpointing``         checkpoints, resuming, SIGTERM and Ctrl-C
    ========================  ==========================================================================================

    The learning rate steps after every iteration. Handlers of one's own belong into the engines' own lists
    (``train::handlers``, ``validate::handlers``): a checkpoint holds what they did in its iteration. The first process
    alone shows and notes.

    Args:
        output_dir: of the run.
        lr_scheduler: stepped after every iteration; None keeps the learning rate.
        val_interval: epochs between validations; None never validates.
        patience: validations without a better key metric after which training ends; None never ends it.
        lower_is_better: of the key metric.
        log_every: iterations between TensorBoard's points and looks for a loss that is not a number.
        checkpoint_every: iterations between checkpoints within an epoch; 0 writes after epochs only.
        keep_checkpoints: how many are kept.
        resume: see :class:`Checkpointing`.
        mlflow: address of MLflow's server or database; None for no MLflow.
        weights: the module whose weights ``best.pt`` holds; the trainer's network when None.
        state: what else a checkpoint holds: name -> what has ``state_dict`` and ``load_state_dict``.
        without: names of the table to leave out.
        export: network whose weights are written at the end, for inference (:func:`.export_network`), or a function
            that makes it; None writes none.

    Raises:
        ValueError: for a name that is not in the table.

    Example::

        handlers = TrainingHandlers("runs/one", lr_scheduler, patience=10)
        handlers.attach(trainer, evaluator)
        trainer.run()
    """

    def __init__(
        self,
        output_dir: str | Path,
        lr_scheduler: Any = None,
        val_interval: int | None = 1,
        patience: int | None = 100,
        lower_is_better: bool = False,
        log_every: int = 50,
        checkpoint_every: int = 0,
        keep_checkpoints: int = 2,
        resume: bool | Literal["auto"] = False,
        mlflow: str | None = None,
        weights: nn.Module | None = None,
        state: Mapping[str, Any] | None = None,
        without: Sequence[str] = (),
        export: nn.Module | Callable[[], nn.Module] | None = None,
    ) -> None:
        unknown = [name for name in without if name not in NAMES]
        if unknown:
            raise ValueError(f"without: no handler is named {', '.join(unknown)}; there are {', '.join(NAMES)}")
        if patience is not None and patience < 1:
            raise ValueError(f"patience is {patience}; expected 1 validation or more, or null never to stop early")
        self.output_dir = Path(output_dir)
        self.lr_scheduler = lr_scheduler
        self.val_interval = val_interval
        self.patience = patience
        self.lower_is_better = lower_is_better
        self.log_every = log_every
        self.checkpoint_every = checkpoint_every
        self.keep_checkpoints = keep_checkpoints
        self.resume: bool | Literal["auto"] = resume
        self.mlflow = mlflow
        self.weights = weights
        self.state = dict(state or {})
        self.without = frozenset(without)
        self.export = export

    def attach(self, trainer: Any, evaluator: Any) -> None:
        """Attach them all. Call it when everything of the training is built, on every process.

        Args:
            trainer: a :class:`Trainer` of a step of the toolkit, over a data set of a packed store; of another one
                ``without`` the ``store_guard``.
            evaluator: an :class:`Evaluator` with a key metric.
        """
        Throughput().attach(trainer)
        if self.lr_scheduler is not None:
            LrScheduleHandler(self.lr_scheduler, print_lr=False, epoch_level=False).attach(trainer)
        weights = trainer.network if self.weights is None else self.weights
        best = BestCheckpoint(self.output_dir, weights, lower_is_better=self.lower_is_better)
        score = partial(_score, lower_is_better=self.lower_is_better)
        early = EarlyStopping(1 if self.patience is None else self.patience, score, trainer)
        early.logger.setLevel(logging.WARNING)  # the closing line says it
        self._attach_to_trainer(trainer, evaluator)
        self._attach_to_evaluator(evaluator, best, early)
        self._guard_and_save(trainer, evaluator, best, early)
        if is_distributed():
            # The model is built, alike on all processes: dropout differs from here on.
            seed_rank(_seed(trainer))

    def _wants(self, name: str) -> bool:
        return name not in self.without

    def _attach_to_trainer(self, trainer: Any, evaluator: Any) -> None:
        first = is_first_rank()
        if self._wants("progress"):
            ProgressBar(enabled=first).attach(trainer)
        if first and self._wants("training_note"):
            TrainingNote(self.output_dir).attach(trainer)
        if first and self._wants("tensorboard"):
            write = partial(write_training_scalars, optimizer=trainer.optimizer)
            self._tensorboard(iteration_log=self.log_every, epoch_log=False, iteration_event_writer=write).attach(
                trainer
            )
        if first and self.mlflow and self._wants("mlflow"):
            self._mlflow(
                experiment_param=_settings(trainer),
                iteration_log=lambda engine, event: event % self.log_every == 0,
                epoch_log=False,
                output_transform=lambda losses: {name: float(value) for name, value in losses.items()},
            ).attach(trainer)
        if self._wants("broadcast_buffers"):
            BroadcastBuffers().attach(trainer)
        if self.val_interval and self._wants("validation"):
            ValidationHandler(self.val_interval, evaluator, epoch_level=True).attach(trainer)

    def _attach_to_evaluator(self, evaluator: Any, best: BestCheckpoint, early: EarlyStopping) -> None:
        first = is_first_rank()
        if first and self._wants("log_metrics"):
            LogMetrics().attach(evaluator)
        if first and self._wants("tensorboard"):
            self._tensorboard(iteration_log=False).attach(evaluator)
        if first and self.mlflow and self._wants("mlflow"):
            self._mlflow(iteration_log=False, epoch_log=True).attach(evaluator)
        if self._wants("best_checkpoint"):
            best.attach(evaluator)
        if self._wants("early_stop") and self.patience is not None:
            evaluator.add_event_handler(Events.COMPLETED, early)

    def _guard_and_save(self, trainer: Any, evaluator: Any, best: BestCheckpoint, early: EarlyStopping) -> None:
        """Last, so that a checkpoint holds what all others did in its iteration."""
        if self._wants("best_checkpoint"):
            trainer.add_event_handler(Events.COMPLETED, best.fall_back)
        if self.export is not None:
            network = trainer.network if self.weights is None else self.weights
            trainer.add_event_handler(Events.COMPLETED, lambda: export_network(self.export, network, self.output_dir))
        if is_first_rank() and self._wants("progress"):
            RunLines(self.output_dir, world_size(), evaluator, best, early).attach(trainer)
        losses = NonFiniteGuard(self.log_every, self.output_dir) if self._wants("non_finite_guard") else None
        if losses is not None:
            losses.attach(trainer)
        store = StoreGuard(trainer.data_loader.dataset.store) if self._wants("store_guard") else None
        if store is not None:
            store.attach(trainer)
        if not self._wants("checkpointing"):
            return
        state = {
            "configuration": RunConfiguration(),
            **({} if store is None else {"store": store}),
            "model": trainer.network,
            "optimizer": trainer.optimizer,
            **({} if self.lr_scheduler is None else {"lr_scheduler": self.lr_scheduler}),
            "trainer": trainer,
            "step": trainer.iteration_update,  # the gradient scaler of fp16
            "best": best,
            "early_stop": early,
            "random": RandomStates(),
            **self.state,
        }
        Checkpointing(
            self.output_dir,
            state,
            every=self.checkpoint_every,
            keep=self.keep_checkpoints,
            resume=self.resume,
            guard=losses,
        ).attach(trainer)

    # -- where it is shown ------------------------------------------------------------------------

    def _tensorboard(self, **options: Any) -> Any:
        return TensorBoardStatsHandler(log_dir=str(self.output_dir / "tensorboard"), **options)

    def _mlflow(self, **options: Any) -> Any:
        return MLFlowHandler(
            tracking_uri=self.mlflow, experiment_name=_EXPERIMENT, run_name=str(self.output_dir), **options
        )


def _score(engine: Engine, lower_is_better: bool) -> float:
    state: Any = engine.state
    score = float(state.metrics[state.key_metric_name])
    return -score if lower_is_better else score


def _settings(trainer: Any) -> dict[str, Any]:
    """What MLflow compares runs by."""
    return {
        "seed": _seed(trainer),
        "batch_size": trainer.data_loader.batch_size,
        "learning_rate": trainer.optimizer.defaults["lr"],
        "precision": trainer.iteration_update.precision,
    }


def _seed(trainer: Any) -> int:
    return int(trainer.data_loader.dataset.seed)
