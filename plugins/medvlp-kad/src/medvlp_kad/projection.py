"""The map of KAD's text features to the shared width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from medvlp_toolkit.weights.weights import NONE, load_weights

#: What stage 1 writes beside the text model.
PROJECTION_FILE = "text_projection.safetensors"


class TextProjection(nn.Sequential):
    """(…, in_features) -> (…, width): BERT's pooling layer and the knowledge encoder's two-layer map.

    Zhang et al. 2023, Methods. The pooling layer reads one token, so that it may be applied to each: the class token's
    row is the text's feature. The two linears after it start normal with standard deviation width ** -0.5.

    Args:
        in_features, width: of the text encoder and of the shared space.
        pretrained: folder that stage 1 wrote (``knowledge.yaml``); None starts at random.

    Raises:
        FileNotFoundError: when the folder has no trained projection.
    """

    def __init__(self, in_features: int = 768, width: int = 768, pretrained: str | Path | None = None) -> None:
        hidden, out = nn.Linear(in_features, width), nn.Linear(width, width)
        for linear in (hidden, out):
            nn.init.normal_(linear.weight, std=width**-0.5)
        super().__init__(nn.Linear(in_features, in_features), nn.Tanh(), hidden, nn.GELU(), out)
        self._sizes = {"in_features": in_features, "width": width}
        if pretrained in NONE:
            return
        file = Path(str(pretrained)) / PROJECTION_FILE
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} does not exist; train it with knowledge.yaml, or set text_projection::pretrained to null"
            )
        load_weights(self, file)

    def architecture(self) -> dict[str, Any]:
        """Arguments that build the same map with other weights."""
        return dict(self._sizes)
