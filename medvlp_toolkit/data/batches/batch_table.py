"""The table of batch keys, re-exported with the contracts by :mod:`medvlp_toolkit.interfaces`.

A batch is a dict. A loss names the keys it reads in ``needs`` and draws only what is absent. Every random choice that
changes a loss is drawn when the batch is built, from (seed, epoch, study id), so that it depends neither on the number
of ranks nor on the number of workers.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Key -> shape, type and meaning. Symbols as in :mod:`medvlp_toolkit.interfaces`.
BATCH: Mapping[str, str] = {
    "image": "(B, C, *spatial) uint8 or int16; float32 after augmentation",
    "image_scale": "(B, 2) float32: of volumes, slope and intercept: values are image × slope + intercept",
    "study_id": "list of B str",
    "patient_id": "list of B str",
    "augmentation_draws": "(B, R) float32 in [0, 1): random numbers of the device augmentation",
    "input_ids": "(B, L) int64: report tokens",
    "attention_mask": "(B, L) int64: 1 for a token, 0 for padding",
    "entity_presence": "(B, Q) int8: 1 present, 0 absent, -1 not mentioned, 2 uncertain (the last two carry no loss)",
    "entity_position_candidates": "(B, Q, K) int64: the positive position, then K-1 negatives",
    "linked_entities": "(B, M) int64: entity ids, padding -100",
    "linked_entity_alignment": "(B, M, L): 1 where an entity covers a token",
    "masked_input_ids": "(B, L) int64: report tokens, some of them masked",
    "masked_positions": "(B, K) int64: which are masked; K is static",
    "masked_labels": "(B, K) int64: the original tokens, -100 for none",
    "masked_linked_entities": "(B, M) int64: as linked_entities, without those that touch a mask",
    "masked_linked_entity_alignment": "(B, M, L): as linked_entity_alignment",
    "image_entities": "(B, E) multi-hot: alignment targets of the image",
    "text_entities": "(B, E) multi-hot: alignment targets of the report",
    "patch_noise": "(B, N) float32: the order in which patches are kept",
    "is_pair": "(B,): 1 where image and text match",
    "negative_image": (
        "(B or K, C, *spatial): the image of a mismatched pair: one per row, or only those of the K "
        "mismatched rows, in order"
    ),
    "targets": "(B, L) int8: a source's own labels, 1, 0 or -1 unknown",
    "mask": "(B, 1, H, W) uint8: 1 inside the annotated finding",
}
BATCH_KEYS = frozenset(BATCH)

#: Values of ``entity_presence``. In ``targets`` -1 is unknown, be it uncertain (-1 in a store's label columns) or null.
PRESENT, ABSENT, NOT_MENTIONED, UNCERTAIN = 1, 0, -1, 2
