"""What every encoder of this package can be asked for: to stay as it is (``freeze``), or to learn little (``lora``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from medvlp_encoders.tokens import summarise


class AdaptableEncoder(nn.Module):
    """Base of the encoders: can be frozen, adapted by LoRA, and trained with a learning rate for each depth.

    A frozen encoder has no gradients, and stays in evaluation mode while the rest of the model trains: its batch norms
    keep their statistics, and nothing is dropped out. One with LoRA keeps weights and statistics too, and trains
    low-rank additions to its layers (:mod:`medvlp_encoders.lora`).
    """

    if TYPE_CHECKING:  # TorchScript reads annotations of classes, and not those of postponed evaluation
        num_prefix_tokens: int

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False
        self.has_adapters = False

    def adapt(self, freeze: bool, lora: Mapping[str, Any] | None = None, weights: str | Path | None = None) -> None:
        """Load weights, freeze the encoder or add adapters, if asked to; the last call of a constructor.

        Args:
            weights: file with a state dict of the encoder, before adapters are added.
            lora: ``rank`` and other arguments of :func:`medvlp_encoders.lora.add_adapters`; ``{}`` for its defaults.

        Raises:
            ValueError: when both are asked for, or the layers cannot be adapted.
        """
        if freeze and lora is not None:
            raise ValueError("freeze and lora exclude one another: lora keeps the weights and trains its additions")
        if weights is not None:
            from medvlp_toolkit.weights.weights import load_weights

            load_weights(self, Path(weights).expanduser())
        self.lora = None if lora is None else dict(lora)
        if lora is not None:
            from medvlp_encoders.lora import add_adapters

            add_adapters(self, **lora)
            self.has_adapters = True
        if freeze:
            self.frozen = True
            self.requires_grad_(False)
            self.eval()

    def train(self, mode: bool = True) -> AdaptableEncoder:
        """Training mode, but not of a frozen encoder, nor of the batch norms of one with adapters."""
        super().train(mode and not self.frozen)
        if mode and self.has_adapters:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def merge_adapters(self) -> None:
        """Add the adapters to the weights, after which the encoder is one without them, for export."""
        if self.has_adapters:
            from medvlp_encoders.lora import merge_adapters

            merge_adapters(self)
            self.has_adapters, self.lora = False, None

    def adaptation(self) -> dict[str, Any]:
        """The part of ``architecture()`` that says which adapters the state dict holds."""
        return {"lora": self.lora} if self.has_adapters else {}

    def block_names(self) -> list[tuple[str, ...]]:
        """Prefixes of the parameters of each block, from input to output: its depths for layer-wise learning rates.

        What comes before the first block, as embeddings and stems, is depth 0; what comes after the last one has the
        rate of the rest of the model. Here: the items of the outermost list of modules.
        """
        return outermost_blocks(self)

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, D): the first prefix token, else the mean over positions."""
        return summarise(tokens, self.num_prefix_tokens)


def outermost_blocks(encoder: nn.Module) -> list[tuple[str, ...]]:
    """The items of the longest list of modules that is in no other; empty if there is none."""
    lists: dict[str, nn.ModuleList] = {}
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in lists):
            lists[name] = module
    if not lists:
        return []
    name = max(lists, key=lambda one: len(lists[one]))
    return [(f"{name}.{number}",) for number in range(len(lists[name]))]
