"""Any image model of the library timm as a token encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from medvlp_encoders.loading import load_known
from medvlp_encoders.traced_encoder import TracedEncoder


class TimmModel(TracedEncoder):
    """A model of timm (Wightman 2019) by name; needs ``pip install 'medvlp-encoders[timm]'``, which needs torchvision.

    Tokens are what ``forward_features`` gives: class and register tokens and patches, or the positions of the last map,
    row by row. Models with stages also give their feature maps, through timm's own feature extraction.

    Args:
        name: such as ``convnext_tiny`` or ``vit_small_patch14_dinov2``; ``hf-hub:owner/model`` reads the hub.
        pretrained: let timm download the weights of the name; a file of them is ``weights_file``.
        weights_file: file with a state dict in timm's names, instead of ``pretrained``; its classifier is not read.
        in_channels: channels of the image; timm adapts the first convolution of pre-trained weights to them. A
            one-channel image is repeated to fit.
        image_size: side of the square image, which position embeddings are made for; other sizes are read where the
            model allows it (``dynamic_img_size``).
        freeze: keep the weights and the batch-norm statistics as they are.
        lora: train low-rank additions to the layers only (:func:`medvlp_encoders.lora.add_adapters`): ``{rank: 8}``.
        keywords: of timm's ``create_model``.

    Raises:
        ValueError: when timm or the name is missing, or the weights do not fit.

    Example::

        image_encoder:
          _target_: medvlp_toolkit.encoders.timm_model
          name: convnext_tiny
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        weights_file: str | Path | None = None,
        in_channels: int = 3,
        image_size: int = 224,
        freeze: bool = False,
        lora: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__()
        self._arguments = {"name": name, "in_channels": in_channels, "image_size": image_size, **keywords}
        self.net = _created(name, pretrained, in_channels, image_size, keywords)
        if weights_file is not None:
            from medvlp_toolkit.weights.weights import read_weights

            file = Path(weights_file).expanduser()
            load_known(self.net, read_weights(file, key="state_dict"), str(file), name)
        self.complete(f"timm_model ({name})", in_channels, (image_size, image_size))
        self.adapt(freeze, lora)

    def encode(self, image: Tensor, with_maps: bool = False) -> tuple[Tensor, list[Tensor]]:
        """The features before pooling, and the maps of all stages if requested."""
        net: Any = self.net
        last: Tensor = net.forward_features(image)
        last = self._channels_first(last)
        if not with_maps or last.ndim == 3 or not hasattr(net, "forward_intermediates"):
            return last, []
        maps: list[Tensor] = net.forward_intermediates(image, intermediates_only=True, output_fmt="NCHW")
        return last, maps

    def patch_sides(self) -> tuple[int, ...] | None:
        """Of a vision transformer."""
        embedding: Any = getattr(self.net, "patch_embed", None)
        side = getattr(embedding, "patch_size", None)
        return (side, side) if isinstance(side, int) else side and tuple(int(one) for one in side)

    def architecture(self) -> dict[str, Any]:
        """Arguments that build the same model with other weights."""
        return self._arguments | self.adaptation()

    def block_names(self) -> list[tuple[str, ...]]:
        """Blocks of a transformer, stages of a convolutional network."""
        for name in ("blocks", "stages", "layers"):
            found = getattr(self.net, name, None)
            if isinstance(found, nn.Sequential | nn.ModuleList) and len(found) > 1:
                return [(f"net.{name}.{number}",) for number in range(len(found))]
        staged = [name for name, _ in self.net.named_children() if name.startswith("layer") and name[5:].isdigit()]
        return [(f"net.{name}",) for name in staged] or super().block_names()

    def _channels_first(self, features: Tensor) -> Tensor:
        """timm's Swin gives (B, H, W, D)."""
        width = int(self.net.num_features)  # type: ignore[arg-type]
        if features.ndim == 4 and features.shape[1] != width and features.shape[3] == width:
            return features.movedim(-1, 1)
        return features


def _created(name: str, pretrained: bool, in_channels: int, image_size: int, keywords: Mapping[str, Any]) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ValueError(
            f"timm_model needs timm and torchvision ({error}): pip install 'medvlp-encoders[timm]'; "
            "transformers_image and monai_net need neither"
        ) from None
    given = {"pretrained": pretrained, "in_chans": in_channels, "num_classes": 0, **keywords}
    attempts: list[dict[str, Any]] = [
        {**given, "img_size": image_size, "dynamic_img_size": True},
        {**given, "img_size": image_size},
        given,
    ]
    for arguments in attempts:
        try:
            made: nn.Module = timm.create_model(name, **arguments)
            return made
        except TypeError:  # convolutional networks do not know img_size
            continue
        except RuntimeError as error:
            raise ValueError(f"timm_model: {name} cannot be built: {str(error).splitlines()[0]}") from error
    raise ValueError(f"timm_model: {name} does not take {', '.join(keywords)}")
