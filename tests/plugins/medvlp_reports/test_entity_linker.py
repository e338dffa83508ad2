"""Linking text to a knowledge source's concepts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp_reports.entity_linker import EntityLinker
from medvlp_toolkit.data.records import Concept, Report

CONCEPTS = [
    Concept("C1", "Pleural effusion", ("Fluid, pleural", "effusion")),
    Concept("C2", "Lung"),
    Concept("C3", "Left lung", kind="anatomy"),
    Concept("C4", "X-ray", ("radiograph",)),
    Concept("C5", "All", ("acute lymphoblastic leukemia",)),
    Concept("C6", "Opacity"),
    Concept("C7", "pH"),
]


def linked(linker: EntityLinker, text: str) -> list[tuple[str, str]]:
    (findings,) = linker([Report("1", text)])
    return [(finding.entity, text[slice(*finding.span)]) for finding in findings if finding.span]


def test_the_longest_name_wins_whatever_its_case() -> None:
    linker = EntityLinker(CONCEPTS)
    assert linked(linker, "LEFT LUNG: small pleural effusion; lung.") == [
        ("C3", "LEFT LUNG"), ("C1", "pleural effusion"), ("C2", "lung"),
    ]  # fmt: skip


def test_plurals_and_hyphens_are_the_same_name() -> None:
    assert linked(EntityLinker(CONCEPTS), "Opacities, effusions on x ray and X-rays") == [
        ("C6", "Opacities"), ("C1", "effusions"), ("C4", "x ray"), ("C4", "X-rays"),
    ]  # fmt: skip


def test_a_name_does_not_reach_over_a_full_stop() -> None:
    assert linked(EntityLinker(CONCEPTS), "Normal on the left. Lung clear.") == [("C2", "Lung")]


def test_findings_are_mentions_without_presence_or_position() -> None:
    (finding,) = EntityLinker(CONCEPTS)([Report("1", "No effusion.")])[0]
    assert (finding.presence, finding.position, finding.concept_id) == (None, None, "C1")


def test_names_of_function_words_or_few_letters_are_left_out() -> None:
    assert linked(EntityLinker(CONCEPTS), "All of it, pH 7") == []
    assert linked(EntityLinker(CONCEPTS, min_length=2), "pH 7") == [("C7", "pH")]


def test_kinds_and_ignored_names_limit_what_is_linked() -> None:
    assert linked(EntityLinker(CONCEPTS, kinds=["anatomy"]), "left lung opacity") == [("C3", "left lung")]
    assert linked(EntityLinker(CONCEPTS, ignore=["Effusion"]), "effusion, pleural effusion") == [
        ("C1", "pleural effusion")
    ]


def test_a_shared_name_links_to_the_first_or_to_all() -> None:
    shared = [Concept("A", "mass"), Concept("B", "mass")]
    assert linked(EntityLinker(shared), "mass") == [("A", "mass")]
    assert linked(EntityLinker(shared, all_meanings=True), "mass") == [("A", "mass"), ("B", "mass")]


def test_a_knowledge_source_is_taken_as_its_concepts() -> None:
    linker = EntityLinker(SimpleNamespace(concepts=CONCEPTS))
    assert linker.entities == [concept.id for concept in CONCEPTS]
    assert list(linker.positions) == []


def test_a_source_without_concepts_is_refused() -> None:
    with pytest.raises(ValueError, match="no concepts of kind procedure"):
        EntityLinker(CONCEPTS, kinds=["procedure"])


def test_the_fingerprint_follows_names_and_options() -> None:
    first = EntityLinker(CONCEPTS).fingerprint
    assert first == EntityLinker(list(CONCEPTS)).fingerprint
    assert first != EntityLinker(CONCEPTS[:-1]).fingerprint
    assert first != EntityLinker(CONCEPTS, min_length=2).fingerprint


NAMES = st.lists(st.sampled_from(["lung", "left", "mass", "base", "of"]), min_size=1, max_size=3).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(NAMES, min_size=1, max_size=6, unique=True),
    st.lists(st.sampled_from(["lung", "left", "mass", "base", "of", "x"]), max_size=12),
)
def test_links_are_those_of_trying_every_name_at_every_word(names: list[str], words: list[str]) -> None:
    concepts = [Concept(name, name) for name in names]
    usable = {tuple(name.split()) for name in names if len(name) >= 3 and name != "of" and set(name.split()) != {"of"}}
    expected, index = [], 0
    while index < len(words):
        length = max(
            (n for n in (1, 2, 3) if tuple(words[index : index + n]) in usable and index + n <= len(words)), default=0
        )
        if length:
            expected.append(" ".join(words[index : index + length]))
        index += length or 1
    found = EntityLinker(concepts).link(" ".join(words))
    assert [finding.entity for finding in found] == expected
