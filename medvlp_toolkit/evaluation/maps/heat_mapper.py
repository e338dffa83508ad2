"""The heat maps of a network, with the geometry that its image encoder reports."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.evaluation.maps.heat_maps import attention_maps
from medvlp_toolkit.interfaces import GivesAttention, ShiftsTokens

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)


class HeatMapper:
    """Attention over a network's image tokens as maps over the image.

    The number of prefix tokens, the grid of the patches and the shift of their receptive fields are taken from the
    network's ``image_encoder``.

    Args:
        network: with an ``image_encoder``.
        layers: one layer of the fusion module, several to average, or None for all (as published); negative from the
            end.
        grid: tokens along each spatial axis, instead of the encoder's own grid.
        what: what will be omitted if there is no attention, for the log line.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: int | Sequence[int] | None = None,
        grid: Sequence[int] | None = None,
        what: str = "heat maps",
    ) -> None:
        self.network, self.layers, self.what = network, layers, what
        self.grid = None if grid is None else tuple(grid)
        self._explained = False

    @property
    def encoder(self) -> Any:
        encoder = getattr(self.network, "image_encoder", None)
        if encoder is None:
            name = type(self.network).__name__
            raise ValueError(f"{name} has no `image_encoder`, which defines the token grid; {self.what} need one")
        return encoder

    @property
    def shift(self) -> tuple[float, ...]:
        """Offset of receptive fields within their cells (:func:`~medvlp_toolkit.evaluation.upsample`)."""
        encoder = self.encoder
        return tuple(encoder.token_shift()) if isinstance(encoder, ShiftsTokens) else ()

    def maps(self, output: Mapping[str, Any]) -> NDArray[np.float32] | None:
        """Maps of a step's output with ``attention`` and ``image_shape``; see :meth:`on_grid`.

        None if there is no attention, with one log line for all batches.
        """
        attention = output.get("attention")
        if attention is not None:
            return self.on_grid(attention, output["image_shape"])
        if not self._explained:
            self._explained = True
            logger.warning("%s are left out: %s", self.what, self.why_none(asked="attention" in output))
        return None

    def on_grid(self, attention: Tensor, image_shape: Sequence[int]) -> NDArray[np.float32]:
        """(B, layers, Q, N) attention over the tokens of images (*spatial) -> (B, Q, *grid), each map summing to 1.

        Attention to prefix tokens is removed and the rest renormalised.

        Raises:
            ValueError: for a grid that does not fit the tokens, or a layer that does not exist.
        """
        encoder = self.encoder
        prefix = int(encoder.num_prefix_tokens)
        own = tuple(encoder.grid_size(tuple(image_shape)))
        if self.grid is not None and attention.shape[-1] - prefix != np.prod(self.grid):
            given, expected = ("×".join(map(str, grid)) for grid in (self.grid, own))
            raise ValueError(
                f"grid is {given}, and the image encoder gives {attention.shape[-1] - prefix} patches on a grid of "
                f"{expected}; set grid to null to use the encoder's"
            )
        maps = attention_maps(attention.float(), self.grid or own, self.layers, prefix)
        if not prefix:
            return maps
        total = maps.sum(axis=tuple(range(2, maps.ndim)), keepdims=True)
        return np.divide(maps, total, out=maps, where=total > 0)

    def why_none(self, asked: bool = True) -> str:
        """The reason why there is no attention."""
        if not asked and isinstance(self.network, GivesAttention):
            return "the step does not request attention (need_attention)"
        # The part that should return it, if the network has one.
        return f"{type(getattr(self.network, 'fusion', self.network)).__name__} gives no attention"
