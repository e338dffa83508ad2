"""Base forms of observation words, from a table of our own; spaCy where a user prefers it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from medvlp_reports.phrases import singular
from medvlp_reports.resources import load_yaml

Lemmatizer = Callable[[str], str]
"""A phrase (lower case) to the phrase of its words' base forms."""


def lemmatize(phrase: str) -> str:
    """Base forms of a phrase's words by the table ``data/lemmas.yaml`` and the plural rules."""
    table = _table()
    return " ".join(table.get(word) or singular(word) for word in phrase.split())


def spacy_lemmatizer(model: str = "en_core_web_sm") -> Lemmatizer:
    """Base forms by a spaCy pipeline, as the published MedKLIP pre-processing had them.

    Raises ImportError where spaCy or the model is not installed.
    """
    try:
        import spacy
    except ImportError:
        raise ImportError("spaCy is not installed: pip install spacy, or leave lemmas to the built-in table") from None
    try:
        pipeline = spacy.load(model, disable=["parser", "ner"])
    except OSError:
        raise ImportError(f"spaCy has no model {model!r}: python -m spacy download {model}") from None
    return lambda phrase: " ".join(token.lemma_ for token in pipeline(phrase))


@cache
def _table() -> dict[str, str]:
    data = load_yaml("lemmas.yaml")
    table: dict[str, str] = {}
    for verb in data["verbs"]:
        for form in _verb_forms(verb):
            table[form] = verb
    table.update(data["irregular"])
    return table


def _verb_forms(verb: str) -> tuple[str, str, str]:
    """The -s, -ed and -ing forms of a regular verb."""
    if verb.endswith("e"):
        return verb + "s", verb + "d", verb[:-1] + "ing"
    if verb.endswith("y") and verb[-2] not in "aeou":
        return verb[:-1] + "ies", verb[:-1] + "ied", verb + "ing"
    # A short stressed syllable doubles its consonant (scar, scarred); "flatten" and "drain" do not.
    doubled = len(verb) <= 4 and verb[-1] not in "wxy" and verb[-2] in "aeiou" and verb[-3] not in "aeiou"
    stem = verb + verb[-1] if doubled else verb
    third = verb + ("es" if verb.endswith(("s", "x", "sh", "ch")) else "s")
    return third, stem + "ed", stem + "ing"
