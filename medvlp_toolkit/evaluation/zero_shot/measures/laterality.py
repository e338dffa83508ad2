"""Left against right: on which side the model takes findings to be whose side is known."""

from __future__ import annotations

from collections.abc import Sequence

from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.zero_shot.laterality import (
    Side,
    laterality_metrics,
    side_from_attention,
    side_from_positions,
    side_of_truth,
)
from medvlp_toolkit.evaluation.zero_shot.measures.measure import Measure, Outcome, ScoredBatch, ScoredSet
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies


class Laterality(Measure):
    """``laterality`` of findings with boxes or masks on one side, by position scores and by attention.

    Args:
        position_sides: side of every position, in the order of the position scores; None compares no positions.
        not_sided: labels that have no side, whatever their boxes (an enlarged heart).
    """

    def __init__(self, position_sides: Sequence[Side] | None = None, not_sided: Sequence[str] = ()) -> None:
        self.position_sides = position_sides
        self.not_sided = frozenset(not_sided)

    def begin(self, studies: EvaluatedStudies, mapper: HeatMapper) -> None:
        super().begin(studies, mapper)
        self._any = False
        #: evidence -> label, true side and side found of every finding.
        self._sides: dict[str, list[tuple[str, str, str]]] = {"position scores": [], "attention": []}

    def collect(self, batch: ScoredBatch) -> None:
        for i, _, label, q, truth in batch.annotated:
            self._any = True
            if label in self.not_sided or label in self.studies.held_out:
                continue
            side = side_of_truth(truth)
            if self.position_sides is not None and batch.position_scores is not None:
                found = side_from_positions(batch.position_scores[i : i + 1, q], self.position_sides)[0]
                self._sides["position scores"].append((label, side, str(found)))
            if batch.maps is not None:
                found = side_from_attention(batch.maps[i : i + 1, q])[0]
                self._sides["attention"].append((label, side, str(found)))

    def finish(self, scored: ScoredSet) -> Outcome:
        measured = {
            evidence: laterality_metrics([t for _, t, _ in sides], [f for _, _, f in sides], [n for n, _, _ in sides])
            for evidence, sides in self._sides.items()
            if sides
        }
        return Outcome({"laterality": measured} if self._any else {})
