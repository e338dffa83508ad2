"""Figures of pretext tasks, and what they are without learning."""

from __future__ import annotations

from collections.abc import Mapping


def without_learning(task: Mapping[str, float], name: str) -> float | None:
    """What guessing gives for one of a task's figures: chance for an area under the curve, else ``…_floor``.

    A loss beside an accuracy of its name has none: the floor of both's name is the accuracy's.
    """
    if name.endswith("_auc"):
        return 0.5
    if f"{name}_accuracy" in task:
        return None
    return task.get(f"{name}_floor", task.get(f"{name.removesuffix('_accuracy')}_floor"))
