"""MONAI's classification and segmentation networks, in two or three dimensions, as token encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_encoders.loading import load_known
from medvlp_encoders.monai_layers import blocks_of, body_of, built, path_of
from medvlp_encoders.traced_encoder import TracedEncoder


class MonaiNet(TracedEncoder):
    """A network of ``monai.networks.nets`` by name: DenseNet, EfficientNet, ResNet, SENet, ViT, SwinTransformer and the
    encoder of SwinUNETR, for images and volumes.

    Tokens are the positions of the last feature map before pooling, row by row; of a ViT, its patches. Heads and
    decoders are not kept. Parameters are named as in MONAI, within ``net``.

    Args:
        name: ``DenseNet121``, ``EfficientNetBN``, ``resnet50``, ``SEResNet50``, ``ViT``, ``SwinUNETR``, …
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the image. A one-channel image is repeated to fit.
        image_size: side of the image (or all sides), which a ViT's position embeddings are made for. Of other sizes
            they are resampled in each pass.
        token_stride: pixels between neighbouring tokens; later layers are left out. None keeps all, 32 of most.
        weights: file with a state dict in MONAI's names, such as MedicalNet's or SwinUNETR's self-supervised ones;
            heads and decoders in it are not read.
        freeze: keep the weights and the batch-norm statistics as they are.
        lora: train low-rank additions to the layers only (:func:`medvlp_encoders.lora.add_adapters`): ``{rank: 8}``.
        keywords: of MONAI's network, such as ``init_features`` of a DenseNet or ``model_name: efficientnet-b3``.

    Raises:
        ValueError: for a name or keyword that MONAI does not have, or weights that do not fit.

    Example::

        image_encoder:
          _target_: medvlp_toolkit.encoders.monai_net
          name: DenseNet121
    """

    def __init__(
        self,
        name: str = "DenseNet121",
        spatial_dims: int = 2,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 224,
        token_stride: int | None = None,
        weights: str | Path | None = None,
        freeze: bool = False,
        lora: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__()
        given = [image_size] * spatial_dims if isinstance(image_size, int) else image_size
        sides = tuple(int(side) for side in given)
        if len(sides) != spatial_dims:
            raise ValueError(
                f"monai_net image_size {image_size} has {len(sides)} sides, spatial_dims is {spatial_dims}"
            )
        self.net = body_of(built(name, spatial_dims, in_channels, sides, keywords))
        self._arguments: dict[str, Any] = {
            "name": name, "spatial_dims": spatial_dims, "in_channels": in_channels, "image_size": list(sides),
            "token_stride": token_stride, **keywords,
        }  # fmt: skip
        self._path = path_of(self.net)
        self.is_vit = not self._path
        self._sides = sides
        if token_stride is not None:
            self._leave_out_layers(token_stride, name, in_channels)
        if weights is not None:
            self._load(weights, name)
        self.complete(f"monai_net ({name})", in_channels, sides, self.is_vit)
        self.adapt(freeze, lora)

    def encode(self, image: Tensor, with_maps: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Apply the layers one after another; Swin's maps are normalised, as MONAI's own pass does."""
        if self.is_vit:
            return self._tokens(image), []
        maps: list[Tensor] = []
        x = image
        for name in self._path:
            x = self.net.get_submodule(name)(x)
            if not name.endswith("padding"):
                maps.append(x)
        normalise = getattr(self.net, "proj_out", None)
        if normalise is None:
            return x, maps
        return normalise(x, True), [normalise(one, True) for one in maps] if with_maps else []

    def patch_sides(self) -> tuple[int, ...] | None:
        """Of a ViT."""
        return self._patch() if self.is_vit else None

    def architecture(self) -> dict[str, Any]:
        """Arguments that build the same network with other weights."""
        return self._arguments | self.adaptation()

    def block_names(self) -> list[tuple[str, ...]]:
        """Blocks, dense blocks with their transitions, or Swin's stages."""
        return blocks_of(self.net, self._path) or super().block_names()

    def _patch(self) -> tuple[int, ...]:  # no property: torch.jit.trace reads all of those
        given = self._arguments["patch_size"]
        return (given,) * len(self._sides) if isinstance(given, int) else tuple(given)

    def _tokens(self, image: Tensor) -> Tensor:
        net: Any = self.net
        embedding = net.patch_embedding
        patches = embedding.patch_embeddings(image)
        grid = tuple(size // side for size, side in zip(image.shape[2:], self._patch(), strict=True))
        if embedding.proj_type == "conv":
            patches = patches.flatten(2).transpose(1, 2)
        x = self.kept(embedding.dropout(patches + self._positions(grid)), 0)
        if hasattr(net, "cls_token"):
            x = torch.cat([net.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        for block in net.blocks:
            x = block(x)
        tokens: Tensor = net.norm(x)
        return tokens

    def _positions(self, grid: tuple[int, ...]) -> Tensor:
        """(1, N, D) for a grid, resampled if it is not that of ``image_size``."""
        own: Tensor = self.net.patch_embedding.position_embeddings  # type: ignore[union-attr, assignment]
        made = tuple(size // side for size, side in zip(self._sides, self._patch(), strict=True))
        if grid == made:
            return own
        picture = own.transpose(1, 2).reshape(1, own.shape[2], *made)
        mode = "bicubic" if len(grid) == 2 else "trilinear"
        return F.interpolate(picture, size=grid, mode=mode, align_corners=False).flatten(2).transpose(1, 2)

    def _leave_out_layers(self, token_stride: int, name: str, in_channels: int) -> None:
        if self.is_vit:
            raise ValueError("monai_net token_stride: a ViT has one; set its patch_size")
        self.complete(f"monai_net ({name})", in_channels, self._sides)
        layers = [index for index, one in enumerate(self._path) if not one.endswith("padding")]
        kept = {stride: layers[index] for index, _, stride in self.outline(self._usual_size).maps}
        if token_stride not in kept:
            raise ValueError(f"token_stride is {token_stride}; {name} has {', '.join(map(str, kept))}")
        dropped = self._path[kept[token_stride] + 1 :]
        self._path = self._path[: kept[token_stride] + 1]
        for path in dropped:
            if path not in self._path and not any(path.startswith(f"{one}.") for one in self._path):
                self.net.set_submodule(path, nn.Identity())
        # What is not on the path any more: transitions, heads.
        self._outlines = {}

    def _load(self, weights: str | Path, name: str) -> None:
        from medvlp_toolkit.weights.weights import read_weights

        given = read_weights(Path(weights).expanduser(), key="state_dict")
        plain = {key.removeprefix("module.").removeprefix("swinViT."): value for key, value in given.items()}
        load_known(self.net, plain, str(weights), name)
