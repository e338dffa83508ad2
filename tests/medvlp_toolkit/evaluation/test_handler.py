"""What every evaluation says of the store before it scores it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medvlp_toolkit.evaluation.handler import Evaluation
from medvlp_toolkit.images import StoredFormat
from medvlp_toolkit.weights.description import Description

TRAINED = StoredFormat.of(32)


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        (TRAINED, []),
        (StoredFormat.of(32, fit="pad"), ["fit pad, not stretch"]),
        (StoredFormat.of(64, channels=3), ["shape [3, 64, 64], not [1, 32, 32]"]),
        (None, []),  # a store of reports, or from before it was noted
    ],
)
def test_a_store_read_in_another_way_than_in_training_is_named_in_one_line(
    stored: StoredFormat | None, named: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Description({}, images=TRAINED.as_mapping()).write(tmp_path)
    start(stored, tmp_path / "best.pt")
    assert len(caplog.messages) == bool(named)
    assert all(difference in caplog.text for difference in named)


def test_weights_without_a_description_are_compared_with_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start(StoredFormat.of(64), tmp_path / "best.pt")
    start(StoredFormat.of(64), None)
    assert not caplog.messages


def test_volumes_of_another_series_are_stored_alike() -> None:
    one, other = (StoredFormat.of([8, 8, 8], series=series, window=[-10, 10]) for series in (3, 4))
    assert one.differences(other) == []
    assert one.differences(StoredFormat.of([8, 8, 8])) == ["window [-10.0, 10.0], not None"]


def start(stored: StoredFormat | None, checkpoint: Path | None) -> None:
    dataset = SimpleNamespace(store=SimpleNamespace(stored_format=stored, path="data/store"))
    engine: Any = SimpleNamespace(network=torch.nn.Identity())
    Evaluation(dataset, None, checkpoint=checkpoint)._start(engine)
