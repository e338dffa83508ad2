"""Ids of training configurations in the first layout, and their replacements."""

from __future__ import annotations

from medvlp_toolkit.verification.composition import SEPARATOR

#: The id that replaced most of them.
HOME = "training"
_WITHOUT = f"is part of {HOME}; {HOME}::without leaves it out"

#: Old id -> its replacement.
MOVED_IDS: dict[str, str] = {
    "best_checkpoint": f"set {HOME}::weights or {HOME}::lower_is_better",
    "checkpointing": "set checkpoint_every, keep_checkpoints or resume",
    "early_stop": "set patience",
    "is_first_rank": "set distributed: true for several processes; ranks are detected",
    "non_finite_guard": f"it {_WITHOUT}",
    "placed_model": "it is network before its wrapping; set network::activation_checkpointing or the like",
    "state": f"set {HOME}::state",
    "store_guard": f"it {_WITHOUT}",
}


def instead_of(id_: str) -> str:
    """The replacement of an id of the first layout; empty for any other id."""
    return MOVED_IDS.get(id_.partition(SEPARATOR)[0], "")
