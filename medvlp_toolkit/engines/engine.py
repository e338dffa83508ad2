"""MONAI's engines with the settings that all training here shares."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import Tensor, nn


class Trainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer`` for a network that computes its own losses.

    Batches are not decollated: a loss is computed over the whole batch.

    Args:
        network: to train.
        device: device to train on; the network's when None.
        loss_function: (output, target) -> loss; when None, the entry ``loss`` of the network's output.
        iteration_update: the work of one iteration, such as :class:`PretrainingStep`.
        engine: further arguments of MONAI's class: ``max_epochs``, ``train_data_loader``, ``optimizer``, ``inferer`` …
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device | str | None = None,
        loss_function: Callable[[Any, Any], Tensor] | None = None,
        iteration_update: Callable[[Any, Any], Any] | None = None,
        **engine: Any,
    ) -> None:
        #: The work of one iteration; its state is saved in checkpoints.
        self.iteration_update = iteration_update
        engine = {"decollate": False, "loss_function": loss_function or _own_loss, **engine}
        super().__init__(_device(network, device), network=network, iteration_update=iteration_update, **engine)


class Evaluator(SupervisedEvaluator):
    """MONAI's ``SupervisedEvaluator`` on whole batches; the network is moved to the device.

    Args:
        network: to evaluate.
        device: device to evaluate on; the network's when None.
        engine: further arguments of MONAI's class: ``val_data_loader``, ``iteration_update``, ``key_val_metric`` …
    """

    def __init__(self, network: nn.Module, device: torch.device | str | None = None, **engine: Any) -> None:
        place = _device(network, device)
        super().__init__(place, network=network.to(place), **{"decollate": False, **engine})


def _signature(monai: type, **defaults: Any) -> inspect.Signature:
    """The signature of MONAI's class with these defaults, used to check configurations."""
    parameters = inspect.signature(monai).parameters.values()
    own = [p.replace(kind=p.KEYWORD_ONLY, default=defaults.get(p.name, p.default)) for p in parameters]
    return inspect.Signature(own)


Trainer.__signature__ = _signature(  # type: ignore[attr-defined]
    SupervisedTrainer, device=None, loss_function=None, decollate=False
)
Evaluator.__signature__ = _signature(SupervisedEvaluator, device=None, decollate=False)  # type: ignore[attr-defined]


def _device(network: nn.Module, device: torch.device | str | None) -> torch.device:
    if device is not None:
        return torch.device(device)
    parameter = next(network.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _own_loss(output: Any, target: Any) -> Tensor:
    loss: Tensor = output["loss"]
    return loss
