"""The toolkit's KAD gives the published system's numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import comparison
import kad
import pytest
import torch

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDED = {
    *(f"eval.{name}" for name in ("image_tokens", "query_features", "entity_features", "logits", "text_logits")),
    *(f"{mode}.loss{part}" for mode in ("train", "train_ignore") for part in ("", "_existence_image", "_contrastive")),
    *("train.grad_norms", "knowledge.loss", "knowledge.targets", "knowledge.grad.text_encoder.logit_scale"),
}


@pytest.fixture
def threads() -> Iterator[None]:
    """The comparison sets torch's number of threads; other tests keep theirs."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("folder", [pytest.param("kad", marks=pytest.mark.slow), "kad_resnet18"])
def test_outputs_losses_and_gradients_equal_the_published_ones(folder: str) -> None:
    differences = kad.compare(GOLDEN / folder)
    assert set(differences) >= RECORDED
    assert comparison.holds(differences), differences
