"""Which batches of an epoch make one optimisation step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A batch among those whose gradients are added up before the optimiser steps.

    ``index`` counts from 0; ``size`` is how many there are, fewer in the last group of an epoch.
    """

    index: int
    size: int

    @property
    def first(self) -> bool:
        return self.index == 0

    @property
    def last(self) -> bool:
        return self.index == self.size - 1


def place_of(iteration: int, epoch_length: int | None, steps: int) -> Place:
    """The place of an iteration (counted from 1 over all epochs) with ``steps`` batches a group.

    The last group of an epoch ends with the epoch: no gradient is carried over or lost.
    """
    if epoch_length is None:
        return Place((iteration - 1) % steps, steps)
    within = (iteration - 1) % epoch_length
    start = within - within % steps
    return Place(within - start, min(steps, epoch_length - start))
