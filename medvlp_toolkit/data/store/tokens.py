"""The texts of a store, tokenised once and memory-mapped.

A folder ``tokens/<hash>/`` holds ``input_ids.npy`` (N, L) int32 padded on the right, ``lengths.npy`` (N,) int32,
``offsets.npy`` (N, L, 2) int32 (start and end in characters of the text; 0, 0 for special tokens) and
``tokens.json``. The hash covers the tokenizer and the length.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.data.store.array_file import ArrayFile
from medvlp_toolkit.hub import load_pretrained

ARRAYS = ("input_ids", "lengths", "offsets")


@dataclass(frozen=True)
class TokenTable:
    """Token ids of every row of a store. It is cheap to send to worker processes."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Self:
        return cls(path)

    @cached_property
    def meta(self) -> dict[str, Any]:
        """``tokenizer``, ``max_length``, ``pad_id``, ``vocabulary_size``, ``truncated`` (number of truncated texts)."""
        return dict(json.loads((self.path / "tokens.json").read_text(encoding="utf-8")))

    @cached_property
    def input_ids(self) -> npt.NDArray[np.int32]:
        """(N, L) int32."""
        return self._array("input_ids")

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """(N,) int32: tokens before the padding; ``attention_mask = arange(L) < length``."""
        return self._array("lengths")

    @cached_property
    def offsets(self) -> npt.NDArray[np.int32]:
        """(N, L, 2) int32."""
        return self._array("offsets")

    def _array(self, name: str) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class Tokenizer:
    """A fast tokenizer with truncation: from a hub name, a folder, a ``tokenizer.json``, or an object.

    Padding and truncation settings of a ``tokenizer.json`` are removed first.
    """

    def __init__(self, source: Any, max_length: int = 128) -> None:
        if max_length < 3:
            raise ValueError(f"text_length is {max_length}; expected 3 tokens or more")
        self.max_length = max_length
        self.backend, self.pad_id, self.name = load_backend(source)
        self.backend.no_padding()
        self.backend.no_truncation()
        digest = hashlib.sha256(self.backend.to_str().encode())
        digest.update(f"|{self.pad_id}|{max_length}".encode())
        self.key = digest.hexdigest()[:16]
        self.backend.enable_truncation(max_length)

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], int]:
        """``input_ids`` (n, L), ``lengths`` (n,), ``offsets`` (n, L, 2), and the number of truncated texts."""
        ids = np.full((len(texts), self.max_length), self.pad_id, np.int32)
        lengths = np.zeros(len(texts), np.int32)
        offsets = np.zeros((len(texts), self.max_length, 2), np.int32)
        truncated = 0
        for row, encoding in enumerate(self.backend.encode_batch(list(texts))):
            count = len(encoding.ids)
            ids[row, :count], lengths[row], offsets[row, :count] = encoding.ids, count, encoding.offsets
            truncated += bool(encoding.overflowing)
        return ids, lengths, offsets, truncated


def load_backend(source: Any) -> tuple[Any, int, str]:
    """A private copy of the ``tokenizers.Tokenizer``, its padding id and a readable name."""
    import tokenizers

    if isinstance(source, Tokenizer):
        return tokenizers.Tokenizer.from_str(source.backend.to_str()), source.pad_id, source.name
    name = str(source) if isinstance(source, (str, Path)) else type(source).__name__
    pad_token: str | None = None
    if isinstance(source, (str, Path)) and Path(source).suffix == ".json":
        if not Path(source).is_file():
            raise FileNotFoundError(f"tokenizer {source}: the file does not exist")
        backend = tokenizers.Tokenizer.from_file(str(source))
    elif isinstance(source, tokenizers.Tokenizer):
        backend = tokenizers.Tokenizer.from_str(source.to_str())
    else:
        if isinstance(source, (str, Path)):
            from transformers import AutoTokenizer

            source = load_pretrained(AutoTokenizer.from_pretrained, source, "tokenizer")
        fast = getattr(source, "backend_tokenizer", None)
        if fast is None:
            raise ValueError(f"tokenizer {name}: not a fast tokenizer (it has no backend_tokenizer)")
        backend, pad_token = tokenizers.Tokenizer.from_str(fast.to_str()), getattr(source, "pad_token", None)
    padding = backend.padding or {}
    for token in (pad_token, padding.get("pad_token"), "[PAD]", "<pad>"):
        pad_id = backend.token_to_id(token) if token else None
        if pad_id is not None:
            return backend, int(pad_id), name
    return backend, 0, name


def write_tokens(folder: Path, tokenizer: Tokenizer, texts: Iterable[Sequence[str]], count: int) -> Path:
    """Write ``folder/<hash>/`` for ``count`` texts given in batches, atomically.

    One batch is in memory at a time. Returns the folder, written or already complete.
    """
    target = folder / tokenizer.key
    if (target / "tokens.json").is_file():
        return target
    building = folder / f".{tokenizer.key}.partial"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    shapes = {"input_ids": (tokenizer.max_length,), "lengths": (), "offsets": (tokenizer.max_length, 2)}
    row = truncated = 0
    with ExitStack() as stack:
        files = [
            stack.enter_context(ArrayFile(building / f"{name}.npy", np.int32, shape)) for name, shape in shapes.items()
        ]
        for batch in texts:
            ids, lengths, offsets, cut = tokenizer.encode(batch)
            for file, array in zip(files, (ids, lengths, offsets), strict=True):
                file.write(row, array)
            row, truncated = row + len(batch), truncated + cut
        for file in files:
            file.finish(row)
    if row != count:
        raise ValueError(f"{row} texts for a store of {count} studies")
    meta = {
        "tokenizer": tokenizer.name,
        "max_length": tokenizer.max_length,
        "pad_id": tokenizer.pad_id,
        "vocabulary_size": tokenizer.backend.get_vocab_size(),
        "truncated": truncated,
    }
    (building / "tokens.json").write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(building, target)
    return target
