"""The lexicon's notation, its files, spelling and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lexicon import build_lexicon, default_lexicon, read_lexicon
from medvlp_reports.phrases import Lemmas, add_phrase, expand, longest_matches, singular
from medvlp_reports.resources import load_yaml
from medvlp_reports.rules import RuleFilter
from medvlp_reports.sentences import sentences
from medvlp_reports.spelling import SpellingIndex
from medvlp_toolkit.data.records import Report


def test_a_phrase_stands_for_each_of_its_alternatives() -> None:
    assert expand("pleural (effusion|fluid)") == [("pleural", "effusion"), ("pleural", "fluid")]
    assert expand("(small)? (left|right) base?") == [
        ("small", "left", "base"), ("small", "left"), ("small", "right", "base"), ("small", "right"),
        ("left", "base"), ("left",), ("right", "base"), ("right",),
    ]  # fmt: skip
    assert expand("no (sign (of|for)|hint)") == [("no", "sign", "of"), ("no", "sign", "for"), ("no", "hint")]


def test_a_phrase_is_split_as_text_is() -> None:
    assert expand("port-a-cath", {"a"}) == [("port", "cath")]
    assert expand("r/o") == [("r", "/", "o")]
    assert expand("isn't") == [("isn", "t")]


@pytest.mark.parametrize("notation", ["(a", "a)", "? a", "(a|b"])
def test_a_phrase_with_unbalanced_notation_is_refused(notation: str) -> None:
    with pytest.raises(ValueError, match="phrase"):
        expand(notation)


@pytest.mark.parametrize(
    ("plural", "base"),
    [
        ("effusions", "effusion"), ("opacities", "opacity"), ("masses", "mass"), ("biopsies", "biopsy"), ("ptx", "ptx"),
        ("atelectasis", "atelectasis"), ("thrombus", "thrombus"), ("abscess", "abscess"), ("indexes", "index"),
    ],
)  # fmt: skip
def test_regular_plurals_lose_their_ending(plural: str, base: str) -> None:
    assert singular(plural) == base


def test_the_longest_phrase_wins() -> None:
    trie: dict[str, Any] = {}
    for phrase in ("left", "left lower lobe", "lower"):
        add_phrase(trie, tuple(phrase.split()), phrase)
    words = ["left", "lower", "left", "lower", "lobe", "lobe"]
    assert list(longest_matches(trie, words)) == [(0, 1, "left"), (1, 2, "lower"), (2, 5, "left lower lobe")]


def test_base_forms_do_not_grow_without_end() -> None:
    lemmas = Lemmas({"bullae": "bulla"}, limit=2)
    words = ["bullae", "lungs", "hearts", "ribs", "ribs"]
    assert [lemmas[word] for word in words] == ["bulla", "lung", "heart", "rib", "rib"]
    assert len(lemmas) == 3


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("pneumthorax", "pneumothorax"), ("pneumothoorax", "pneumothorax"), ("pneumothorsx", "pneumothorax"),
        ("pneumothroax", "pneumothorax"), ("pneumothorax", None), ("neumothorax", None), ("pneuothorx", None),
        ("effusin", "effusion"), ("tip", None),
    ],
)  # fmt: skip
def test_a_word_one_edit_away_is_recognised(written: str, meant: str | None) -> None:
    assert SpellingIndex(["pneumothorax", "effusion", "tips"]).correct(written) == meant


def test_a_word_between_two_others_is_left_alone() -> None:
    assert SpellingIndex(["opacities", "opacitied"]).correct("opacitiex") is None


def test_sentences_keep_their_place_in_the_text() -> None:
    text = (
        "1. Heart is normal.Lungs clear! Nodule of 1.5 cm vs. mass seen\n\nNo edema\n2) Stable\n- New line\n goes on."
    )
    found = list(sentences(text))
    assert [part.strip() for _, part in found] == [
        "1", "Heart is normal", "Lungs clear", "Nodule of 1.5 cm vs. mass seen", "No edema", "2) Stable",
        "- New line\n goes on",
    ]  # fmt: skip
    assert all(text[start : start + len(part)] == part for start, part in found)


def blocks() -> Iterator[dict[str, Any]]:
    for name, section in load_yaml("findings.yaml").items():
        if name not in ("source", "irregular", "spelled_right", "ignore"):
            assert section["source"], name
            yield from section["blocks"]


def test_every_part_of_the_lexicon_names_its_source() -> None:
    assert sum(1 for _ in blocks()) > 100
    for name in ("findings.yaml", "anatomy.yaml", "cues.yaml", "medklip.yaml", "lemmas.yaml"):
        assert load_yaml(name)["source"]
    assert all(block["source"] for name, block in load_yaml("cues.yaml").items() if name != "source")


def test_no_phrase_of_the_lexicon_has_two_meanings() -> None:
    assert default_lexicon().duplicates == []


def test_every_class_but_those_without_words_of_their_own_has_a_concept() -> None:
    assert set(medklip_vocabulary().entities) == set(default_lexicon().concepts.values())


def test_finer_concepts_keep_apart_what_the_75_classes_join() -> None:
    concepts = default_lexicon().concepts
    assert concepts["fibrosis"] == concepts["granuloma"] == "tail_abnorm_obs"
    assert concepts["hernia"] == concepts["hiatal_hernia"] == "hernia"
    assert concepts["pleural_thickening"] == "thicken"
    assert concepts["enlarged_heart"] == "enlarge"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entity": "efusion"}, "not one of the 75"),
        ({"anatomy": "plura"}, "anatomy does not list"),
        ({"refine": {"hart": "x"}}, "anatomy does not list"),
        ({"cue": "maybe"}, "`cue`: .maybe. where .absent_before. is expected"),
        ({"phrases": [True]}, "quote"),
    ],
)
def test_a_mistake_in_a_users_lexicon_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    block = {"concept": "pleural_effusion", "entity": "effusion", "phrases": ["effusion"], **change}
    path = tmp_path / "findings.yaml"
    path.write_text(yaml.safe_dump({"source": "me", "mine": {"source": "me", "blocks": [block]}}), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_lexicon(findings=path)


def test_an_unknown_kind_of_cue_is_named() -> None:
    with pytest.raises(ValueError, match="unknown kind 'denial'"):
        build_lexicon(load_yaml("findings.yaml"), load_yaml("anatomy.yaml"), {"denial": {"phrases": ["no"]}})


def test_a_users_lexicon_replaces_the_findings(tmp_path: Path) -> None:
    path = tmp_path / "findings.yaml"
    path.write_text(
        "source: me\nmine:\n  source: me\n  blocks:\n  - {concept: unicorn, entity: device, phrases: [unicorn]}\n",
        encoding="utf-8",
    )
    (findings,) = RuleFilter(lexicon=read_lexicon(findings=path))(
        [Report("1", "No unicorns in the left lung. Effusion.")]
    )
    assert [(finding.concept_id, finding.position) for finding in findings] == [("unicorn", "left_lung_unspec")]


def test_a_lexicon_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "findings.yaml"
    path.write_text("a: [1\nb: 2", encoding="utf-8")
    with pytest.raises(ValueError, match="not readable as YAML"):
        read_lexicon(findings=path)
    with pytest.raises(FileNotFoundError):
        read_lexicon(findings=tmp_path / "none.yaml")
