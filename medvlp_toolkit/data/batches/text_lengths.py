"""Trims report tokens to a few fixed lengths: short batches are faster, and a compiled step sees few shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Keys of a batch whose last axis runs over report tokens.
OVER_TOKENS = (
    "input_ids",
    "attention_mask",
    "masked_input_ids",
    "linked_entity_alignment",
    "masked_linked_entity_alignment",
)


class FixedLengths:
    """Trims a batch's padding to the shortest of the given lengths that fits its longest report.

    Args:
        lengths: numbers of tokens; reports longer than all of these keep their length. Nothing is trimmed if empty.
    """

    def __init__(self, lengths: Sequence[int] = ()) -> None:
        if any(length < 1 for length in lengths):
            raise ValueError(f"text lengths are {list(lengths)}; expected lengths of 1 token or more")
        self.lengths = sorted(lengths)

    def __call__(self, batch: Any) -> Any:
        if not self.lengths or "attention_mask" not in batch:
            return batch
        longest = int(batch["attention_mask"].sum(dim=1).max())
        length = next((length for length in self.lengths if length >= longest), None)
        if length is None or length >= batch["attention_mask"].shape[1]:
            return batch
        # Contiguous, because a view would transfer the padding to the device.
        return {key: value[..., :length].contiguous() if key in OVER_TOKENS else value for key, value in batch.items()}
