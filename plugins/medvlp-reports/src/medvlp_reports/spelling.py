"""Misspelt words of a lexicon: one letter too many, missing, wrong, or two exchanged."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST = 8
"""Shorter words have too many neighbours ("making" and "marking")."""


class SpellingIndex:
    """Finds the unique word of a vocabulary for a misspelt word.

    Words of a vocabulary and a misspelling agree in their first letter and differ by one edit
    (letter deleted, inserted, replaced, or two neighbours exchanged). The index holds every word with
    one letter deleted, after SymSpell (W. Garbe, 2012), so that a look-up tries few candidates.
    """

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self._words = frozenset(word for word in vocabulary if len(word) >= SHORTEST and word.isalpha())
        self._longest = max(map(len, self._words), default=0)
        self._words_without: dict[str, list[str]] = {}
        for word in sorted(self._words):
            for shorter in _deletions(word):
                self._words_without.setdefault(shorter, []).append(word)

    def correct(self, word: str) -> str | None:
        """The vocabulary's word that is one edit away, or None if there is none or more than one."""
        if not SHORTEST - 1 <= len(word) <= self._longest + 1 or word in self._words:
            return None
        candidates = set(self._words_without.get(word, ()))
        for shorter in _deletions(word):
            if shorter in self._words:
                candidates.add(shorter)
            candidates.update(near for near in self._words_without.get(shorter, ()) if _one_edit(word, near))
        near = [candidate for candidate in candidates if candidate[0] == word[0]]
        return near[0] if len(near) == 1 else None


def _deletions(word: str) -> set[str]:
    return {word[:index] + word[index + 1 :] for index in range(len(word))}


def _one_edit(left: str, right: str) -> bool:
    """Whether two words of one length differ in one letter or in two exchanged neighbours."""
    differing = [index for index, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]
    if len(differing) == 1:
        return True
    return (
        len(differing) == 2
        and differing[1] == differing[0] + 1
        and left[differing[0]] == right[differing[1]]
        and left[differing[1]] == right[differing[0]]
    )
