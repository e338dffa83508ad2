"""Growing ``.npy`` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medvlp_toolkit.data.store.array_file import ArrayFile


def test_rows_written_in_any_order_make_the_array(tmp_path: Path) -> None:
    rows = np.arange(24, dtype=np.int16).reshape(6, 2, 2)
    with ArrayFile(tmp_path / "a.npy", np.int16, (2, 2)) as file:
        file.write(4, rows[4:])
        file.write(0, rows[:4])
        assert file.read_bytes(1, 2) == rows[1:3].tobytes()
        file.finish(6)
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), rows)


def test_bytes_are_those_of_numpy(tmp_path: Path) -> None:
    rows = np.arange(300, dtype=np.uint8).reshape(100, 3)
    np.save(tmp_path / "numpy.npy", rows)
    with ArrayFile(tmp_path / "a.npy", np.uint8, (3,)) as file:
        file.write(0, rows)
        file.finish(100)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_finishing_cuts_what_is_behind(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "a.npy", np.float64, ()) as file:
        file.write(0, np.arange(10.0))
        file.finish(4)
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2, 3]


def test_two_writers_share_a_file(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "a.npy", np.uint8, (2,)) as one, ArrayFile(tmp_path / "a.npy", np.uint8, (2,)) as other:
        one.write(0, np.full((2, 2), 1, np.uint8))
        other.write(2, np.full((2, 2), 2, np.uint8))
        one.finish(4)
    assert np.load(tmp_path / "a.npy")[:, 0].tolist() == [1, 1, 2, 2]


def test_other_shape_or_type_is_refused(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "a.npy", np.uint8, (2,)) as file:
        for wrong in (np.zeros((1, 3), np.uint8), np.zeros((1, 2), np.int16)):
            with pytest.raises(ValueError, match=r"expected"):
                file.write(0, wrong)
