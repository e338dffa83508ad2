"""Where questions looked: the image's class tokens and the text's own take no part."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medvlp_toolkit.data.batches.answers import AnswerVocabulary
from medvlp_toolkit.evaluation.pairs.answer_files import AnswerWriter


class Encoder:
    num_prefix_tokens = 2

    def grid_size(self, image_shape) -> tuple[int, ...]:
        return tuple(side // 8 for side in image_shape)


def network(text_prefix: int) -> SimpleNamespace:
    model = SimpleNamespace(text_encoder=SimpleNamespace(num_prefix_tokens=text_prefix))
    return SimpleNamespace(image_encoder=Encoder(), pairs=SimpleNamespace(model=model))


@pytest.mark.parametrize(("text_prefix", "place"), [(1, (1, 0)), (0, (0, 1))])
def test_the_questions_words_are_averaged_over_the_patches(text_prefix: int, place, tmp_path: Path) -> None:
    attention = torch.zeros(1, 1, 4, 2 + 4)
    attention[..., :2] = 0.2
    attention[0, 0, 0, 2 + 1] = 0.6  # the first token, a class token where the text has one, looks at the upper right
    attention[0, 0, 1, 2 + 2] = 0.5  # a word at the lower left
    attention[0, 0, 3, 2 + 3] = 0.6  # padding
    output = {
        "logits": torch.tensor([[0.0, 1.0]]), "study_id": ["a"], "attention": attention, "image_shape": (16, 16),
    }  # fmt: skip
    batch = {
        "question": ["where?"], "attention_mask": torch.tensor([[1, 1, 0, 0]]), "image_index": torch.tensor([0]),
        "image": torch.zeros(1, 1, 16, 16),
    }  # fmt: skip
    engine = SimpleNamespace(network=network(text_prefix), state=SimpleNamespace(output=output, batch=batch))
    writer = AnswerWriter(AnswerVocabulary(("no", "yes")), tmp_path)
    writer._start(engine)
    writer._collect(engine)
    (overlay,) = writer._overlays
    assert overlay.label == "yes"
    assert np.unravel_index(overlay.heat.argmax(), (2, 2)) == place
    assert overlay.heat.sum() == pytest.approx(1)
    assert overlay.heat[1, 1] == 0
