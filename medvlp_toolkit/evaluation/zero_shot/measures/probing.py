"""The probes of a :class:`~medvlp_toolkit.evaluation.ProbingStep`, measured."""

from __future__ import annotations

from collections.abc import Sequence

from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap
from medvlp_toolkit.evaluation.zero_shot.laterality import Side, side_of_truth
from medvlp_toolkit.evaluation.zero_shot.measures.measure import Measure, Outcome, ScoredBatch, ScoredSet
from medvlp_toolkit.evaluation.zero_shot.probing import ProbeCollection, Probes
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies


class Probing(Measure):
    """``probes`` of the labels that were trained on.

    Args:
        probes: what the step asks, a :class:`~medvlp_toolkit.evaluation.ProbingStep`.
        position_sides, not_sided: see :class:`~medvlp_toolkit.evaluation.Laterality`.
    """

    def __init__(
        self, probes: Probes, position_sides: Sequence[Side] | None = None, not_sided: Sequence[str] = ()
    ) -> None:
        self.probes, self.position_sides = probes, position_sides
        self.not_sided = frozenset(not_sided)

    def begin(self, studies: EvaluatedStudies, mapper: HeatMapper) -> None:
        super().begin(studies, mapper)
        self._collection = ProbeCollection(self.probes, studies.entities, studies.trained, mapper, self.position_sides)

    def collect(self, batch: ScoredBatch) -> None:
        self._collection.collect(batch.output, self._side)

    def _side(self, row: int, label: str) -> Side:
        """The one side on which a finding is; ``none`` where it has none or nothing says."""
        counts = self.studies.is_evaluated(row) and label not in self.not_sided
        truth = self.studies.truth(row, label) if counts else None
        return "none" if truth is None else side_of_truth(truth)

    def finish(self, scored: ScoredSet) -> Outcome:
        targets, _ = scored.of_labels(self._collection.labels)
        if targets is None:
            return Outcome()
        patient_of = PatientBootstrap(scored.patients, int(scored.tested.sum())).patient_of
        return Outcome({"probes": self._collection.measure(targets[scored.tested], scored.tested, patient_of)})
