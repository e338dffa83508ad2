"""The layers of ARL's fusion module: co-attention for each stream, and knowledge injection."""

from typing import Optional

from torch import Tensor, nn

from medvlp_arl.attention import EPSILON, Attention, FeedForward


class CoAttentionLayer(nn.Module):
    """Self-attention, attention to the other stream, feed-forward (METER, Dou et al. 2022).

    With ``injects`` it is ARL's text layer, which adds the entities' messages before the feed-forward network:
    LN(drop(W (a + s)) + a), where a are the tokens after attention to the image and s the sum of the entities
    that cover each token (Chen et al. 2022, section 3.3).
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float, injects: bool = False) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.cross_attention = Attention(width, heads, dropout)
        self.inject: Optional[Injection] = Injection(width, dropout) if injects else None  # noqa: UP045
        self.feed_forward = FeedForward(width, feed_forward, dropout)

    def forward(
        self,
        x: Tensor,
        source: Tensor,
        seen: Optional[Tensor],  # noqa: UP045
        other: Tensor,
        other_seen: Optional[Tensor],  # noqa: UP045
        said: Optional[Tensor] = None,  # noqa: UP045
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Update the tokens x (B, L, D) of a stream ``source`` (B, S, D), all of them or some.

        ``seen`` (B, S) and ``other_seen`` (B, O) distinguish tokens from padding in the stream and in the ``other``
        (B, O, D); ``said`` (B, L, D) is what entities add. Returns x (B, L, D) and its attention to the other
        stream (B, L, O), empty unless requested.
        """
        attended, _ = self.attention(x, source, seen, False)
        crossed, weights = self.cross_attention(attended, other, other_seen, need_weights)
        if self.inject is not None:
            crossed = self.inject(crossed, said)
        return self.feed_forward(crossed), weights


class Injection(nn.Module):
    """Adds the entities' messages to tokens; applied without entities too."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, said: Optional[Tensor]) -> Tensor:  # noqa: UP045
        """(B, L, D), (B, L, D) -> (B, L, D); the residual is the tokens before the addition."""
        total = tokens if said is None else tokens + said
        out: Tensor = self.norm(self.dropout(self.linear(total)) + tokens)
        return out


class KnowledgeLayer(nn.Module):
    """Entities attend to each other and to the image, and are added to their tokens (Chen et al. 2022, section 3.3).

    The last layer has no feed-forward network, because its entities are not used.
    """

    def __init__(
        self, width: int, knowledge_width: int, heads: int, feed_forward: int, dropout: float, last: bool
    ) -> None:
        super().__init__()
        self.attention = Attention(knowledge_width, heads, dropout)
        self.from_image = nn.Linear(width, knowledge_width)
        self.cross_attention = Attention(knowledge_width, heads, dropout)
        self.to_text = nn.Linear(knowledge_width, width)
        self.feed_forward: Optional[FeedForward] = (  # noqa: UP045
            None if last else FeedForward(knowledge_width, feed_forward, dropout)
        )

    def forward(self, entities: Tensor, present: Tensor, image: Tensor) -> Tensor:
        """(B, M, Dk), (B, M), (B, N, D) -> (B, M, Dk): entities after attention to the image."""
        among, _ = self.attention(entities, entities, present, False)
        out: Tensor = self.cross_attention(among, self.from_image(image), None, False)[0]
        return out

    def say(self, entities: Tensor, alignment: Tensor) -> Tensor:
        """(B, M, Dk), (B, M, L) -> (B, L, D): for each token, the sum of the entities that cover it."""
        injected: Tensor = self.to_text(entities)
        return alignment.to(injected.dtype).transpose(1, 2) @ injected

    def onward(self, entities: Tensor) -> Tensor:
        """(B, M, Dk) -> (B, M, Dk): the input of the next layer."""
        if self.feed_forward is not None:
            entities = self.feed_forward(entities)
        return entities
