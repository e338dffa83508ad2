"""ARL's fusion module: co-attention of image and text, with knowledge injected into the text."""

from typing import Optional

import torch
from torch import Tensor, nn

from medvlp_arl.co_attention import CoAttentionLayer, KnowledgeLayer
from medvlp_arl.initialisation import initialise
from medvlp_toolkit.interfaces import FusionOutput, Knowledge

#: Values of ``compute`` in :meth:`KnowledgeCoAttention.forward`.
PARTS = ("all", "text", "image", "pooled", "published")


class KnowledgeCoAttention(nn.Module):
    """ARL's fusion module (Chen et al. 2022, section 3.3): co-attention layers into which entities are injected.

    Every layer updates text, image and entities from their state before it. Image and text attend to themselves
    and to each other; entities attend to themselves and to the image and are added to the tokens that they cover.
    Without ``knowledge`` it is the co-attention of METER (Dou et al. 2022) and M3AE (Chen et al. 2022).

    Args:
        width: D of image and text tokens.
        layers, heads, feed_forward, dropout: of both streams; ``feed_forward`` None is four times the width.
        knowledge: False removes the entities' layers.
        knowledge_width, knowledge_heads, knowledge_feed_forward: of the entities.
        init_std: of the initial weights, published 0.02; None keeps torch's own, with which narrow models learn.

    ``pooled`` (B, 2 D) are the first text and the first image token after a map and a hyperbolic tangent; None
    when the last layer is not run. ``attention`` (B, layers, L, N) is each text token's over the image tokens.

    Example::

        fusion:
          _target_: medvlp_toolkit.fusion_modules.knowledge_co_attention
          width: 768
          layers: 6
    """

    #: ``forward`` takes ``compute`` and skips unused outputs.
    computes_parts = True

    def __init__(
        self,
        width: int = 768,
        layers: int = 6,
        heads: int = 12,
        feed_forward: int | None = None,
        dropout: float = 0.1,
        knowledge: bool = True,
        knowledge_width: int = 256,
        knowledge_heads: int = 4,
        knowledge_feed_forward: int = 1024,
        init_std: float | None = 0.02,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"knowledge_co_attention needs at least one layer, got layers={layers}")
        hidden = feed_forward or 4 * width
        self.width = width
        self.pooled_width = 2 * width
        self.reads_knowledge = knowledge
        self.depth = layers
        self.text_layers = nn.ModuleList(
            CoAttentionLayer(width, heads, hidden, dropout, injects=knowledge) for _ in range(layers)
        )
        self.image_layers = nn.ModuleList(CoAttentionLayer(width, heads, hidden, dropout) for _ in range(layers))
        self.knowledge_layers = nn.ModuleList(
            KnowledgeLayer(
                width, knowledge_width, knowledge_heads, knowledge_feed_forward, dropout, last=number == layers - 1
            )
            for number in range(layers if knowledge else 0)
        )
        self.text_pooler = nn.Linear(width, width)
        self.image_pooler = nn.Linear(width, width)
        initialise(self, init_std)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        text_mask: Optional[Tensor] = None,  # noqa: UP045 - TorchScript
        knowledge: Optional[Knowledge] = None,  # noqa: UP045
        stop_after: int = -1,
        need_attention: bool = False,
        compute: str = "all",
    ) -> FusionOutput:
        """See :class:`medvlp_toolkit.interfaces.FusionModule`.

        Args:
            stop_after: n >= 0 returns the input features of layer n, and runs only the layers before it.
            compute: the part of the output that will be used: ``all``, or only ``text``, ``image`` or ``pooled``; the
                last layer then computes only this part, and the rest of the output is undefined. ``published`` computes
                all layers and both poolers, used or not.
        """
        depth = self.depth if stop_after < 0 or stop_after > self.depth else stop_after
        runs = self.depth if compute == "published" else depth
        entities, present, alignment = self.entities_of(knowledge, text)
        seen_image, seen_text = image, text
        attention: list[Tensor] = []
        for number, (text_layer, image_layer) in enumerate(zip(self.text_layers, self.image_layers)):  # noqa: B905
            if number < runs:
                final = number == runs - 1
                first_only = final and compute == "pooled"
                x = text[:, :1] if first_only else text
                y = image[:, :1] if first_only else image
                if not (final and compute == "image"):
                    said: Optional[Tensor] = None  # noqa: UP045
                    if alignment is not None:
                        for at, knowledge_layer in enumerate(self.knowledge_layers):
                            if at == number:
                                informed: Tensor = knowledge_layer(entities, present, image)
                                covers = alignment[:, :, :1] if first_only else alignment
                                said = knowledge_layer.say(informed, covers)  # type: ignore[operator]
                                if not final:
                                    entities = knowledge_layer.onward(informed)  # type: ignore[operator]
                    x, weights = text_layer(x, text, text_mask, image, None, said, need_attention)
                    attention.append(weights)
                if not (final and compute == "text"):
                    y = image_layer(y, image, None, text, text_mask)[0]
                text, image = x, y
                if number == depth - 1:
                    seen_text, seen_image = text, image
        pooled: Optional[Tensor] = None  # noqa: UP045
        if runs == self.depth and (compute == "all" or compute == "pooled" or compute == "published"):
            pooled = torch.cat([self.text_pooler(text[:, 0]).tanh(), self.image_pooler(image[:, 0]).tanh()], dim=-1)
        stacked: Optional[Tensor] = None  # noqa: UP045
        if need_attention and len(attention) > 0:
            stacked = torch.stack(attention, dim=1)
        return FusionOutput(seen_image, seen_text, pooled if depth == self.depth else None, stacked)

    def entities_of(
        self,
        knowledge: Optional[Knowledge],  # noqa: UP045
        text: Tensor,
    ) -> tuple[Tensor, Tensor, Optional[Tensor]]:  # noqa: UP045
        """Embeddings, which of them are present, and the tokens they cover; the last is None without injection."""
        if knowledge is None or not self.reads_knowledge:
            return text, text, None
        return knowledge.embeddings, knowledge.mask, knowledge.alignment
