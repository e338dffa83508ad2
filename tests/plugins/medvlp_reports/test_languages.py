"""The lexicons of other languages, sentence by sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medvlp_reports.lexicon import shipped_lexicon
from medvlp_reports.rules import RuleFilter
from tests.plugins.medvlp_reports.test_rules import assert_read

LANGUAGES = ("german", "spanish")
CASES = [
    pytest.param(language, sentence, expected, id=f"{language}, {group}: {sentence}")
    for language in LANGUAGES
    for group, cases in yaml.safe_load(Path(__file__).with_name(f"{language}.yaml").read_text(encoding="utf-8")).items()
    for sentence, expected in cases
]


@pytest.fixture(scope="module")
def filters() -> dict[str, RuleFilter]:
    return {language: RuleFilter(lexicon=language) for language in LANGUAGES}


@pytest.mark.parametrize(("language", "sentence", "expected"), CASES)
def test_a_sentence_is_read_as_a_radiologist_means_it(
    filters: dict[str, RuleFilter], language: str, sentence: str, expected: str
) -> None:
    assert_read(filters[language], sentence, expected)


@pytest.mark.parametrize("language", LANGUAGES)
def test_forty_sentences_of_each_language_are_read(language: str) -> None:
    assert sum(case.values[0] == language for case in CASES) >= 40


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_phrase_has_two_meanings(language: str) -> None:
    assert shipped_lexicon(language).duplicates == []
