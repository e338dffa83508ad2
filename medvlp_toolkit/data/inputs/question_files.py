"""Image files with questions about them, as batches for inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from medvlp_toolkit.data.batches.dataset import whole_batch
from medvlp_toolkit.data.batches.encoded_texts import encode_texts
from medvlp_toolkit.data.batches.text_links import TextLinks
from medvlp_toolkit.data.inputs.image_files import ImageFiles, file_format
from medvlp_toolkit.data.inputs.text_lines import NOTHING


class QuestionFiles(Dataset):
    """Every question about every image of a folder.

    An item is an image; its batch is that of :class:`~medvlp_toolkit.data.PairDataset`, with ``question`` (list
    of str) and ``input_shape`` (I, 2).

    Args:
        images: a file or a folder; see :class:`~medvlp_toolkit.data.ImageFiles`.
        questions: one, or several.
        tokenizer: the checkpoint's.
        image_size, stored_format: see :func:`~medvlp_toolkit.data.inputs.image_files.file_format`.
        text_length: tokens after which questions are cut.
        links: finds entities of a knowledge graph in the questions.

    Raises:
        ValueError: for questions without an image, or images without a question.
    """

    def __init__(
        self,
        images: str | Path | None,
        questions: str | Sequence[str] | None,
        tokenizer: Any,
        image_size: int,
        text_length: int = 32,
        links: TextLinks | None = None,
        stored_format: Mapping[str, Any] | str | Path | None = None,
    ) -> None:
        asked = [questions] if isinstance(questions, str) else list(questions or [])
        self.questions = [text.strip() for text in asked if text not in NOTHING and text.strip()]
        if images in NOTHING:
            raise ValueError("no image is given for the question; name an image file or a folder (images)")
        if not self.questions:
            raise ValueError("an image without a question has no answer; ask one (question)")
        self.files = ImageFiles(str(images), file_format(image_size, stored_format))
        self.texts: dict[str, Any] = dict(encode_texts(self.questions, tokenizer, text_length, links))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        read = self.files.__getitems__(indices)
        count, asked = len(read["image"]), len(self.questions)
        return {
            **{name: value.repeat(count, *[1] * (value.ndim - 1)) for name, value in self.texts.items()},
            "image": read["image"],
            "image_index": torch.arange(count).repeat_interleave(asked),
            "input_shape": read["input_shape"],
            "study_id": [name for name in read["study_id"] for _ in self.questions],
            "question": self.questions * count,
        }


def question_loader(dataset: QuestionFiles, batch_size: int) -> DataLoader:
    """Batches of ``batch_size`` images in the data set's order."""
    return DataLoader(dataset, batch_size=batch_size, collate_fn=whole_batch)
