"""The contract of text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medvlp_toolkit.testing.suites.module import ModuleSuite

TEXTS = (
    "There is a small left pleural effusion.",
    "No pneumothorax. The heart is enlarged, and the lungs are clear.",
    "Normal.",
)


class TextEncoderSuite(ModuleSuite):
    """What :class:`medvlp_toolkit.interfaces.TextEncoder` promises.

    Attributes:
        texts: in the encoder's language, of different lengths.
        max_length: tokens to which texts are cut.
    """

    kind = "encoders"
    texts: ClassVar[Sequence[str]] = TEXTS
    max_length: ClassVar[int] = 64

    def tokens(self, module: nn.Module, texts: Sequence[str], what: str = "tokenizing texts") -> tuple[Tensor, Tensor]:
        self.check(callable(getattr(module, "tokenizer", None)), "it has no `tokenizer` that can be called on texts")
        with self.doing(what):
            made = module.tokenizer(  # type: ignore[operator]
                list(texts), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
            )
            return made["input_ids"], made["attention_mask"]

    def inputs(self, module: nn.Module, size: int, seed: int = 0) -> tuple[Any, ...]:
        texts = [self.texts[(number + seed) % len(self.texts)] for number in range(size)]
        return self.tokens(module, texts)

    def features(self, output: Any) -> Tensor:
        # Padded positions are irrelevant; the first token exists in every text.
        return super().features(output)[:, :1]

    def test_declares_its_attributes(self) -> None:
        module = self.module()
        for attribute in ("num_features", "num_prefix_tokens"):
            value = getattr(module, attribute, None)
            self.check(isinstance(value, int), f"its `{attribute}` is {value!r}; expected an int")
        self.check(callable(getattr(module, "summary", None)), "it has no method `summary`")

    def test_takes_every_token_that_its_tokenizer_knows(self) -> None:
        module = self.module().eval()
        with self.doing("len(tokenizer)"):
            known = len(module.tokenizer)  # type: ignore[arg-type]
        ids, _ = self.inputs(module, self.batch_size)
        self.check(
            int(ids.max()) < known,
            f"len(tokenizer) is {known}, and it gives the token {int(ids.max())}: a loss cannot be sized for it",
        )
        last = torch.full((1, 2), known - 1, dtype=torch.long)
        with torch.no_grad():
            self.run(module, last, torch.ones_like(last), what=f"encoding token {known - 1}, the tokenizer's last")

    def test_gives_a_feature_for_every_token(self) -> None:
        module = self.module().eval()
        ids, mask = self.inputs(module, self.batch_size)
        with torch.no_grad():
            hidden = self.run(module, ids, mask)
        expected = (*ids.shape, module.num_features)
        self.check(
            isinstance(hidden, Tensor) and tuple(hidden.shape) == expected,
            f"{tuple(ids.shape)} token ids give {tuple(getattr(hidden, 'shape', ()))}; expected {expected}",
        )

    def test_padding_does_not_change_a_text(self) -> None:
        module = self.module().eval()
        ids, mask = self.tokens(module, self.texts[:1])
        padding = module.tokenizer.pad_token_id or 0  # type: ignore[union-attr]
        longer = nn.functional.pad(ids, (0, 4), value=int(padding))  # type: ignore[arg-type]
        with torch.no_grad():
            alone = self.run(module, ids, mask)
            padded = self.run(module, longer, nn.functional.pad(mask, (0, 4)), what="a pass over padded texts")
        self.check(
            self.same(padded[:, : ids.shape[1]], alone), "padding a text changes its features: the mask is not heeded"
        )

    def test_empty_and_long_and_odd_texts_are_encoded(self) -> None:
        module = self.module().eval()
        texts = ["", "effusion " * 2000, "左侧少量胸腔积液 \x00 \U0001f600"]
        ids, mask = self.tokens(module, texts, "tokenizing an empty, a long and an odd text")
        self.check(ids.shape[1] <= self.max_length, f"truncation to {self.max_length} tokens leaves {ids.shape[1]}")
        with torch.no_grad():
            hidden = self.run(module, ids, mask, what="encoding an empty, a long and an odd text")
        self.check(bool(torch.isfinite(hidden[:, 0]).all()), "an empty, long or odd text gives undefined numbers")

    def test_summary_is_one_vector_per_text(self) -> None:
        module = self.module().eval()
        with torch.no_grad():
            hidden = self.run(module, *self.inputs(module, self.batch_size))
            with self.doing("summary(tokens)"):
                summary = module.summary(hidden)  # type: ignore[operator]
        self.check(
            isinstance(summary, Tensor) and tuple(summary.shape) == (self.batch_size, module.num_features),
            f"summary(tokens) has shape {tuple(getattr(summary, 'shape', ()))}; "
            f"expected {(self.batch_size, module.num_features)}",
        )

    def test_text_decides_the_features(self) -> None:
        module = self.module().eval()
        ids, mask = self.tokens(module, self.texts[:2])
        with torch.no_grad():
            summary = module.summary(self.run(module, ids, mask))  # type: ignore[operator]
        self.check(not self.same(summary[:1], summary[1:]), "two texts give the same features")
