"""Scores of pairs: all at once equals one by one, the head begins as the matching head, false texts are false."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medvlp_toolkit.downstream.pair_scorer import ChoiceLoss, PairScorer, TextChoice, chosen_texts, retriever
from medvlp_toolkit.evaluation.pairs.retrieval import EncodedPairs, first_stage, score_pairs, shortlist
from tests.medvlp_toolkit.downstream.small_pairs import TEXTS, one_pair, pair_batch, small_pairs


def encoded(scorer: PairScorer, batch: dict[str, torch.Tensor]) -> EncodedPairs:
    with torch.no_grad():
        return EncodedPairs(
            scorer.pairs.images(batch["image"]),
            scorer.pairs.texts(batch),
            batch["attention_mask"],
            None,
            torch.arange(len(batch["image"])).numpy(),
            batch["image_index"].numpy(),
        )


def one_by_one(scorer: PairScorer, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack(
            [
                torch.cat([scorer(one_pair(batch, text, image)) for text in range(len(TEXTS))])
                for image in range(len(batch["image"]))
            ]
        )


def test_all_pairs_at_once_equal_the_forward_pass_pair_by_pair() -> None:
    scorer = PairScorer(small_pairs()).eval()
    nn.init.normal_(scorer.head.weight)
    batch = pair_batch(scorer.pairs, images=4)
    expected = one_by_one(scorer, batch)
    for at_once in (3, 7, 256):
        scores = torch.from_numpy(score_pairs(scorer, encoded(scorer, batch), pairs_per_batch=at_once))
        assert float((scores - expected).abs().max()) <= 1e-5
        assert torch.equal(scores.argsort(dim=1, stable=True), expected.argsort(dim=1, stable=True))
        assert torch.equal(scores.argsort(dim=0, stable=True), expected.argsort(dim=0, stable=True))
    assert float(expected.std()) > 1e-3


def test_pairs_that_are_not_chosen_are_not_scored() -> None:
    scorer = PairScorer(small_pairs()).eval()
    batch = pair_batch(scorer.pairs)
    items = encoded(scorer, batch)
    chosen = shortlist(first_stage(items, scorer), 1)
    scores = score_pairs(scorer, items, chosen)
    everything = score_pairs(scorer, items)
    assert (scores[chosen] == pytest.approx(everything[chosen], abs=1e-5)) is True
    assert bool((scores[~chosen] == -float("inf")).all())


def test_a_shortlist_keeps_the_best_both_ways() -> None:
    coarse = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.7, 0.3]]).numpy()
    assert shortlist(coarse, 1).tolist() == [[True, True, False], [False, True, True]]
    assert shortlist(coarse, 3).all()


def test_scores_begin_as_the_matching_heads_row_of_belonging_together() -> None:
    pairs = small_pairs()
    head = nn.Linear(pairs.width, 2)
    scorer = PairScorer(pairs, head).eval()
    batch = pair_batch(pairs)
    assert torch.allclose(scorer(batch), head(pairs(batch).pooled)[:, 1], atol=1e-6)
    with pytest.raises(ValueError, match="maps 5 to 2, and this model's pair feature has 32"):
        PairScorer(pairs, nn.Linear(5, 2))


def test_zero_shot_without_a_matching_head_is_one_line() -> None:
    with pytest.raises(ValueError, match="zero-shot retrieval scores by the head of image-text matching") as caught:
        retriever(small_pairs())
    assert "\n" not in str(caught.value)


def test_choice_puts_the_own_text_first_and_no_text_of_the_image_beside_it() -> None:
    owners = torch.tensor([0, 0, 1, 2, 3])
    texts = chosen_texts(owners, torch.rand(5, 5, generator=torch.Generator().manual_seed(0)), 3)
    assert texts[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert not bool((owners[texts[:, 1:]] == owners[:, None]).any())
    assert all(len(set(line.tolist())) == 4 for line in texts)
    with pytest.raises(ValueError, match="has 3 that are not about an image, and 4 false texts"):
        chosen_texts(owners, torch.rand(5, 5), 4)


def test_choice_scores_equal_the_scores_of_its_pairs() -> None:
    scorer = PairScorer(small_pairs()).eval()
    batch = pair_batch(scorer.pairs, images=5)
    choice = TextChoice(scorer, negatives=2).eval()
    texts = chosen_texts(batch["image_index"], batch["choice_draws"], 2)
    expected = one_by_one(scorer, batch)
    found = choice(batch)
    for number, lines in enumerate(texts):
        image = int(batch["image_index"][number])
        assert torch.allclose(found[number], expected[image, lines], atol=1e-5)


def test_choosing_the_own_text_costs_least() -> None:
    loss = ChoiceLoss()
    assert float(loss(torch.tensor([[5.0, 0.0]]))) < float(loss(torch.tensor([[0.0, 5.0]])))
