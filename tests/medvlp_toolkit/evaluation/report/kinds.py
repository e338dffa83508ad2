"""Small results folders of every kind of task, measured by the evaluations' own code on made-up predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medvlp_toolkit.evaluation.finetuning.segmentation import SegmentedImage, segmentation_metrics
from medvlp_toolkit.evaluation.pairs.answer_metrics import answer_metrics, class_metrics, majority_baselines
from medvlp_toolkit.evaluation.pairs.retrieval_metrics import retrieval_metrics
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.evaluation.results.run_record import run_record
from medvlp_toolkit.evaluation.zero_shot.classification import classification_metrics, score_table

QUESTIONS = 80
_CATEGORIES = ("organ", "plane", "abnormality", "modality")


def _write(folder: Path, table: Any, metrics: dict[str, Any], title: str, bundle: str) -> Path:
    metrics["seconds"] = {"evaluation": 1.5}
    Results.write(folder, table, metrics, run_record({"split": "test"}, device="cpu", bundle=bundle, title=title))
    return folder


def _answered(skill: float, seed: int) -> tuple[Any, ...]:
    fixed, rng = np.random.default_rng(7), np.random.default_rng(seed)
    true = fixed.choice(4, QUESTIONS, p=(0.4, 0.3, 0.2, 0.1))
    given = np.where(rng.random(QUESTIONS) < skill, true, rng.integers(0, 4, QUESTIONS))
    true[:4] = -1  # answers that training lacks
    images = [f"image-{i // 2}" for i in range(QUESTIONS)]
    return given, true, images, rng


def answers(folder: Path, skill: float = 0.5, seed: int = 0, controls: bool = True) -> Path:
    given, true, images, rng = _answered(skill, seed)
    category = [_CATEGORIES[i % 4] for i in range(QUESTIONS)]
    kind = ["closed" if i % 3 else "open" for i in range(QUESTIONS)]
    measured = answer_metrics(given, true, category, kind, images, replicates=100)
    texts = [f"question {i % 10}?" for i in range(QUESTIONS)]
    answer = [str(number) for number in true]
    trained = (texts, [str(number % 2) for number in range(QUESTIONS)], category)
    measured["baselines"] = majority_baselines(trained, (texts, answer, category))
    if controls:
        other = rng.integers(0, 4, QUESTIONS)
        measured["controls"] = {"blank images": answer_metrics(other, true, category, kind, images, replicates=100)}
    right = (given == true).astype(np.int8)[:, None]
    table = score_table([f"q{i}" for i in range(QUESTIONS)], right, rng.random((QUESTIONS, 1)), ["correct"],
                        patient_id=images)  # fmt: skip
    return _write(folder, table, {"answers": measured}, "Questions about images", "VQA")


def classes(folder: Path, skill: float = 0.5, seed: int = 0) -> Path:
    given, true, images, rng = _answered(skill, seed)
    measured = answer_metrics(given, true, image=images, replicates=100)
    measured["classes"] = class_metrics(given, true, ["normal", "mild", "moderate", "severe"])
    right = (given == true).astype(np.int8)[:, None]
    table = score_table([f"p{i}" for i in range(QUESTIONS)], right, rng.random((QUESTIONS, 1)), ["correct"],
                        patient_id=images)  # fmt: skip
    return _write(folder, table, {"classes": measured}, "Pairs of images and texts", "Image-text classification")


def retrieval(folder: Path, skill: float = 1.0, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    images = [f"image-{i}" for i in range(30)]
    owner = [images[i // 2] for i in range(60)]
    scores = rng.normal(size=(30, 60)) + skill * np.array([[name == of for of in owner] for name in images])
    found = (scores.argmax(axis=0) == np.repeat(np.arange(30), 2)).astype(np.int8)[:, None]
    measured = retrieval_metrics(scores, owner, images, replicates=100) | {"pairs": 1800, "pairs_per_second": 100.0}
    table = score_table([f"t{i}" for i in range(60)], found, scores.max(axis=0)[:, None], ["found"], patient_id=owner)
    metrics = {"retrieval": {"every pair through the fusion module": measured}}
    return _write(folder, table, metrics, "Texts and images", "Retrieval")


def segmentation(folder: Path, skill: float = 0.5, seed: int = 0, label: str = "pneumothorax") -> Path:
    rng = np.random.default_rng(seed)
    images = []
    for i in range(60):
        area = 400 if i % 4 == 0 else 0
        drawn = int(rng.integers(200, 600)) if area or rng.random() < 0.2 else 0
        images.append(SegmentedImage(f"s{i}", f"p{i}", area, drawn, int(min(area, drawn) * skill)))
    measured = {"label": label, **segmentation_metrics(images, replicates=100)}
    measured["protocol"]["threshold"] = 0.5
    positive = np.array([[image.positive] for image in images], np.int8)
    table = score_table([image.study_id for image in images], positive, rng.random((60, 1)), [label])
    return _write(folder, table, {"segmentation": measured}, "Outlines", "MedKLIP fine-tuned")


def fine_tuned(folder: Path, skill: float = 1.5, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(3).integers(0, 2, (80, 2))
    scores = 1 / (1 + np.exp(-(rng.normal(size=truth.shape) + skill * truth)))
    labels = ["effusion", "pneumonia"]
    measured = classification_metrics(
        truth, scores, labels, replicates=100, thresholds=dict.fromkeys(labels, 0.000123), thresholds_from="validate"
    )
    table = score_table([f"s{i}" for i in range(80)], truth, scores, labels)
    return _write(folder, table, {"fine_tuned": measured}, "A classifier", "MedKLIP fine-tuned")


def pretraining(folder: Path, skill: float = 1.0, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(3).integers(0, 2, (60, 1))
    scores = rng.normal(size=truth.shape) + skill * truth
    metrics = {
        "pretext": {"masked_word_accuracy": 0.42, "masked_word_floor": 0.1, "matching_auc": 0.8, "pixels_error": 0.2},
        "probe": {
            "trained": {"mean_auc": 0.8, "auc": {"effusion": 0.8}},
            "untrained": {"mean_auc": 0.6, "auc": {"effusion": 0.6}},
        },
    }
    table = score_table([f"s{i}" for i in range(60)], truth, scores, ["effusion"])
    return _write(folder, table, metrics, "Pre-training", "ARL")


KINDS: dict[str, Callable[..., Path]] = {
    "answers": answers,
    "classes": classes,
    "retrieval": retrieval,
    "segmentation": segmentation,
    "fine_tuned": fine_tuned,
    "pretraining": pretraining,
}
