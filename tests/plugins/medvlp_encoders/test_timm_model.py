"""Models of timm, where it is installed, and one line where it is not."""

from __future__ import annotations

import pytest
import torch

from medvlp_encoders.timm_model import TimmModel


def test_without_timm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ValueError, match=r"pip install 'medvlp-encoders\[timm\]'; transformers_image") as caught:
        TimmModel("resnet18")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "grid", "prefix"),
    [
        ("resnet18", (7, 7), 0),
        ("convnext_atto", (7, 7), 0),
        ("swin_tiny_patch4_window7_224", (7, 7), 0),
        ("vit_tiny_patch16_224", (14, 14), 1),
    ],
)
def test_tokens_are_on_the_grid_of_the_model(name: str, grid: tuple[int, int], prefix: int) -> None:
    pytest.importorskip("timm", reason="pip install 'medvlp-encoders[timm]'")
    encoder = TimmModel(name).eval()
    with torch.no_grad():
        tokens = encoder(torch.randn(1, 1, 224, 224))
    assert encoder.grid_size((224, 224)) == grid
    assert tokens.shape == (1, prefix + grid[0] * grid[1], encoder.num_features)
