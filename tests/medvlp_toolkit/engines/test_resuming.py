"""Training that is killed, stopped or finds damaged checkpoints resumes as if uninterrupted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from tests.medvlp_toolkit.engines.training import (
    At,
    interrupt_itself,
    interrupt_itself_twice,
    kill_itself,
    log_of,
    losses_of,
    make_store,
    run_training,
    terminate_itself,
)

EPOCH = {1: 11, 2: 5}  # iterations of an epoch, by the number of processes
EPOCHS = 3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def undisturbed(request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """How many processes, and the folder of a training that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert set(run_training(store, folder, request.param, epochs=EPOCHS)) == {0}, log_of(folder)
    return request.param, folder


def assert_same_training(one: Path, other: Path, ranks: int) -> None:
    """Losses of every iteration on every rank, and the final weights, bit for bit."""
    for number in range(ranks):
        expected, found = losses_of(one, number), losses_of(other, number)
        assert list(expected) == list(range(1, EPOCHS * EPOCH[ranks] + 1))
        assert found == expected
    weights, others = (torch.load(folder / "weights.pt", weights_only=True) for folder in (one, other))
    assert weights.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in weights.items())


def test_a_killed_training_resumes_bit_for_bit(undisturbed: tuple[int, Path], store: Path, tmp_path: Path) -> None:
    """In the middle of an epoch and of an accumulation, and again at random steps."""
    ranks, folder = undisturbed
    last = EPOCHS * EPOCH[ranks]
    first = EPOCH[ranks] + 2  # the second batch of a group of three
    kills = sorted({first, *random.sample(range(2, last + 1), 2)})
    for iteration in kills:
        handlers = {Events.ITERATION_COMPLETED: At(iteration, ranks - 1, kill_itself)}
        codes = run_training(store, tmp_path, ranks, epochs=EPOCHS, handlers=handlers)
        assert codes[-1] == -9, f"kills at {kills}: {log_of(tmp_path, ranks - 1)}"
    assert set(run_training(store, tmp_path, ranks, epochs=EPOCHS)) == {0}, f"kills at {kills}: {log_of(tmp_path)}"
    assert_same_training(folder, tmp_path, ranks)


def test_sigterm_saves_and_ends_cleanly(undisturbed: tuple[int, Path], store: Path, tmp_path: Path) -> None:
    """One process gets the signal; all stop after the same optimiser step, and an accumulation is not cut in two."""
    ranks, folder = undisturbed
    iteration = EPOCH[ranks] + 1  # the first batch of a group of three
    handlers = {Events.ITERATION_STARTED: At(iteration, ranks - 1, terminate_itself)}
    assert set(run_training(store, tmp_path, ranks, epochs=EPOCHS, handlers=handlers, every=0)) == {0}
    assert max(losses_of(tmp_path)) == EPOCH[ranks] + 3
    assert (tmp_path / "checkpoint_epoch=2_iteration=3.pt").exists()
    assert not (tmp_path / "weights.pt").exists()
    assert "stopped by SIGTERM" in log_of(tmp_path)
    assert set(run_training(store, tmp_path, ranks, epochs=EPOCHS)) == {0}
    assert_same_training(folder, tmp_path, ranks)


def test_the_first_interrupt_saves_and_stops_and_the_run_is_resumed(
    undisturbed: tuple[int, Path], store: Path, tmp_path: Path
) -> None:
    ranks, folder = undisturbed
    iteration = EPOCH[ranks] + 1
    handlers = {Events.ITERATION_STARTED: At(iteration, ranks - 1, interrupt_itself)}
    codes = run_training(store, tmp_path, ranks, epochs=EPOCHS, handlers=handlers, every=0, num_workers=1)
    assert codes[-1] == 130, log_of(tmp_path, ranks - 1)
    assert (tmp_path / "checkpoint_epoch=2_iteration=3.pt").exists()
    log = log_of(tmp_path)
    assert f"{tmp_path / 'checkpoint_epoch=2_iteration=3.pt'} is written. Resume with: " in log
    assert set(run_training(store, tmp_path, ranks, epochs=EPOCHS)) == {0}
    assert_same_training(folder, tmp_path, ranks)


def test_the_second_interrupt_stops_at_once(store: Path, tmp_path: Path) -> None:
    handlers = {Events.ITERATION_STARTED: At(EPOCH[1] + 1, 0, interrupt_itself_twice)}
    (code,) = run_training(store, tmp_path, epochs=EPOCHS, handlers=handlers, every=0)
    assert code not in (0, 130)
    assert max(losses_of(tmp_path)) == EPOCH[1]
    assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint_epoch=1.pt"]
