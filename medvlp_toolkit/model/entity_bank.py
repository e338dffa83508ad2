"""Embeddings of entity descriptions: computed once by a frozen text model, cached on disk by content."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medvlp_toolkit.files import sha256_of

logger = logging.getLogger(__name__)


class EntityBank:
    """Embeds descriptions with a frozen text model.

    Given something to call (``_mode_: callable`` in a bundle), the text model is made only when an embedding is not on
    disk yet.

    Args:
        text_encoder: a text encoder, or what gives one when it is called without arguments.
        max_length: tokens per description. MedKLIP trained with 128 and evaluated with 64.
        trailing_separator: False omits the tokenizer's last special token, as MedKLIP's tokenizer does.
        pooling: ``first`` takes the class token, as published; ``mean`` averages over the description's tokens.
        center: subtract the mean vector of the ``reference`` descriptions: an untrained text model maps all texts to
            almost the same vector, and only the remainder distinguishes them.
        whiten: after centering, scale every direction in which the ``reference`` varies to the same weight, which
            separates descriptions that differ in one word (left, right) as far as any others.
        normalize: scale every vector to length 1.
        reference: descriptions whose mean ``center`` subtracts; the first ones encoded when None.
        cache_dir: folder to cache embeddings in; None disables the cache.
    """

    def __init__(
        self,
        text_encoder: nn.Module | Callable[[], Any],
        max_length: int = 128,
        trailing_separator: bool = False,
        pooling: Literal["first", "mean"] = "first",
        center: bool = False,
        whiten: bool = False,
        normalize: bool = False,
        reference: Sequence[str] | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        if pooling not in ("first", "mean"):
            raise ValueError(f"pooling '{pooling}' is not one of first, mean")
        if (center or whiten) and reference is None:
            raise ValueError("center and whiten need reference: the descriptions whose mean is subtracted")
        self._make = text_encoder
        self._encoder: Any = None
        self.max_length = max_length
        self.trailing_separator = trailing_separator
        self.pooling = pooling
        self.center = center or whiten
        self.whiten = whiten
        self.normalize = normalize
        self.reference = None if reference is None else list(reference)
        self.cache_dir = None if cache_dir is None else Path(cache_dir)

    def __call__(self, descriptions: Sequence[str]) -> Tensor:
        """(Q,) texts -> (Q, D) float32.

        Raises:
            ValueError: when a description is empty.
        """
        texts = list(descriptions)
        empty = [i for i, text in enumerate(texts) if not text.strip()]
        if empty or not texts:
            raise ValueError(f"description number {empty[0]} is empty" if empty else "no description to encode")
        path = (
            None if self.cache_dir is None else self.cache_dir / f"entity-bank-{self._fingerprint(texts)}.safetensors"
        )
        if path is not None and path.exists():
            return load_file(path)["embeddings"]
        vectors = self._encode(texts)
        if self.center and self.reference is not None:
            vectors = self._away_from_reference(vectors, self._encode(self.reference))
        if self.normalize:
            vectors = F.normalize(vectors, dim=-1)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            save_file({"embeddings": vectors}, temporary)
            temporary.replace(path)
        return vectors

    def _away_from_reference(self, vectors: Tensor, reference: Tensor) -> Tensor:
        centre = reference.mean(dim=0, keepdim=True)
        vectors = vectors - centre
        if self.whiten:
            _, spread, directions = torch.linalg.svd(reference - centre, full_matrices=False)
            kept = spread > spread[0] * 1e-4
            vectors = (vectors @ directions[kept].T / spread[kept]) @ directions[kept]
        return vectors

    @torch.no_grad()
    def _encode(self, texts: Sequence[str]) -> Tensor:
        if self._encoder is None:
            logger.info("encoding %d descriptions with the text model", len(texts))
            self._encoder = (self._make if isinstance(self._make, nn.Module) else self._make()).eval()
        encoder = self._encoder
        device = next((value.device for value in encoder.parameters()), torch.device("cpu"))
        rows = []
        for text in texts:
            ids = encoder.tokenizer(text, truncation=False)["input_ids"]
            ids = self._cut(ids, encoder.tokenizer)
            given = torch.tensor([ids], device=device)
            tokens = encoder(given, torch.ones_like(given))
            rows.append(tokens[0].mean(dim=0) if self.pooling == "mean" else encoder.summary(tokens)[0])
        return torch.stack(rows).float().cpu()

    def _cut(self, ids: list[int], tokenizer: Any) -> list[int]:
        """Keep at most ``max_length`` tokens, with or without the trailing separator as configured."""
        end = tokenizer.sep_token_id
        body = ids[:-1] if end is not None and ids and ids[-1] == end else ids
        if not self.trailing_separator:
            return body[: self.max_length]
        return [*body[: self.max_length - 1], end]

    def _fingerprint(self, texts: Sequence[str]) -> str:
        digest = hashlib.sha256()
        options = {
            "texts": list(texts),
            "reference": self.reference if self.center else None,
            "max_length": self.max_length,
            "trailing_separator": self.trailing_separator,
            "pooling": self.pooling,
            "whiten": self.whiten,
            "normalize": self.normalize,
            "text_encoder": list(_identity(self._make)),
        }
        if isinstance(self._make, nn.Module):  # no name says which vocabulary it has
            tokenizer: Any = self._make.tokenizer
            options["tokens"] = [tokenizer(text)["input_ids"] for text in [*texts, *(self.reference or [])]]
        digest.update(json.dumps(options, sort_keys=True, default=str).encode())
        return digest.hexdigest()[:24]


def _identity(make: nn.Module | Callable[[], Any]) -> Iterator[str]:
    """The identity of a text model: the callable, its arguments and the files of a folder among them; its weights."""
    if isinstance(make, nn.Module):
        yield f"{type(make).__module__}.{type(make).__qualname__}"
        for key, value in make.state_dict().items():
            yield f"{key}:{hashlib.sha256(value.cpu().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()}"
    elif isinstance(make, functools.partial):
        yield from _identity(make.func)
        for key, value in sorted(make.keywords.items()):
            yield f"{key}={value}"
            if isinstance(value, str | Path) and Path(value).is_dir():
                for file in sorted(Path(value).rglob("*")):
                    if file.is_file():
                        yield f"{file.relative_to(value)}:{sha256_of(file)}"
    else:
        yield f"{getattr(make, '__module__', '')}.{getattr(make, '__qualname__', repr(type(make)))}"
