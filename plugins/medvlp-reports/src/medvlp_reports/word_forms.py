"""Base forms of words, by language, and the parts of compound words."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from medvlp_reports.spelling import SpellingIndex

_LONGEST_WORD = 60  # characters; longer ones are no words
_SHORTEST_PART = 3
_LINKS = ("", "s", "es", "n", "en")  # what may stand between the parts of a compound

PLURALS, AS_WRITTEN = "plurals", "none"
"""Names of base forms beside those of Snowball's stemmers: English plurals, and words as they are."""


def singular(word: str) -> str:
    """The singular of a regular English plural; any other word unchanged."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1]


def fold(word: str) -> str:
    """A word without accents: reports are typed with and without them."""
    decomposed = unicodedata.normalize("NFD", word.replace("ß", "ss"))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def stemmer_names() -> list[str]:
    """The names that ``stemmer`` may have in a lexicon's ``tokens``."""
    import snowballstemmer

    return [AS_WRITTEN, PLURALS, *sorted(snowballstemmer.algorithms())]


@cache
def stem_function(name: str, fold_accents: bool) -> Callable[[str], str]:
    """A word to its base form. Raises KeyError for a name that ``stemmer_names`` does not have."""
    stem: Callable[[str], str]
    if name == PLURALS:
        stem = singular
    elif name == AS_WRITTEN:
        stem = str
    else:
        import snowballstemmer

        stem = snowballstemmer.stemmer(name).stemWord
    if not fold_accents:
        return stem
    return lambda word: stem(word if word.isascii() else fold(word))


class Lemmas(dict[str, str]):
    """Word → base form, filled as words are met: irregular forms from a table, else the language's stemmer.

    After ``correct_spelling`` a misspelt word of the vocabulary is read as that word.
    """

    def __init__(
        self, irregular: Mapping[str, str], stemmer: str = PLURALS, fold_accents: bool = False, limit: int = 200_000
    ) -> None:
        super().__init__()
        self._stemmer = stemmer, fold_accents
        self._limit = limit
        self._vocabulary: frozenset[str] = frozenset()
        self._spelling: SpellingIndex | None = None
        stem = stem_function(stemmer, fold_accents)
        self._irregular = {form: stem(lemma) for form, lemma in irregular.items()}
        self.update(self._irregular)
        self._limit += len(self)

    def correct_spelling(self, vocabulary: Iterable[str]) -> None:
        """From now on read a misspelt word of ``vocabulary`` as that word."""
        self._vocabulary = frozenset(vocabulary)
        self._spelling = SpellingIndex(self._vocabulary)

    def base_form(self, word: str) -> str:
        """The base form of a word that is spelled as it should be."""
        composed = word if word.isascii() else unicodedata.normalize("NFC", word)
        return self._irregular.get(composed) or stem_function(*self._stemmer)(composed)

    def __missing__(self, word: str) -> str:
        if len(word) > _LONGEST_WORD or not word[0].isalnum():
            return word
        lemma = self.base_form(word)
        if self._spelling is not None and lemma not in self._vocabulary:
            lemma = self._spelling.correct(lemma) or lemma
        if len(self) < self._limit:
            self[word] = lemma
        return lemma


Parts = tuple[tuple[int, int, str], ...]
"""(start, end, the word that it is looked up as) of each part of a compound word."""


class Compounds(dict[str, Parts]):
    """Word → its parts, none for a word that is no compound; filled as words are met.

    A compound is one of ``first_parts`` (part → the word that it stands for) and a word of the vocabulary, or another
    compound: "Unterlappenatelektase" is unter, lappen, atelektase.
    """

    def __init__(
        self, first_parts: Mapping[str, str], lemmas: Lemmas, vocabulary: frozenset[str], limit: int = 50_000
    ) -> None:
        super().__init__()
        self._first_parts = dict(sorted(first_parts.items(), key=lambda part: -len(part[0])))
        self._lemmas, self._vocabulary, self._limit = lemmas, vocabulary, limit

    def __missing__(self, word: str) -> Parts:
        parts: Parts = ()
        if len(word) <= _LONGEST_WORD and self._lemmas[word] not in self._vocabulary:
            parts = self._split(word, 0)
        if len(self) < self._limit:
            self[word] = parts
        return parts

    def _split(self, word: str, start: int) -> Parts:
        for part, meaning in self._first_parts.items():
            if not word.startswith(part, start):
                continue
            middle = start + len(part)
            for link in _LINKS:
                rest = middle + len(link)
                if not word.startswith(link, middle) or len(word) - rest < _SHORTEST_PART:
                    continue
                if self._lemmas[word[rest:]] in self._vocabulary:
                    return (start, middle, meaning), (rest, len(word), word[rest:])
                further = self._split(word, rest)
                if further:
                    return (start, middle, meaning), *further
        return ()

    def __reduce__(self) -> tuple[Any, ...]:
        return Compounds, (self._first_parts, self._lemmas, self._vocabulary, self._limit)
