"""Image files and the texts to rank for each of them, for inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvlp_toolkit.data.batches.encoded_texts import encode_texts
from medvlp_toolkit.data.batches.text_links import TextLinks
from medvlp_toolkit.data.inputs.image_files import ImageFiles, file_format
from medvlp_toolkit.data.inputs.text_lines import NOTHING, TextLines


class RetrievalFiles(ImageFiles):
    """Images, in batches of :class:`~medvlp_toolkit.data.ImageFiles`, with one set of texts for all.

    ``lines`` are the texts with their numbers, ``texts`` the model's inputs for them; see
    :func:`~medvlp_toolkit.data.encode_texts`.

    Args:
        images: a file or a folder.
        texts: a file with one text per line, a text, or a list.
        tokenizer: the checkpoint's.
        image_size, stored_format: see :func:`~medvlp_toolkit.data.inputs.image_files.file_format`.
        text_length: tokens after which texts are cut.
        links: finds entities of a knowledge graph in the texts.

    Raises:
        ValueError: when there is no image or no text.
        FileNotFoundError: when there is no such file.
    """

    def __init__(
        self,
        images: str | Path | None,
        texts: str | Path | Sequence[str] | None,
        tokenizer: Any,
        image_size: int,
        text_length: int = 40,
        links: TextLinks | None = None,
        stored_format: Mapping[str, Any] | str | Path | None = None,
    ) -> None:
        if images in NOTHING:
            raise ValueError("no image to rank texts for; name an image file or a folder (images)")
        super().__init__(str(images), file_format(image_size, stored_format))
        self.lines = TextLines.read(texts)
        self.texts = encode_texts(self.lines.texts, tokenizer, text_length, links)
