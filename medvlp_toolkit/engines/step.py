"""The work of one iteration: the functions that MONAI's engines call for every batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from medvlp_toolkit.engines.device import Precision, autocast, check_precision, gradient_scaler, to_device
from medvlp_toolkit.engines.parallel import gradients_synchronised, unwrap
from medvlp_toolkit.moved import old_names

__getattr__ = old_names(__name__)

Transform = Callable[[Mapping[str, Any]], dict[str, Any]]


class OptimisationStep:
    """Base of training steps: precision, accumulation, clipping, compilation, averaged weights.

    It never waits for the device. With ``accumulation_steps`` the gradients of that many batches are averaged before
    the optimiser steps; processes synchronise at the last of them only, and a group ends with its epoch. Each batch's
    losses are averages over its own terms. ``engine.state.accumulating`` is true until the optimiser has stepped.

    Args:
        transform: maps the stored batch to the network's input, on the device (augmentation, normalisation).
        precision: ``fp32``, ``bf16``, or ``fp16`` with a gradient scaler.
        clip_norm: maximum gradient norm over all parameters; None does not clip.
        accumulation_steps: batches per step of the optimiser.
        compile: False, or ``step`` to compile the forward and backward pass (``torch.compile``).
        ema: averages the weights after every step of the optimiser (``torch.optim.swa_utils.AveragedModel``).

    Raises:
        ValueError: for an invalid setting.
    """

    def __init__(
        self,
        transform: Transform,
        precision: Precision = "fp32",
        clip_norm: float | None = None,
        accumulation_steps: int = 1,
        compile: Literal[False, "step"] = False,
        ema: AveragedModel | None = None,
    ) -> None:
        check_precision(precision)
        if accumulation_steps < 1:
            raise ValueError(f"accumulation_steps is {accumulation_steps}; expected 1 or more batches per step")
        if compile not in (False, None, "step"):
            raise ValueError(f"compile is {compile!r}; expected false or step")
        self.transform = transform
        self.precision: Precision = precision
        self.clip_norm = clip_norm
        self.accumulation_steps = accumulation_steps
        self.compile = bool(compile)
        self.ema = ema
        self._scaler: torch.amp.GradScaler | None = None
        self._scaler_state: dict[str, Any] = {}
        self._compiled: nn.Module | None = None

    def optimise(self, engine: Any, forward: Callable[[nn.Module], Any], loss: Callable[[Any], Tensor]) -> Any:
        """Forward, backward and, at the end of a group, the optimiser step; returns the result of ``forward``.

        Args:
            forward: calls the network, in the configured precision.
            loss: maps its result to the loss (0-dim), in float32.
        """
        network = self._ready(engine.network)
        scaler = self.scaler(engine.state.device)
        place = place_of(engine.state.iteration, engine.state.epoch_length, self.accumulation_steps)
        network.train()
        if place.first:
            engine.optimizer.zero_grad(set_to_none=True)
        with gradients_synchronised(network, place.last):
            with autocast(engine.state.device, self.precision):
                output = forward(network)
            engine.fire_event(IterationEvents.FORWARD_COMPLETED)
            total = loss(output)
            engine.fire_event(IterationEvents.LOSS_COMPLETED)
            scaler.scale(total / place.size).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.state.accumulating = not place.last
        if place.last:
            self._step(engine, scaler)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return output

    def _step(self, engine: Any, scaler: torch.amp.GradScaler) -> None:
        if self.clip_norm is not None:
            scaler.unscale_(engine.optimizer)
            torch.nn.utils.clip_grad_norm_(engine.network.parameters(), self.clip_norm)
        scaler.step(engine.optimizer)
        scaler.update()
        if self.ema is not None:
            self.ema.update_parameters(unwrap(engine.network))

    def _ready(self, network: nn.Module) -> nn.Module:
        """The network, compiled in place if configured; the names in its state dict are unchanged."""
        if self.compile and self._compiled is not network:
            unwrap(network).compile()
            self._compiled = network
        return network

    # -- state for checkpoints ------------------------------------------------------------------

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """The gradient scaler, which only ``fp16`` uses."""
        if self._scaler is None:
            self._scaler = gradient_scaler(device, self.precision)
            if self._scaler_state and self._scaler.is_enabled():
                self._scaler.load_state_dict(self._scaler_state)
        return self._scaler

    def state_dict(self) -> dict[str, Any]:
        """The gradient scaler's state; empty in other precisions."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._scaler, self._scaler_state = None, dict(state)


class PretrainingStep(OptimisationStep):
    """One iteration of training a :class:`~medvlp_toolkit.model.PretrainingModel`.

    Given to MONAI's ``SupervisedTrainer`` as ``iteration_update``; arguments as in :class:`OptimisationStep`. The
    engine's output is the dict of losses, detached and left on the device.
    """

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        prepared = self.transform(to_device(batch, engine.state.device))
        # A compiled step would be recompiled for every list of study ids.
        tensors = {key: value for key, value in prepared.items() if isinstance(value, Tensor)}
        losses = self.optimise(engine, lambda network: engine.inferer(tensors, network), lambda losses: losses["loss"])
        return {name: value.detach() for name, value in losses.items()}


@dataclass(frozen=True)
class Place:
    """The position of a batch within a gradient accumulation group.

    ``index`` counts from 0; ``size`` is the number of batches in the group, fewer in the last group of an epoch.
    """

    index: int
    size: int

    @property
    def first(self) -> bool:
        return self.index == 0

    @property
    def last(self) -> bool:
        return self.index == self.size - 1


def place_of(iteration: int, epoch_length: int | None, steps: int) -> Place:
    """The position of an iteration (counted from 1 over all epochs) with ``steps`` batches per group.

    The last group of an epoch ends with the epoch: no gradient is carried over or lost.
    """
    if epoch_length is None:
        return Place((iteration - 1) % steps, steps)
    within = (iteration - 1) % epoch_length
    start = within - within % steps
    return Place(within - start, min(steps, epoch_length - start))
