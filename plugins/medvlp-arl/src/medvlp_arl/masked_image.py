"""Masked image modelling from the visible patches and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medvlp_arl.initialisation import initialise
from medvlp_encoders.clip_block import ClipBlock
from medvlp_toolkit.interfaces import Encodings, ModelParts


class PatchDecoder(nn.Module):
    """Reconstructs all patches from the visible ones, with a small transformer over these and mask tokens."""

    positions: Tensor

    def __init__(
        self, in_features: int, width: int, layers: int, heads: int, grid: tuple[int, int], outputs: int
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(in_features, width)
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(ClipBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, outputs)
        self.register_buffer("positions", sine_cosine_table(grid, width), persistent=False)

    def forward(self, tokens: Tensor, order: Tensor, prefix: int = 0) -> Tensor:
        """(B, prefix + K, D) visible tokens and the order (B, N) in which patches are kept -> (B, N, outputs)."""
        x = self.embed(tokens)
        first, seen = x[:, :prefix], x[:, prefix:]
        hidden = order.shape[1] - seen.shape[1]
        masked = self.mask_token.to(x.dtype).expand(x.shape[0], hidden, -1)
        back = order.argsort(dim=1).unsqueeze(-1).expand(-1, -1, x.shape[-1])
        patches = torch.cat([seen, masked], dim=1).gather(1, back)
        x = torch.cat([first, patches + self.positions.to(x.dtype)], dim=1)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.predict(self.norm(x))[:, prefix:]
        return out


class MaskedImageModelling(nn.Module):
    """Masked image modelling: squared error of the normalised pixels of masked patches (He et al. 2022).

    The model sees a quarter of the patches and the whole report; the decoder reads the image tokens that enter a
    middle layer of the fusion module, as in M3AE (Chen et al. 2022).

    Args:
        width: D of the fused image tokens.
        grid: patches along each axis, ``grid_size`` of the image encoder.
        image_size: side of the image, or its height and width: a patch is the image divided by the grid.
        in_channels: channels of the image to rebuild, which are those of the batch; a one-channel image is repeated to
            fit.
        stop_after: fusion layers that are run, published 3 of 6.
        decoder_width, decoder_layers, decoder_heads: of the decoder.
        knowledge: whether the report's entities are injected; False for a model without knowledge.
        init_std: of the initial weights, published 0.02; None keeps torch's own, with which narrow models learn.

    Example::

        masked_image:
          _target_: medvlp_toolkit.pretext_losses.masked_image_modelling
          width: "@fusion.width"
          grid: "$@image_encoder.grid_size((@image_size, @image_size))"
          image_size: "@image_size"
    """

    def __init__(
        self,
        width: int = 768,
        grid: Sequence[int] = (18, 18),
        image_size: int | Sequence[int] = 288,
        in_channels: int = 3,
        stop_after: int = 3,
        decoder_width: int = 384,
        decoder_layers: int = 4,
        decoder_heads: int = 6,
        knowledge: bool = True,
        init_std: float | None = 0.02,
    ) -> None:
        super().__init__()
        rows, columns = (int(side) for side in grid)
        height, breadth = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.needs = frozenset({"image", "patch_noise", "input_ids", "attention_mask"})
        self.reads = frozenset({"image_encoder", "image_projection", "text_encoder", "text_projection", "fusion"})
        if knowledge:
            self.needs |= {"linked_entities", "linked_entity_alignment"}
            self.reads |= {"knowledge_encoder"}
        self.grid = (rows, columns)
        self.image_size = (int(height), int(breadth))
        self.patch = (self.image_size[0] // rows, self.image_size[1] // columns)
        self.in_channels = in_channels
        self.stop_after = stop_after
        pixels = in_channels * self.patch[0] * self.patch[1]
        self.head = PatchDecoder(width, decoder_width, decoder_layers, decoder_heads, self.grid, pixels)
        initialise(self, init_std)

    def requires(self, model: ModelParts) -> list[str]:
        """An image encoder that supports masking, and a grid that divides the image."""
        encoder = model.image_encoder
        name = type(encoder).__name__
        if not encoder.supports_masking:
            return [f"leaves patches out, and {name} sees whole images (supports_masking is False)"]
        if any(size % number for size, number in zip(self.image_size, self.grid, strict=True)):
            return [
                f"divides the image into patches, and the grid {' × '.join(map(str, self.grid))} of {name} does not "
                f"divide {' × '.join(map(str, self.image_size))} pixels"
            ]
        return []

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
                f"{self.grid[0]} × {self.grid[1]}; both follow from the image size and the image encoder"
            )
        fused = encodings.fused("report", "masked", stop_after=self.stop_after, compute="image")
        order = noise.argsort(dim=1)
        prefix = int(encodings.model.image_encoder.num_prefix_tokens)
        seen = fused.image.shape[1] - prefix
        masked = torch.ones_like(noise, dtype=torch.bool).scatter(1, order[:, :seen], False)
        return self.head(fused.image, order, prefix).float(), masked

    def targets(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, pixels): each patch's pixels at mean 0 and variance 1, row by row, channels last."""
        image = image.float()
        if image.shape[1] == 1:
            image = image.expand(-1, self.in_channels, -1, -1)
        if image.shape[1] != self.in_channels or tuple(image.shape[2:]) != self.image_size:
            raise ValueError(
                f"the masked-image loss rebuilds images of {self.in_channels} channels and "
                f"{' × '.join(map(str, self.image_size))} pixels, and those of the batch have the shape "
                f"{tuple(image.shape[1:])}; give it the image_size and in_channels of the batch"
            )
        size, (rows, columns), (height, width) = image.shape[0], self.grid, self.patch
        patches = image.reshape(size, self.in_channels, rows, height, columns, width).permute(0, 2, 4, 3, 5, 1)
        pixels = patches.reshape(size, rows * columns, -1)
        variance, mean = torch.var_mean(pixels, dim=-1, keepdim=True)
        return (pixels - mean) / (variance + 1e-6).sqrt()


def sine_cosine_table(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed encodings of the positions of a grid: (rows · columns, width).

    Sines and cosines of the column, then those of the row, at frequencies 10000^(-k / (width / 4)) (He et al. 2022,
    after Vaswani et al. 2017).

    Raises:
        ValueError: when the width is not a multiple of four.
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
