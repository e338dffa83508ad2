"""A fusion module whose attention is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp_toolkit.interfaces import FusionOutput, Knowledge

#: Row and column of the patch that every query looks at, of 4 × 4; on the right of the picture, the patient's left.
PLACE = (1, 3)


class PlantedAttention(nn.Module):
    """Half of the attention on the very first token, the rest on the patch at :data:`PLACE` of the last 4 × 4."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.mixed = nn.Linear(2 * width, width)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        text_mask: Tensor | None = None,
        knowledge: Knowledge | None = None,
        stop_after: int = -1,
        need_attention: bool = False,
    ) -> FusionOutput:
        looked = image.mean(dim=1, keepdim=True).expand(-1, text.shape[1], -1)
        features = text + self.mixed(torch.cat([text, looked], dim=-1))
        if not need_attention:
            return FusionOutput(image, features, None, None)
        attention = torch.zeros(*text.shape[:2], image.shape[1], device=image.device)
        attention[..., 0] += 0.5
        attention[..., image.shape[1] - 16 + 4 * PLACE[0] + PLACE[1]] += 0.5
        return FusionOutput(image, features, None, attention.unsqueeze(1))
