"""Answers as classes: normalisation, and the vocabulary that numbers them.

The vocabulary is stored in the checkpoint, because a head's output indices have no meaning without it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

#: Label of an answer outside the vocabulary.
UNSEEN = -1

_NUMBERS = {
    word: str(number)
    for number, word in enumerate(re.findall(r"\w+", "zero one two three four five six seven eight nine ten"))
} | {"none": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_NUMBER_WITH_COMMA = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
# The published code replaces at most this many full stops.
_FULL_STOPS = 32
# English contractions whose apostrophe may be missing in answers.
_CONTRACTIONS = re.findall(
    r"\S+",
    """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
    needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
    somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
    that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've
    we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's
    who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've
    you'll you're you've
    """,
)


def _written_without(words: Iterable[str]) -> dict[str, str]:
    """Each contraction, keyed by its spellings that lack an apostrophe."""
    spellings: dict[str, str] = {}
    for word in words:
        places = [at for at, character in enumerate(word) if character == "'"]
        for at in places:
            spellings[word[:at] + word[at + 1 :]] = word
    # The published table has one reversed entry.
    return {**spellings, "somebody'd": "somebodyd"}


_SPELLINGS = _written_without(_CONTRACTIONS)


def normalise_answer(answer: str) -> str:
    """The answer normalised as in VQA v2's evaluation (Goyal et al. 2017), for comparison.

    Punctuation is removed, or replaced by a space between letters; full stops are removed except before a digit; text
    is lower-cased; number words up to ten become digits; articles are removed; contractions get their apostrophe;
    commas are removed.
    """
    text = answer.lower()
    squeeze = _NUMBER_WITH_COMMA.search(text) is not None
    out = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if beside_space or squeeze else " ")
    out = _FULL_STOP.sub("", out, count=_FULL_STOPS)
    words = (_NUMBERS.get(word, word) for word in out.split())
    kept = [_SPELLINGS.get(word, word) for word in words if word not in _ARTICLES]
    return " ".join(kept).replace(",", "")


def as_written(answer: str) -> str:
    """The answer with outer spaces stripped; for class names, which are not prose."""
    return answer.strip()


@dataclass(frozen=True)
class AnswerVocabulary:
    """The possible answers of a head, numbered in this order.

    Args:
        answers: normalised, without duplicates.
        normalised: False if the answers are class names, which are compared as written.
    """

    answers: tuple[str, ...]
    normalised: bool = True

    def __post_init__(self) -> None:
        if not self.answers:
            raise ValueError("an answer vocabulary needs at least one answer; is the training split empty?")
        if len(set(self.answers)) < len(self.answers):
            raise ValueError("the answers of a vocabulary contain duplicates; expected each answer once")

    @classmethod
    def of(cls, answers: Iterable[str], normalised: bool = True, min_count: int = 1) -> Self:
        """The distinct answers occurring at least ``min_count`` times, alphabetically, independent of file order.

        Args:
            answers: of the training questions.
            normalised: see the class.
            min_count: rarer answers are left out.
        """
        clean = normalise_answer if normalised else as_written
        counts = Counter(clean(answer) for answer in answers)
        return cls(tuple(sorted(name for name, count in counts.items() if count >= min_count)), normalised)

    def __len__(self) -> int:
        return len(self.answers)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {answer: number for number, answer in enumerate(self.answers)}

    def clean(self, answer: str) -> str:
        """The answer in the form used for comparison."""
        return normalise_answer(answer) if self.normalised else as_written(answer)

    def encode(self, answers: Sequence[str]) -> Tensor:
        """(n,) int64 indices of the answers, -1 for those outside the vocabulary."""
        return torch.tensor([self._numbers.get(self.clean(answer), UNSEEN) for answer in answers], dtype=torch.int64)

    # -- in a checkpoint -----------------------------------------------------------------------

    def to_tensor(self) -> Tensor:
        """(bytes,) uint8: the vocabulary as JSON, so that it can be a buffer of the head."""
        content = json.dumps({"answers": self.answers, "normalised": self.normalised}, ensure_ascii=False)
        return torch.frombuffer(bytearray(content.encode("utf-8")), dtype=torch.uint8).clone()

    @classmethod
    def from_tensor(cls, content: Tensor) -> Self:
        """The vocabulary of a checkpoint's buffer.

        Raises:
            ValueError: when the buffer is damaged.
        """
        try:
            entry: Any = json.loads(bytes(content.to(torch.uint8).cpu().tolist()).decode("utf-8"))
            return cls(tuple(entry["answers"]), bool(entry["normalised"]))
        except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError):
            raise ValueError("the checkpoint's answer vocabulary is damaged; train or export the model again") from None

    @classmethod
    def from_state(cls, state: Mapping[str, Any], name: str = "head.vocabulary") -> Self:
        """The vocabulary in the state dict of a fine-tuned network.

        Raises:
            ValueError: when the state dict has none.
        """
        if name not in state:
            raise ValueError(
                "this checkpoint has no answer vocabulary, so it was not fine-tuned to answer; give the best.pt or "
                "model.pt of a fine-tuning run"
            )
        return cls.from_tensor(state[name])

    def check_same(self, other: AnswerVocabulary) -> None:
        """Raise ValueError if ``other`` numbers the answers differently."""
        if self == other:
            return
        shared = len(set(self.answers) & set(other.answers))
        raise ValueError(
            f"the answer vocabulary is from another data set: the checkpoint has {len(other)} answers, this data set "
            f"{len(self)}, {shared} in both; evaluate with the checkpoint's own (vocabulary: null) or train again"
        )
