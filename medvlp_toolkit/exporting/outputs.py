"""What an exported network gives, by name: probabilities, and where it looked for each of them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: Names of the input and of the outputs, in their order.
INPUT = "image"
PROBABILITY, ATTENTION = "probability", "attention"


class Probabilities(nn.Module):
    """``probability`` (B, Q) of a network that gives no attention."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"probability": self.network(image)}


class ProbabilitiesAndAttention(nn.Module):
    """``probability`` (B, Q) and ``attention`` (B, Q, *grid), each map summing to 1 over the patches.

    Args:
        network: with ``attend`` (:class:`~medvlp_toolkit.interfaces.GivesAttention`).
        layers: of the fusion module; attention is averaged over them.
        grid: patches along each spatial axis.
        prefix: tokens before the patches, left out.
    """

    layers: Tensor  # TorchScript reads this annotation: it may not be a string

    def __init__(self, network: nn.Module, layers: Sequence[int], grid: Sequence[int], prefix: int) -> None:
        super().__init__()
        self.network = network
        self.grid = [int(side) for side in grid]
        self.prefix = prefix
        self.register_buffer("layers", torch.tensor(list(layers)), persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        probability, attention = self.network.attend(image)  # type: ignore[operator]
        assert attention is not None
        maps = attention.float().index_select(1, self.layers).mean(dim=1)[..., self.prefix :]
        if self.prefix > 0:
            maps = maps / maps.sum(dim=-1, keepdim=True).clamp(min=1e-30)
        return {"probability": probability, "attention": maps.unflatten(-1, self.grid)}
