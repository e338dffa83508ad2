"""Results folders made up of random scores, small pictures and invented sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvlp_toolkit.data.records import Finding, Presence
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.evaluation.results.run_record import run_record
from medvlp_toolkit.evaluation.statistics.subgroups import subgroup_metrics
from medvlp_toolkit.evaluation.zero_shot.cases import Case, case_table
from medvlp_toolkit.evaluation.zero_shot.classification import classification_metrics, score_table
from medvlp_toolkit.evaluation.zero_shot.grounding import GroundingCase, grounding_metrics
from medvlp_toolkit.evaluation.zero_shot.laterality import laterality_metrics

LABELS = ["effusion", "pleural_thickening", "hernia"]
REPORT = "Heart size is normal. Small left effusion <b>&</b> no nodule.\nNo effusion on the right."


def finding(entity: str, words: str, presence: Presence, after: int = 0) -> Finding:
    start = REPORT.index(words, after)
    return Finding(entity, presence, None, (start, start + len(words)))


def cases(rng: np.random.Generator) -> list[Case]:
    findings = [
        finding("effusion", "effusion", Presence.PRESENT),
        finding("nodule", "nodule", Presence.ABSENT),
        finding("effusion", "effusion", Presence.ABSENT, after=REPORT.index("No effusion")),
    ]
    made = []
    for label in LABELS[:2]:
        for kind, score in (("found", 0.97), ("found", 0.9), ("missed", 0.12), ("claimed", 0.88)):
            heat = rng.random((4, 4)) ** 3
            image = rng.integers(0, 255, (1, 32, 32), dtype=np.uint8)
            boxes = [] if kind == "claimed" else [(0.25, 0.5, 0.25, 0.125)]
            made.append(Case(label, label, kind, score, image, heat / heat.sum(), boxes, REPORT, findings))  # type: ignore[arg-type]
    return made


def probes() -> dict[str, Any]:
    row = {"auc": 0.8, "auc_interval": (0.7, 0.9)}
    side = {"n": 12, "correct": 6, "accuracy": 0.5, "interval": (0.25, 0.75), "majority": 0.5}
    return {
        "images": 120,
        "prompts": {
            "variants": {
                "description": {**row, "example": "fluid"},
                "name": {**row, "auc": 0.6, "example": "effusion"},
            },
            "spread": {"effusion": {"low": 0.6, "high": 0.8, "spread": 0.2}},
            "mean_spread": 0.2,
        },
        "negation": {"example": "no effusion", "labels": {"effusion": row}, "auc": 0.2, "auc_interval": (0.1, 0.3)},
        "image_probes": {"blank": {**row, "auc": 0.5, "expected": "chance"}},
        "laterality": {"position scores": side},
        "cautions": ["negated descriptions are read as if the “no” were not there."],
    }


@pytest.fixture
def make_results(tmp_path: Path) -> Callable[..., Path]:
    """Writes a results folder; ``skill`` separates the classes, ``seed`` draws the scores."""

    def make(name: str = "evaluation", skill: float = 1.5, seed: int = 0, **options: Any) -> Path:
        images, thresholds = options.get("images", 120), options.get("thresholds", True)
        truth = np.random.default_rng(1).integers(-1, 2, size=(images, 3))
        truth[:, 2] = 0
        truth[:2, 2] = 1
        rng = np.random.default_rng(seed)
        scores = 1 / (1 + np.exp(-(rng.normal(size=truth.shape) + skill * (truth == 1))))
        patients = [f"patient-{i // 2}" for i in range(images)]
        sex = ["F" if i % 3 else "M" for i in range(images)]
        table = score_table(
            [f"study-{i}" for i in range(images)], truth, scores, LABELS, patient_id=patients, split="test", sex=sex
        )
        given = {"thresholds": dict.fromkeys(LABELS, 0.6), "thresholds_from": "validate"} if thresholds else {}
        metrics: dict[str, Any] = {
            "zero_shot": classification_metrics(
                truth, scores, LABELS, patient_id=patients, replicates=100, min_positives=3, **given
            )
        }
        metrics["subgroups"] = subgroup_metrics(truth, scores, LABELS, {"sex": sex}, patient_id=patients)
        heats = [heat / heat.sum() for heat in rng.random((6, 4, 4))]
        found = [GroundingCase("effusion", heat, [(0.25, 0.5, 0.25, 0.125)], f"p{i}") for i, heat in enumerate(heats)]
        metrics["grounding"] = grounding_metrics(found, replicates=50)
        sides = laterality_metrics(["left", "right", "left"], ["left", "left", "left"], ["effusion"] * 3)
        metrics["laterality"] = {"attention": sides}
        metrics["probes"] = probes()
        run = run_record({"split": "test"}, device="cpu", bundle="MedKLIP", title="Made up for a test")
        kept = case_table(cases(rng)) if options.get("cases", True) else None
        Results.write(tmp_path / name, table, metrics, run, kept)
        return tmp_path / name

    return make
