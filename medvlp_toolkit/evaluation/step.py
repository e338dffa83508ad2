"""The base step of all evaluators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.engines.utils import IterationEvents

from medvlp_toolkit.engines.device import Precision, autocast, check_precision, exact_float32, to_device
from medvlp_toolkit.engines.step import Transform


class EvaluationStep:
    """Runs a network on one batch, without gradients and without TensorFloat-32; subclasses implement :meth:`predict`.

    Given to an :class:`~medvlp_toolkit.engines.Evaluator` as ``iteration_update``.

    Args:
        transform: maps the stored batch to the network's input, on the device.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """

    def __init__(self, transform: Transform, precision: Precision = "fp32") -> None:
        check_precision(precision)
        self.transform = transform
        self.precision: Precision = precision

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        output = self.compute(engine, batch)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return output

    @torch.no_grad()
    @exact_float32()
    def compute(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The output for a batch, without engine events."""
        prepared = self.transform(to_device(batch, engine.state.device))
        engine.network.eval()
        with autocast(engine.state.device, self.precision):
            return self.predict(engine, batch, prepared)

    def predict(self, engine: Any, batch: Mapping[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
        """Return the engine's output for a stored batch and its transformed batch; runs in ``precision``."""
        raise NotImplementedError
