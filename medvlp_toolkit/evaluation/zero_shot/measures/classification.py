"""Zero-shot classification: metrics of every label, and of subgroups of the images."""

from __future__ import annotations

from medvlp_toolkit.evaluation.statistics.subgroups import subgroup_columns, subgroup_metrics
from medvlp_toolkit.evaluation.zero_shot.classification import tested_metrics
from medvlp_toolkit.evaluation.zero_shot.measures.measure import Measure, Outcome, ScoredSet


class Classification(Measure):
    """``zero_shot`` of labels that were trained on, with ``subgroups``, and ``zero_shot_held_out`` of those kept out.

    Where the data set has a split ``threshold_split`` besides, F1 and accuracy are also given at the thresholds that
    are best on it, next to those tuned on the evaluated images themselves.

    Args:
        min_positives: labels that fewer images show are left out of the means, and named.
    """

    def __init__(self, min_positives: int = 1) -> None:
        self.min_positives = min_positives

    def finish(self, scored: ScoredSet) -> Outcome:
        studies, tested, patients = self.studies, scored.tested, scored.patients
        metrics = {}
        for key, chosen in (("zero_shot", studies.trained), ("zero_shot_held_out", studies.held_out)):
            labels = list(chosen)
            targets, scores = scored.of_labels(labels)
            if not labels or targets is None:
                continue
            options = {"patient_id": patients, "min_positives": self.min_positives}
            metrics[key] = tested_metrics(targets, scores, labels, tested, studies.threshold_split, **options)
            names = ("sex", "age", "view", *studies.subgroups)
            divisions = subgroup_columns(studies.values(names, scored.rows[tested]))
            if divisions and key == "zero_shot":
                metrics["subgroups"] = subgroup_metrics(
                    targets[tested], scores[tested], labels, divisions, patient_id=patients
                )
        return Outcome(metrics)
