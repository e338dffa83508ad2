"""Phrases of a lexicon: their short notation, the word forms they cover, and a trie that finds them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from medvlp_reports.spelling import SpellingIndex

TOKEN = re.compile(r"[a-z]+|\d+(?:\.\d+)?|[-,;:/&=?+(|\t–—]")
"""A token of lower-case text; which marks count follows from what stands around them (``mark``)."""

QUESTION_BEFORE, QUESTION_AFTER = "?before", "?after"
"""What a question mark is read as: "?pneumonia", "pneumonia?"."""
COLUMN = "|"
"""What the end of a table's column is read as."""

_COLUMN_GAP = 40  # characters; columns are no further apart
_WORD_MARK = re.compile(r"\((?=[a-z+-]{1,20}\??\))")


def mark(char: str, text: str, start: int) -> str | None:
    """What a mark at ``start`` of a text is looked up as; None where it counts for nothing.

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


# Articles, and the marks of redacted words (XXXX, ___), stand between words that belong together.
ARTICLES = frozenset(["the", "a", "an"])
SKIPPED = ARTICLES | {"very", "xxx", "xxxx", "xxxxx"}
"""Tokens that count for nothing."""

_NOTATION = re.compile(r"\s*([()|?]|[^\s()|?]+)")


def expand(notation: str) -> list[tuple[str, ...]]:
    """Every word sequence that a phrase in lexicon notation stands for.

    ``pleural (effusion|fluid)`` has alternatives; a word or group followed by ``?`` may be missing.
    Words are split as a report's text is ("port-a-cath" is three tokens, of which "a" is skipped).

    Raises ValueError for unbalanced brackets or a ``?`` that follows nothing.
    """
    tokens = [match.group(1) for match in _NOTATION.finditer(notation)]
    sequences, rest = _alternatives(tokens, notation)
    if rest:
        raise ValueError(f"phrase {notation!r}: unbalanced ')'")
    tokenized = (tuple(token for word in words for token in _tokens(word)) for words in sequences)
    return list(dict.fromkeys(words for words in tokenized if words))


def _tokens(word: str) -> list[str]:
    found = ((match[0], match.start()) for match in TOKEN.finditer(word.lower()))
    read = (token if token[0].isalnum() else mark(token, word, start) for token, start in found)
    return [token for token in read if token is not None and token not in SKIPPED]


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
        current = [left + right for left in current for right in options]
    return found + current, []


_LONGEST_WORD = 60  # characters; longer ones are no words


class Lemmas(dict[str, str]):
    """Word → base form, filled as words are met: irregular forms from a table, else plural rules.

    After ``correct_spelling`` a misspelt word of the vocabulary is read as that word.
    """

    def __init__(self, irregular: Mapping[str, str], limit: int = 200_000) -> None:
        super().__init__(irregular)
        self._limit = len(irregular) + limit
        self._vocabulary: frozenset[str] = frozenset()
        self._spelling: SpellingIndex | None = None

    def correct_spelling(self, vocabulary: Iterable[str]) -> None:
        """From now on read a misspelt word of ``vocabulary`` as that word."""
        self._vocabulary = frozenset(vocabulary)
        self._spelling = SpellingIndex(self._vocabulary)

    def __missing__(self, word: str) -> str:
        if len(word) > _LONGEST_WORD or not word[0].isalnum():
            return word
        lemma = singular(word)
        if self._spelling is not None and lemma not in self._vocabulary:
            lemma = self._spelling.correct(lemma) or lemma
        if len(self) < self._limit:
            self[word] = lemma
        return lemma


def singular(word: str) -> str:
    """The singular of a regular English plural; any other word unchanged."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1]


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
