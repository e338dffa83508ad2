"""Phrases of a lexicon: their notation, their word forms, and a trie to find them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from medvlp_reports.word_forms import Lemmas, singular

__all__ = ["Lemmas", "singular"]

# Scripts that put no spaces between words: each sign is a token, and a phrase is a run of them.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"  # kana, Han, Hangul
)
_LETTERS = rf"[^\W\d_{_UNSPACED}]"
# Signs that belong to the letter before them: accents written apart, vowels of Hebrew, Arabic and the Indic scripts.
_SIGNS = r"[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0970-\u0dff]"
_NUMBERS_AND_MARKS = r"\d+(?:[.,]\d+)?|[-,;:/&=?+(|\t–—]"
_TOKEN = re.compile(rf"{_LETTERS}+(?:{_SIGNS}+{_LETTERS}*)*|{_NUMBERS_AND_MARKS}|[{_UNSPACED}]")
_ASCII_TOKEN = re.compile(rf"[a-z]+|{_NUMBERS_AND_MARKS}", re.ASCII)  # the same, twice as fast


def tokens_of(lowered: str) -> Iterator[re.Match[str]]:
    """The tokens of lower-case text; which marks count follows from what stands around them (``mark``)."""
    return (_ASCII_TOKEN if lowered.isascii() else _TOKEN).finditer(lowered)


QUESTION_BEFORE, QUESTION_AFTER = "?before", "?after"
"""What a question mark is read as: "?pneumonia", "pneumonia?"."""
COLUMN = "|"
"""What the end of a table's column is read as."""

_COLUMN_GAP = 40  # characters; columns are no further apart
_WORD_MARK = re.compile(r"\((?=(?:[^\W\d_]|[+-]){1,20}\??\))")


def mark(char: str, text: str, start: int) -> str | None:
    """The token for a mark at ``start`` of a text; None if it is ignored.

    A dash counts between spaces ("effusion - none"), a bracket before a single word ("effusion (none)"), the end of a
    column between words; a question mark stands before or after what it questions.
    """
    following = text[start + 1 : start + 2]
    if char in ",;:/&=":
        return None if char == ":" and following.isdigit() and text[start - 1 : start].isdigit() else char
    spaced = not start or text[start - 1].isspace()
    if char in "-–—":
        return "-" if spaced and (not following or following.isspace()) else None
    if char == "?":
        after = not spaced and (text[start - 1].isalnum() or text[start - 1 : start + 2] == "(?)")
        return QUESTION_AFTER if after else QUESTION_BEFORE
    if char == "(":
        return ":" if start and spaced and _WORD_MARK.match(text, start) else None
    if char == "+":
        return None if following.isalnum() or following == "_" else char
    around = text[max(0, start - _COLUMN_GAP) : start], text[start + 1 : start + _COLUMN_GAP]  # of a tab or bar
    return COLUMN if all(part.strip() for part in around) else None


REDACTED = frozenset(["xxx", "xxxx", "xxxxx"])
"""Marks of redacted words; like a language's articles they stand between words that belong together."""

MOST_SEQUENCES = 20_000
"""Maximum number of word sequences of one phrase."""

_NOTATION = re.compile(r"\s*([()|?]|[^\s()|?]+)")


def expand(notation: str, skipped: Collection[str] = REDACTED) -> list[tuple[str, ...]]:
    """Every word sequence of a phrase in lexicon notation.

    ``pleural (effusion|fluid)`` has alternatives; a word or group followed by ``?`` may be missing.
    Words are split as a report's text is ("port-a-cath" is three tokens); those of ``skipped`` count for nothing.

    Raises ValueError for unbalanced brackets, a ``?`` that follows nothing, or more than ``MOST_SEQUENCES``.
    """
    tokens = [match.group(1) for match in _NOTATION.finditer(notation)]
    sequences, rest = _alternatives(tokens, notation)
    if rest:
        raise ValueError(f"phrase {notation!r}: unbalanced ')'")
    tokenized = (tuple(token for word in words for token in _tokens(word, skipped)) for words in sequences)
    return list(dict.fromkeys(words for words in tokenized if words))


def _tokens(word: str, skipped: Collection[str]) -> list[str]:
    found = ((match[0], match.start()) for match in tokens_of(word.lower()))
    read = (token if token[0].isalnum() else mark(token, word, start) for token, start in found)
    return [token for token in read if token is not None and token not in skipped]


def _alternatives(tokens: list[str], notation: str) -> tuple[list[tuple[str, ...]], list[str]]:
    found: list[tuple[str, ...]] = []
    current: list[tuple[str, ...]] = [()]
    while tokens:
        token, *tokens = tokens
        if token == ")":
            return found + current, [token, *tokens]
        if token == "|":
            found, current = found + current, [()]
            continue
        if token == "?":
            raise ValueError(f"phrase {notation!r}: '?' follows nothing")
        if token == "(":
            options, tokens = _alternatives(tokens, notation)
            if not tokens:
                raise ValueError(f"phrase {notation!r}: unbalanced '('")
            tokens = tokens[1:]
        else:
            options = [(token,)]
        if tokens and tokens[0] == "?":
            options, tokens = [*options, ()], tokens[1:]
        if len(current) * len(options) > MOST_SEQUENCES:
            raise ValueError(f"phrase {notation!r}: has more than {MOST_SEQUENCES:,} word sequences")
        current = [left + right for left in current for right in options]
    return found + current, []


Trie = dict[str, Any]
_END = ""


def add_phrase(trie: Trie, words: tuple[str, ...], value: Any) -> Any:
    """Put a phrase into the trie; returns the value that was there before, if any (and keeps it)."""
    node = trie
    for word in words:
        node = node.setdefault(word, {})
    before = node.get(_END)
    if before is None:
        node[_END] = value
    return before


def vocabulary_of(trie: Trie) -> set[str]:
    """Every word of the trie's phrases."""
    words: set[str] = set()
    waiting = [trie]
    while waiting:
        for word, node in waiting.pop().items():
            if word != _END:
                words.add(word)
                waiting.append(node)
    return words


def longest_matches(trie: Trie, lemmas: list[str]) -> Iterator[tuple[int, int, Any]]:
    """(first, end, value) of the longest phrase at each place, left to right, without overlap."""
    index, count = 0, len(lemmas)
    while index < count:
        node = trie.get(lemmas[index])
        if node is None:
            index += 1
            continue
        value = node.get(_END)
        last = end = index + 1
        while end < count:
            node = node.get(lemmas[end])
            if node is None:
                break
            end += 1
            found = node.get(_END)
            if found is not None:
                value, last = found, end
        if value is None:
            index += 1
        else:
            yield index, last, value
            index = last
