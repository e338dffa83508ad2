"""Any vision model of the transformers library as a token encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from medvlp_encoders.traced_encoder import TracedEncoder
from medvlp_encoders.vision_models import built, configuration, cut, encoded, entries_of, loaded

#: Architectures in which patches meet only in attention, positions once added: any subset of them can be encoded.
_MASKABLE = (
    *("vit", "deit", "dinov2", "dinov2_with_registers", "clip_vision_model", "siglip_vision_model", "ijepa"),
    "vit_msn",
)


class TransformersImage(TracedEncoder):
    """A vision model of the transformers library: ViT, DeiT, DINOv2 (RAD-DINO is one), DINOv3, Swin, ConvNeXt, ResNet,
    the vision towers of CLIP and SigLIP, and others that ``AutoModel`` knows.

    Tokens are the last hidden state: class and register tokens first, then patches, or positions of the last map, row
    by row. CLIP's and ConvNeXt's final norm, which the library applies to a pooled vector, is applied to all of them.
    Images of other sizes than the model's are read with interpolated position embeddings.

    Args:
        pretrained: hub name (``facebook/dinov2-base``, ``microsoft/rad-dino``) or folder with ``config.json`` and
            weights. Of a model of images and texts, the vision tower is read. Code that comes with it is not run.
        config: instead of ``pretrained``, a ``model_type`` with entries of its configuration, to train from scratch;
            with ``pretrained``, entries to change, such as ``{drop_path_rate: 0.1}``.
        in_channels: channels of the image; None keeps the model's. 1 with ``pretrained`` sums the first convolution
            over its input channels, which gives what the repeated image gave. A one-channel image is repeated to fit.
        token_stride: of a model with stages (Swin, ConvNeXt, ResNet), the pixels between neighbouring tokens; later
            stages are left out. 16 gives 14 × 14 tokens of a 224-pixel image, where the last stage, 32, gives 7 × 7.
        weights: file with a state dict of this very encoder, such as ``medvlp import`` writes for a published tower.
        freeze: keep the weights as they are, and the encoder in evaluation mode.
        lora: train low-rank additions to the layers only (:func:`medvlp_encoders.lora.add_adapters`): ``{rank: 8}``.
        local_files_only: never access the hub.

    Raises:
        FileNotFoundError: when ``pretrained`` cannot be loaded.
        ValueError: for a configuration that the library does not have, or a model whose tokens are not on a grid.

    Example::

        image_encoder:
          _target_: medvlp_toolkit.encoders.transformers_image
          pretrained: models/dinov2-base
    """

    def __init__(
        self,
        pretrained: str | Path | None = None,
        config: Mapping[str, Any] | None = None,
        in_channels: int | None = None,
        token_stride: int | None = None,
        freeze: bool = False,
        lora: Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
        local_files_only: bool = False,
    ) -> None:
        super().__init__()
        if pretrained is None and config is None:
            raise ValueError(
                "transformers_image takes pretrained (a hub name or folder), or config (a model_type with entries of "
                "its configuration); got neither"
            )
        if pretrained is not None:
            model = loaded(pretrained, config or {}, in_channels, local_files_only)
        else:
            made = configuration(config or {})
            if in_channels is not None:
                made.num_channels = in_channels
            model = built(made)
        self._entries = entries_of(model)
        self.model = model
        self.token_stride = token_stride
        size = getattr(model.config, "image_size", 224)
        sides = (size, size) if isinstance(size, int) else tuple(size)
        masks = self._entries["model_type"] in _MASKABLE
        label = f"transformers_image ({self._entries['model_type']})"
        self.complete(label, int(getattr(model.config, "num_channels", 3)), sides, masks)
        if token_stride is not None and self._leaves_out_stages(token_stride):
            self.complete(label, self.in_channels, sides, masks)
        if masks:
            model.get_submodule("embeddings").register_forward_hook(self._after_embedding)
        self.adapt(freeze, lora, weights)

    def encode(self, image: Tensor, with_maps: bool = False) -> tuple[Tensor, list[Tensor]]:
        """One pass of the model."""
        return encoded(self.model, image, with_maps)

    def patch_sides(self) -> tuple[int, ...] | None:
        """The ``patch_size`` of the configuration."""
        side = getattr(self.model.config, "patch_size", None)
        return (side, side) if isinstance(side, int) else side and tuple(side)

    def architecture(self) -> dict[str, Any]:
        """Arguments that build the same model with other weights."""
        own = {"config": self._entries, "in_channels": self.in_channels, "token_stride": self.token_stride}
        return own | self.adaptation()

    def _leaves_out_stages(self, token_stride: int) -> bool:
        strides = list(getattr(self, "feature_strides", ()))
        if token_stride not in strides:
            has = f"strides {', '.join(map(str, strides))}" if strides else "no stages"
            raise ValueError(f"token_stride is {token_stride}, and {self.label} has {has}; leave it out")
        cut(self.model, strides.index(token_stride) + 1)
        return token_stride != strides[-1]

    def _after_embedding(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return self.kept(output, self.num_prefix_tokens)
