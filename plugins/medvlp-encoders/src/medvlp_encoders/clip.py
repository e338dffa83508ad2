"""CLIP's vision transformer as a token encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_encoders.adapting import AdaptableEncoder
from medvlp_encoders.clip_block import ClipBlock
from medvlp_encoders.clip_weights import from_state_dict, resized_positions
from medvlp_encoders.loading import from_pretrained
from medvlp_encoders.tokens import summarise
from medvlp_toolkit.hub import load_pretrained


class ClipVisionTransformer(AdaptableEncoder):
    """CLIP's vision tower (Radford et al. 2021), which normalises and returns all tokens.

    As used by ARL and METER: ViT-B/16 without its last block, the final norm on all tokens, no projection. It is
    implemented here because the tower of the transformers library cannot be scripted and does not support masking.

    Args:
        image_size: side of the square image (or both sides) of the position embeddings. For images of other sizes they
            are resampled bicubically in each pass.
        patch_size: side of a patch.
        width: channels of a token.
        layers: blocks; 11 is ViT-B/16 less its last.
        heads: attention heads; None means one per 64 channels.
        in_channels: channels of the image; a one-channel image is repeated to fit.
        pretrained: initial weights: a hub name or folder of transformers' CLIP, or a file with a state dict in
            OpenAI's layout. Blocks beyond ``layers`` are left out and positions resampled to ``image_size``.
        local_files_only: never access the hub.
        init_std: of the initial weights, published 0.02; None keeps torch's own, with which narrow models learn.
        weights: file with a state dict of this very encoder, such as ``medvlp import`` writes for a published tower.
        freeze: keep the weights as they are.
        lora: train low-rank additions to the layers only (:func:`medvlp_encoders.lora.add_adapters`): ``{rank: 8}``.

    Example::

        image_encoder:
          _target_: medvlp_toolkit.encoders.clip_vit
          image_size: 288
          pretrained: openai/clip-vit-base-patch16
    """

    supports_masking = True
    num_prefix_tokens = 1

    def __init__(
        self,
        image_size: int | Sequence[int] = 288,
        patch_size: int = 16,
        width: int = 768,
        layers: int = 11,
        heads: int | None = None,
        in_channels: int = 3,
        pretrained: str | Path | None = None,
        local_files_only: bool = False,
        init_std: float | None = 0.02,
        freeze: bool = False,
        lora: Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        sides = (image_size, image_size) if isinstance(image_size, int) else tuple(int(side) for side in image_size)
        if len(sides) != 2 or any(side % patch_size or side < patch_size for side in sides):
            raise ValueError(f"clip_vit image_size {image_size} is not two multiples of its patch_size {patch_size}")
        if layers < 1:
            raise ValueError(f"clip_vit needs at least one block, got layers={layers}")
        self.num_prefix_tokens = 1  # on the instance, because TorchScript ignores class attributes
        self.num_features = width
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.heads = heads or max(1, width // 64)
        self.rows, self.columns = sides[0] // patch_size, sides[1] // patch_size
        self.patch_embedding = nn.Conv2d(in_channels, width, patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(1 + self.rows * self.columns, width) * width**-0.5)
        self.ln_pre = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(ClipBlock(width, self.heads) for _ in range(layers))
        self.ln_post = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear) and init_std is not None:
                nn.init.normal_(module.weight, std=init_std)
                nn.init.zeros_(module.bias)
        if pretrained is not None:
            self.load_clip(_read(pretrained, local_files_only), str(pretrained))
        self.adapt(freeze, lora, weights)

    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, C, H, W) float -> (B, 1 + N, width): the class token, then patches in row-major order.

        ``keep`` (B, K) int64 are the visible patches; the result is then (B, 1 + K, width), in their order.
        """
        patches = self.patch_embedding(self._with_channels(image))
        rows, columns = patches.shape[2], patches.shape[3]
        positions = self._positions(rows, columns).to(patches.dtype)
        tokens = patches.flatten(2).transpose(1, 2) + positions[1:]
        if keep is not None:
            tokens = tokens.gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
        first = (self.class_embedding + positions[0]).to(tokens.dtype).expand(tokens.shape[0], 1, -1)
        x: Tensor = self.ln_pre(torch.cat([first, tokens], dim=1))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.ln_post(x)
        return out

    def grid_size(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Patches along each spatial axis."""
        return tuple(int(size) // self.patch_size for size in image_shape)

    @torch.jit.unused
    def architecture(self) -> dict[str, Any]:
        """Arguments that build the same tower with other weights."""
        return {
            "image_size": [self.rows * self.patch_size, self.columns * self.patch_size],
            "patch_size": self.patch_size,
            "width": self.num_features,
            "layers": len(self.blocks),
            "heads": self.heads,
            "in_channels": self.in_channels,
            **self.adaptation(),
        }

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, 1 + N, D) -> (B, D): the class token."""
        return summarise(tokens, self.num_prefix_tokens)

    @torch.jit.unused
    def load_clip(self, state: Mapping[str, Tensor], name: str = "the state dict") -> None:
        """Load the weights of a CLIP model (OpenAI's layout or transformers'), with resampled positions.

        Raises:
            ValueError: when they do not fit; lists all mismatches.
        """
        weights = from_state_dict(state)
        if "positional_embedding" in weights:
            weights["positional_embedding"] = resized_positions(
                weights["positional_embedding"], (self.rows, self.columns)
            )
        expected = self.state_dict()
        problems = [f"  {key}: missing" for key in expected if key not in weights]
        problems += [
            f"  {key}: shape {tuple(weights[key].shape)}, expected {tuple(expected[key].shape)}"
            for key in expected
            if key in weights and weights[key].shape != expected[key].shape
        ]
        if problems:
            raise ValueError(f"{len(problems)} entries of {name} do not fit clip_vit:\n" + "\n".join(problems))
        self.load_state_dict({key: weights[key] for key in expected})

    @torch.jit.unused
    def fit_positions(self, positions: Tensor) -> Tensor:
        """Position embeddings of another image size, resampled to this one, for loading a checkpoint."""
        if positions.shape == self.positional_embedding.shape:
            return positions
        return resized_positions(positions, (self.rows, self.columns))

    def _with_channels(self, image: Tensor) -> Tensor:
        if image.shape[1] == self.in_channels:
            return image
        if image.shape[1] != 1:
            raise ValueError(f"clip_vit reads {self.in_channels} channels, and the image has {image.shape[1]}")
        return image.expand(-1, self.in_channels, -1, -1)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """(1 + rows · columns, width), resampled if the image's size is not ``image_size``."""
        if rows == self.rows and columns == self.columns:
            return self.positional_embedding
        picture = self.positional_embedding[1:].t().reshape(1, -1, self.rows, self.columns)
        resized = F.interpolate(picture, size=[rows, columns], mode="bicubic", align_corners=False)
        return torch.cat([self.positional_embedding[:1], resized.flatten(2)[0].t()])


def _read(pretrained: str | Path, local_files_only: bool) -> dict[str, Tensor]:
    if Path(pretrained).expanduser().is_file():
        from medvlp_toolkit.weights.weights import read_weights

        return read_weights(Path(pretrained).expanduser(), key="state_dict")
    from transformers import CLIPVisionModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    load = partial(from_pretrained, CLIPVisionModel)
    model = load_pretrained(load, pretrained, "CLIP model", local_files_only, dtype=torch.float32)
    state: dict[str, Tensor] = model.state_dict()
    return state
