from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from sklearn.metrics import roc_auc_score

from medvlp_toolkit.evaluation.statistics.pooling import Pool, StudyPooling
from medvlp_toolkit.evaluation.zero_shot.classification import classification_metrics
from medvlp_toolkit.evaluation.zero_shot.metrics import EntityAUC


def case(images: int = 37) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(images, 4, generator=generator)
    presence = torch.randint(-1, 3, (images, 4), generator=generator).to(torch.int8)
    presence[:, 3] = torch.where(torch.arange(images) < 2, 1, 0)  # two present only
    return scores, presence


def expected(scores: torch.Tensor, presence: torch.Tensor, entities: range) -> float:
    aucs = []
    for entity in entities:
        told = (presence[:, entity] == 0) | (presence[:, entity] == 1)
        aucs.append(roc_auc_score(presence[told, entity], scores[told, entity]))
    return float(np.mean(aucs))


def test_the_whole_set_counts_not_the_mean_of_batches() -> None:
    scores, presence = case()
    metric = EntityAUC()
    for start in range(0, 37, 8):
        metric.update((scores[start : start + 8], presence[start : start + 8]))
    assert metric.compute() == pytest.approx(expected(scores, presence, range(4)))
    assert metric.per_entity.shape == (4,)


def test_entities_with_too_few_positives_are_left_out() -> None:
    scores, presence = case()
    metric = EntityAUC(min_positives=3)
    metric.update((scores, presence))
    assert metric.compute() == pytest.approx(expected(scores, presence, range(3)))
    assert np.isnan(metric.per_entity).tolist() == [False, False, False, True]


@pytest.mark.parametrize("pool", ["mean", "max", None])
def test_the_images_of_a_study_are_one_score_as_in_evaluation(pool: Pool | None) -> None:
    """Three images per study, in batches that divide a study."""
    scores, presence = case()
    scores, presence = scores[:36], presence[:12].repeat_interleave(3, 0)
    ids = [f"study {i // 3}" for i in range(36)]
    metric = EntityAUC(pool=pool)
    for start in range(0, 36, 8):
        rows = slice(start, start + 8)
        metric.update((scores[rows], presence[rows], ids[rows]))
    pooling = StudyPooling(ids, pool)
    rows_of = pooling.scores(scores.numpy()), pooling.targets(presence.numpy())
    evaluated = classification_metrics(rows_of[1], rows_of[0], list("abcd"), replicates=0)
    assert metric.compute() == pytest.approx(evaluated["macro"]["auc"])
    # Images that all count as studies give what images without ids give.
    single = EntityAUC(pool=pool)
    single.update((scores, presence, [str(i) for i in range(36)]))
    without = EntityAUC()
    without.update((scores, presence))
    assert single.compute() == without.compute()


@pytest.mark.parametrize("others", [1, 2, 3])
def test_training_and_evaluation_leave_out_the_same_entities(others: int) -> None:
    """Ten images of one kind and few of the other: whichever kind it is."""
    scores = np.linspace(0, 1, 10 + others)
    for target in (0, 1):
        presence = np.where(np.arange(10 + others) < others, target, 1 - target)
        metric = EntityAUC(min_positives=3)
        metric.update((torch.from_numpy(scores)[:, None], torch.from_numpy(presence)[:, None]))
        evaluated = classification_metrics(presence[:, None], scores[:, None], ["x"], replicates=0, min_positives=3)
        assert np.isnan(metric.compute()) == (evaluated["excluded"] == ["x"]) == (others < 3)


def test_uncertain_and_unmentioned_entities_are_ignored() -> None:
    metric = EntityAUC()
    metric.update((torch.tensor([[0.9], [0.1], [0.0], [1.0]]), torch.tensor([[1], [0], [2], [-1]])))
    assert metric.compute() == 1


def test_no_usable_entity_gives_nan_and_no_image_an_error() -> None:
    metric = EntityAUC()
    with pytest.raises(NotComputableError):
        metric.compute()
    metric.update((torch.rand(3, 2), torch.zeros(3, 2)))
    assert math.isnan(metric.compute())


def test_lists_of_samples_are_taken_as_after_decollation_and_a_run_starts_afresh() -> None:
    scores, presence = case()
    engine = Engine(lambda _, batch: {"scores": list(batch[0]), "presence": list(batch[1])})
    EntityAUC(lambda output: (output["scores"], output["presence"])).attach(engine, "auc")
    batches = list(zip(scores.split(10), presence.split(10), strict=True))
    for _ in range(2):
        engine.run(batches)
        assert engine.state.metrics["auc"] == pytest.approx(expected(scores, presence, range(4)))


def test_misfitting_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="alike"):
        EntityAUC().update((torch.rand(2, 3), torch.zeros(2, 4)))


def _rank(rank: int, folder: str) -> None:
    store = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    scores, presence = case()
    results = []
    for cut in (25, 0):  # an uneven share each, then nothing for rank 0
        part = slice(0, cut) if rank == 0 else slice(cut, None)
        metric = EntityAUC()
        if len(scores[part]):
            metric.update((scores[part], presence[part]))
        results.append(metric.compute())
    Path(folder, f"rank{rank}").write_text(repr(results))
    dist.destroy_process_group()


def test_two_ranks_with_uneven_or_empty_shares_equal_one(tmp_path) -> None:
    mp.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    whole = expected(*case(), range(4))
    for rank in range(2):
        assert eval((tmp_path / f"rank{rank}").read_text()) == pytest.approx([whole, whole])
