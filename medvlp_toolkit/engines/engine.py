"""MONAI's engines with what is the same in every training here already set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import Tensor, nn


class Trainer(SupervisedTrainer):
    """MONAI's ``SupervisedTrainer`` for a network that computes its own losses.

    Batches stay whole (``decollate`` is off): the loss of a batch is of the batch.

    Args:
        max_epochs, train_data_loader, network, optimizer: as MONAI's.
        device: where; that of the network's parameters when None.
        loss_function: (output, target) -> loss; of the network's output the entry ``loss`` when None.
        iteration_update: what one iteration does, such as :class:`PretrainingStep`.
        engine: every other argument of MONAI's, such as ``inferer`` and ``train_handlers``.
    """

    def __init__(
        self,
        max_epochs: int,
        train_data_loader: Any,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device | str | None = None,
        loss_function: Callable[[Any, Any], Tensor] | None = None,
        iteration_update: Callable[[Any, Any], Any] | None = None,
        **engine: Any,
    ) -> None:
        #: What one iteration does; a checkpoint keeps its state.
        self.iteration_update = iteration_update
        super().__init__(
            device=_device(network, device),
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=_own_loss if loss_function is None else loss_function,
            iteration_update=iteration_update,
            **{"decollate": False, **engine},
        )


class Evaluator(SupervisedEvaluator):
    """MONAI's ``SupervisedEvaluator`` on whole batches; the network is moved to the device.

    Args:
        val_data_loader, network: as MONAI's.
        device: where; that of the network's parameters when None.
        engine: every other argument of MONAI's, such as ``iteration_update``, ``key_val_metric`` and ``val_handlers``.
    """

    def __init__(
        self, val_data_loader: Any, network: nn.Module, device: torch.device | str | None = None, **engine: Any
    ) -> None:
        place = _device(network, device)
        super().__init__(
            device=place, val_data_loader=val_data_loader, network=network.to(place), **{"decollate": False, **engine}
        )


def _device(network: nn.Module, device: torch.device | str | None) -> torch.device:
    if device is not None:
        return torch.device(device)
    parameter = next(network.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _own_loss(output: Any, target: Any) -> Tensor:
    loss: Tensor = output["loss"]
    return loss
