"""Random numbers that belong to a study."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from medvlp_toolkit.data.batches.draws import study_keys, uniform

MASK = 2**64 - 1


def splitmix(x: int) -> int:
    """SplitMix64's finaliser, in Python's integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def by_hand(seed: int, epoch: int, stream: int, key: int, counter: int) -> float:
    golden = 0x9E3779B97F4A7C15
    base = splitmix((seed + golden) & MASK)
    base = splitmix((base + epoch * golden + stream) & MASK)
    mixed = splitmix((splitmix(key ^ base) + counter * golden) & MASK)
    return (mixed >> 40) / 2**24


def test_numbers_are_those_of_the_published_generator() -> None:
    keys = study_keys(["one", "two", "three"])
    drawn = uniform(7, 3, 2, keys, 5)
    for row, key in enumerate(keys.tolist()):
        for counter in range(5):
            assert drawn[row, counter] == by_hand(7, 3, 2, key, counter + 1)


def test_a_key_follows_from_the_id_alone() -> None:
    ids = ["study-1", "Studie ä", ""]
    expected = [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") for name in ids]
    assert study_keys(ids).tolist() == expected


@pytest.mark.parametrize("seed", [0, 1, -1, 2**70])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    drawn = uniform(seed, 0, 0, study_keys(["a"]), 4)
    assert drawn.dtype == np.float32
    assert ((drawn >= 0) & (drawn < 1)).all()


def test_a_study_draws_the_same_in_any_company() -> None:
    keys = study_keys([str(number) for number in range(50)])
    together = uniform(0, 4, 1, keys, 8)
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(uniform(0, 4, 1, keys[order], 8), together[order])
    np.testing.assert_array_equal(uniform(0, 4, 1, keys[17:18], 8), together[17:18])


def test_one_more_number_does_not_shift_the_others() -> None:
    keys = study_keys(["a", "b"])
    np.testing.assert_array_equal(uniform(0, 0, 0, keys, 9)[:, :4], uniform(0, 0, 0, keys, 4))


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=["seed", "epoch", "stream"])
def test_seed_epoch_and_stream_each_change_every_number(other: tuple[int, int, int]) -> None:
    keys = study_keys([str(number) for number in range(200)])
    first, second = uniform(0, 0, 0, keys, 20), uniform(*other, keys, 20)
    assert (first != second).mean() > 0.999
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_numbers_are_spread_evenly() -> None:
    drawn = uniform(0, 0, 0, study_keys([str(number) for number in range(2000)]), 32).ravel()
    counts = np.histogram(drawn, bins=16, range=(0, 1))[0] / len(drawn)
    assert np.abs(counts - 1 / 16).max() < 0.004
    neighbours = np.corrcoef(drawn[:-1], drawn[1:])[0, 1]
    assert abs(neighbours) < 0.02
