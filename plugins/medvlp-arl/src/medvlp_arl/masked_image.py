"""Masked image modelling from the visible patches and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medvlp_arl.initialisation import initialise
from medvlp_encoders.clip_block import ClipBlock
from medvlp_toolkit.model.encodings import Encodings


class PatchDecoder(nn.Module):
    """Rebuilds all patches from the visible ones: a small transformer over them and a token for the masked."""

    positions: Tensor

    def __init__(
        self, in_features: int, width: int, layers: int, heads: int, grid: tuple[int, int], prefix: int, outputs: int
    ) -> None:
        super().__init__()
        self.prefix = prefix
        self.embed = nn.Linear(in_features, width)
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(ClipBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, outputs)
        places = torch.cat([torch.zeros(prefix, width), sine_cosine_table(grid, width)])
        self.register_buffer("positions", places, persistent=False)

    def forward(self, tokens: Tensor, order: Tensor) -> Tensor:
        """(B, prefix + K, D) visible tokens and the order (B, N) in which patches are kept -> (B, N, outputs)."""
        x = self.embed(tokens)
        first, seen = x[:, : self.prefix], x[:, self.prefix :]
        hidden = order.shape[1] - seen.shape[1]
        masked = self.mask_token.to(x.dtype).expand(x.shape[0], hidden, -1)
        back = order.argsort(dim=1).unsqueeze(-1).expand(-1, -1, x.shape[-1])
        patches = torch.cat([seen, masked], dim=1).gather(1, back)
        x = torch.cat([first, patches], dim=1) + self.positions.to(x.dtype)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.predict(self.norm(x))[:, self.prefix :]
        return out


class MaskedImageModelling(nn.Module):
    """What do the masked patches show? The squared error of their normalised pixels (He et al. 2022).

    The model sees a quarter of the patches and the whole report; the decoder reads the image tokens that enter a
    middle layer of the fusion module, as in M3AE (Chen et al. 2022).

    Args:
        width: D of the fused image tokens.
        grid: patches along each axis.
        patch_size: side of a patch.
        in_channels: channels of the image to rebuild; a one-channel image is repeated to fit.
        stop_after: fusion layers that are run, published 3 of 6.
        decoder_width, decoder_layers, decoder_heads: of the decoder.
        prefix_tokens: tokens before the patches, ``num_prefix_tokens`` of the image encoder.
        knowledge: whether the report's entities are injected; False for a model without knowledge.
        init_std: of the initial weights, published 0.02; None keeps torch's own, with which narrow models learn.

    Example::

        masked_image:
          _target_: medvlp_toolkit.pretext_losses.masked_image_modelling
          width: "@fusion.width"
          grid: "$@image_encoder.grid_size((288, 288))"
          patch_size: "@image_encoder.patch_size"
    """

    def __init__(
        self,
        width: int = 768,
        grid: Sequence[int] = (18, 18),
        patch_size: int = 16,
        in_channels: int = 3,
        stop_after: int = 3,
        decoder_width: int = 384,
        decoder_layers: int = 4,
        decoder_heads: int = 6,
        prefix_tokens: int = 1,
        knowledge: bool = True,
        init_std: float | None = 0.02,
    ) -> None:
        super().__init__()
        rows, columns = (int(side) for side in grid)
        self.needs = frozenset({"image", "patch_noise", "input_ids", "attention_mask"})
        self.reads = frozenset({"image_encoder", "image_projection", "text_encoder", "text_projection", "fusion"})
        if knowledge:
            self.needs |= {"linked_entities", "linked_entity_alignment"}
            self.reads |= {"knowledge_encoder"}
        self.grid = (rows, columns)
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.stop_after = stop_after
        self.head = PatchDecoder(
            width, decoder_width, decoder_layers, decoder_heads, self.grid, prefix_tokens, in_channels * patch_size**2
        )
        initialise(self, init_std)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        predicted, masked = self.predictions(encodings)
        errors = (predicted - self.targets(encodings.batch["image"])).square().mean(dim=-1)
        return torch.where(masked, errors, 0.0).sum(), masked.sum()

    def predictions(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        """(B, N, pixels) float32 normalised pixels of every patch, and (B, N) which were masked."""
        noise = encodings.batch["patch_noise"]
        if noise.shape[1] != self.grid[0] * self.grid[1]:
            raise ValueError(
                f"patch_noise is for {noise.shape[1]} patches, and the masked-image loss for a grid of "
                f"{self.grid[0]} × {self.grid[1]}; image size, patch size and grid have to agree"
            )
        fused = encodings.fused("report", "masked", stop_after=self.stop_after, compute="image")
        order = noise.argsort(dim=1)
        seen = fused.image.shape[1] - self.head.prefix
        masked = torch.ones_like(noise, dtype=torch.bool).scatter(1, order[:, :seen], False)
        return self.head(fused.image, order).float(), masked

    def targets(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, pixels): each patch's pixels at mean 0 and variance 1, row by row, channels last."""
        image = image.float()
        if image.shape[1] == 1:
            image = image.expand(-1, self.in_channels, -1, -1)
        size, (rows, columns), side = image.shape[0], self.grid, self.patch_size
        patches = image.reshape(size, self.in_channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        pixels = patches.reshape(size, rows * columns, -1)
        variance, mean = torch.var_mean(pixels, dim=-1, keepdim=True)
        return (pixels - mean) / (variance + 1e-6).sqrt()


def sine_cosine_table(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed encodings of the places of a grid: (rows · columns, width).

    Sines and cosines of the column, then those of the row, at frequencies 10000^(-k / (width / 4)) (He et al. 2022,
    after Vaswani et al. 2017).

    Raises:
        ValueError: when the width is no multiple of four.
    """
    if width % 4:
        raise ValueError(f"sine-cosine position encodings need a width that is a multiple of 4, got {width}")
    rates = torch.exp(-math.log(10000.0) * torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    halves = []
    for place in (column, row):
        angles = place.reshape(-1, 1) * rates
        halves += [angles.sin(), angles.cos()]
    return torch.cat(halves, dim=1).float()
