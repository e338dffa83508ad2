"""Pretext metrics: right answers, what the most frequent answer gives, areas under curves from counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from medvlp_arl.pretext_metrics import PretextMetrics, _histogram, alignment_scores


def test_alignment_scores_agree_with_the_exact_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(400, 3, generator=generator)
    targets = (torch.rand(400, 3, generator=generator) < 0.3 + 0.4 * scores).long()
    told = alignment_scores(_histogram(scores[:250], targets[:250]) + _histogram(scores[250:], targets[250:]))
    exact = np.mean([roc_auc_score(targets[:, e], scores[:, e]) for e in range(3)])
    assert told["auc"] == pytest.approx(exact, abs=5e-3)
    assert told["f1"] == pytest.approx(f1_score(targets.flatten(), scores.flatten() >= 0.5), abs=1e-6)


def test_entities_that_all_or_no_reports_name_have_no_area() -> None:
    scores = torch.tensor([[0.9, 0.9, 0.2], [0.1, 0.8, 0.3]])
    targets = torch.tensor([[1, 1, 0], [0, 1, 0]])
    assert alignment_scores(_histogram(scores, targets))["auc"] == 1.0


def counts(right: int, answers: list[int]) -> dict[str, torch.Tensor]:
    return {
        "masked_language:sum": torch.tensor(6.0), "masked_language:count": torch.tensor(4.0),
        "masked_language:token_right": torch.tensor(right), "masked_language:token_answers": torch.tensor(answers),
        "matching:sum": torch.tensor(2.0), "matching:count": torch.tensor(4.0),
        "matching:right": torch.tensor(3), "matching:answers": torch.tensor([1, 3]),
        "masked_image:sum": torch.tensor(8.0), "masked_image:count": torch.tensor(10.0),
        "masked_image:unpredicted": torch.tensor(9.0),
    }  # fmt: skip


def test_batches_add_up_and_stand_beside_the_most_frequent_answer() -> None:
    metrics = PretextMetrics()
    for right, answers in ((1, [3, 1, 0]), (3, [0, 1, 3])):
        metrics.update((counts(right, answers),))
    score = metrics.compute()
    assert metrics.parts["masked_token_accuracy"] == 0.5
    assert metrics.parts["masked_token_floor"] == 0.375
    assert metrics.parts["matching_accuracy"] == 0.75
    assert metrics.parts["matching_floor"] == 0.75
    assert metrics.parts["masked_image"] == 0.8
    assert metrics.parts["masked_image_floor"] == 0.9
    assert metrics.parts["masked_language"] == 1.5
    assert score == pytest.approx(0.5 + 0.75 - 0.8)


def test_losses_of_other_plugins_count_by_themselves() -> None:
    metrics = PretextMetrics()
    metrics.update(({"existence:sum": torch.tensor(3.0), "existence:count": torch.tensor(4.0)},))
    assert metrics.compute() == -0.75
    assert metrics.parts == {"existence": 0.75}
