"""Generates chest-radiograph reports with varied wording, to time report filters. The content is meaningless."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from medvlp_toolkit.data.records import Report

# Sentences that reports repeat word for word; the first are the most frequent.
STOCK = (
    "No pleural effusion or pneumothorax.",
    "The lungs are clear.",
    "Heart size is normal.",
    "No acute cardiopulmonary abnormality.",
    "The cardiomediastinal silhouette is within normal limits.",
    "No focal consolidation, pneumothorax, or large pleural effusion.",
    "Osseous structures are intact.",
    "Stable appearance of the chest.",
    "There is no focal airspace disease.",
    "Degenerative changes are seen in the thoracic spine.",
    "The mediastinal contours are unremarkable.",
    "Lungs are hyperexpanded with flattened diaphragms.",
    "No evidence of pulmonary edema.",
    "Low lung volumes accentuate the bronchovascular markings.",
    "Calcified granuloma is again noted.",
    "There is tortuosity of the thoracic aorta.",
)
FINDINGS = (
    "atelectasis", "airspace opacity", "pleural effusion", "consolidation", "pneumothorax", "nodule", "scarring",
    "granuloma", "interstitial edema", "infiltrate", "pleural thickening", "calcification", "mass", "bullous change",
    "hiatal hernia", "cardiomegaly", "pneumonia", "vascular congestion", "rib fracture", "catheter", "fibrosis",
)  # fmt: skip
PLACES = (
    "in the right lower lobe", "in the left lower lobe", "at the left base", "at the right base", "in the right apex",
    "in the left upper lobe", "in the right middle lobe", "in the lingula", "in both lung bases", "in the left lung",
    "near the right hilum", "along the right hemidiaphragm", "at the costophrenic angles", "in the mid right lung",
)  # fmt: skip
GRADES = ("mild", "moderate", "small", "large", "minimal", "patchy", "streaky", "stable", "new", "worsening", "subtle")
PATTERNS = (
    "There is {grade} {finding} {place}.",
    "{Grade} {finding} {place}, unchanged from the prior examination.",
    "No {finding} or {other} is seen.",
    "{Grade} {finding} {place} may represent {other}.",
    "Findings are suggestive of {grade} {finding} {place}.",
    "Interval improvement of the {finding} {place}, with residual {other}.",
    "The {finding} {place} measures {size} mm, and {other} cannot be excluded.",
    "Previously noted {finding} has resolved, without evidence of {other} {place}.",
)


def generated_reports(count: int, seed: int = 0) -> Iterator[Report]:
    """``count`` reports of six to eight sentences, half of them stock sentences; the same for the same seed."""
    rng = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(len(STOCK))]
    for number in range(count):
        findings = " ".join(_sentences(rng, rng.randint(5, 6), weights))
        impression = " ".join(_sentences(rng, rng.randint(1, 2), weights))
        yield Report(f"generated-{number}", f"FINDINGS: {findings}\nIMPRESSION: {impression}")


def _sentences(rng: random.Random, count: int, weights: Sequence[float]) -> Iterator[str]:
    for _ in range(count):
        if rng.random() < 0.5:
            yield rng.choices(STOCK, weights)[0]
        else:
            grade = rng.choice(GRADES)
            yield rng.choice(PATTERNS).format(
                grade=grade, Grade=grade.capitalize(), finding=rng.choice(FINDINGS), other=rng.choice(FINDINGS),
                place=rng.choice(PLACES), size=rng.randint(3, 40),
            )  # fmt: skip
