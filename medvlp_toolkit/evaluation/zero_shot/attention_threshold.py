"""The threshold of attention that MedKLIP's published grounding uses, for any number of tokens."""

from __future__ import annotations

#: A token is attended when it holds more than this share of the attention …
PUBLISHED_THRESHOLD = 0.008
#: … spread over this many tokens (14 × 14).
PUBLISHED_TOKENS = 196


def in_multiples(threshold: float) -> float:
    """A threshold at the published number of tokens, in multiples of even attention."""
    return threshold * PUBLISHED_TOKENS


#: The published threshold in multiples of even attention (1 / tokens): 1.568.
PUBLISHED_MULTIPLE = in_multiples(PUBLISHED_THRESHOLD)


def attention_threshold(tokens: int, threshold: float = PUBLISHED_THRESHOLD) -> float:
    """The published threshold for any grid size: the same multiple of even attention.

    Attention sums to 1, so that a token of a finer grid holds less of it: threshold · 196 / tokens.
    """
    return in_multiples(threshold) / tokens
