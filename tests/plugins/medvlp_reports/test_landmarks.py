"""MedKLIP's vocabulary: classes of lemmas, and landmarks of anatomies."""

from __future__ import annotations

import pytest

from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lemmas import lemmatize

VOCABULARY = medklip_vocabulary()


def test_there_are_75_entities_and_51_positions_without_repeats() -> None:
    assert len(set(VOCABULARY.entities)) == len(VOCABULARY.entities) == 75
    assert len(set(VOCABULARY.positions)) == len(VOCABULARY.positions) == 51
    assert [rule.name for rule in VOCABULARY.rules] == list(VOCABULARY.positions[:49])


def test_cxr14_queries_have_the_published_indices() -> None:
    """The indices that MedKLIP's zero-shot classification of ChestX-ray14 reads."""
    names = [
        "atelectasis", "cardiomegaly", "effusion", "infiltrate", "mass", "nodule", "pneumonia", "pneumothorax",
        "consolidation", "edema", "emphysema", "tail_abnorm_obs", "thicken", "hernia",
    ]  # fmt: skip
    assert [VOCABULARY.entities.index(name) for name in names] == [
        12, 24, 8, 56, 54, 38, 20, 10, 14, 11, 52, 73, 43, 59
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("anatomy", "position"),
    [
        ("trachea", "trachea"),
        ("hilum|left", "left_hilar"),
        ("hilar|right", "right_hilar"),
        ("perihilar|right|left", "hilar_unspec"),
        ("hilar|left|right", "other"),
        ("pleural|left", "left_pleural"),
        ("pleural|bilateral", "pleural_unspec"),
        ("pleural|left|right", "pleural_unspec"),
        ("heart|left", "heart_size"),
        ("border|heart|left", "heart_border"),
        ("hemidiaphragm|right", "right_diaphragm"),
        ("hemidiaphragms", "diaphragm_unspec"),
        ("lobe|left|lower", "lower_left_lobe"),
        ("lingula", "upper_left_lobe"),
        ("lingula|left", "other"),
        ("lobe|right|middle", "middle_right_lobe"),
        ("lobe|middle", "other"),
        ("lung|left|base", "left_lower_lung"),
        ("base|left", "left_lower_lung"),
        ("left", "left_lung_unspec"),
        ("lung|left|perihilar", "left_hilar"),
        ("lung|left|apex", "left_apical_lung"),
        ("lung|left|volume", "other"),
        ("apical|right", "right_apical_lung"),
        ("apices", "lung_apices"),
        ("bibasilar", "lung_bases"),
        ("lungs|bases", "lung_bases"),
        ("lobe|lower", "lung_bases"),
        ("angle|costophrenic|left", "left_costophrenic"),
        ("silhouette|cardiomediastinal", "mediastinal"),
        ("spine|thoracic", "spine"),
        ("atrium|left", "other"),
        ("arch|aortic", "aorta"),
        ("cavoatrial junction", "cavoatrial_junction"),
        ("vasculature|pulmonary", "pulmonary"),
        ("lungs", "lung_volumes"),
        ("volumes|lung", "lung_volumes"),
        ("humerus", "other"),
        ("unspecified", "unspecified"),
    ],
)
def test_an_anatomy_is_at_the_first_landmark_whose_rule_holds(anatomy: str, position: str) -> None:
    assert VOCABULARY.position(anatomy) == position


def test_every_landmark_but_the_last_two_is_reached_by_some_anatomy() -> None:
    sides = ["", "|left", "|right"]
    levels = ["", "|lower", "|middle", "|upper", "|base", "|apical", "|border", "|mid"]
    heads = {word for rule in VOCABULARY.rules for word in rule.any_of} | {"bibasilar", "lingula"}
    reached = {VOCABULARY.position(head + side + level) for head in heads for side in sides for level in levels}
    assert reached >= set(VOCABULARY.positions[:49])


def test_left_and_right_are_treated_alike() -> None:
    swap = str.maketrans({"<": "left", ">": "right"})
    mirror = str.maketrans({"<": "right", ">": "left"})
    names = {"left": "right", "right": "left"}
    for head in ["hilum", "pleural", "hemidiaphragm", "lung", "apex", "costophrenic"]:
        for rest in ["", "|lower", "|mid", "|upper", "|base"]:
            here = VOCABULARY.position(f"{head}|<{rest}".translate(swap))
            there = VOCABULARY.position(f"{head}|<{rest}".translate(mirror))
            side, _, name = here.partition("_")
            assert there == (f"{names[side]}_{name}" if side in names else here)


@pytest.mark.parametrize(
    ("observation", "entity"),
    [
        ("enlarged", "enlarge"),
        ("enlargement", "enlarge"),
        ("increased", "enlarge"),
        ("opacities", "opacity"),
        ("opacification", "opacity"),
        ("calcified", "calcification"),
        ("atelectatic", "atelectasis"),
        ("widened", "widen"),
        ("nodular", "nodule"),
        ("dilated", "dilation"),
        ("elevated", "elevation"),
        ("distended", "distention"),
        ("hydropneumothorax", "pneumothorax"),
        ("infectious process", "pneumonia"),
        ("scarring", "scar"),
        ("hyperinflated", "hyperinflate"),
        ("blunting", "blunt"),
        ("crowding", "crowd"),
        ("aerated", "aerate"),
        ("thickened", "thicken"),
        ("degenerated", "degenerative"),
        ("lines", "line"),
        ("masses", "mass"),
        ("lower", "low"),
        ("clear", "clear"),
        ("unchanged", "excluded_obs"),
        ("larger", "excluded_obs"),
        ("improved", "excluded_obs"),
        ("sternotomy", "excluded_obs"),
        ("fibrosis", "tail_abnorm_obs"),
        ("not well seen", "tail_abnorm_obs"),
    ],
)
def test_an_observation_counts_as_the_class_of_its_lemma(observation: str, entity: str) -> None:
    assert VOCABULARY.entity(lemmatize(observation)) == entity


def test_phrases_merge_by_their_lemmas() -> None:
    assert VOCABULARY.merges[lemmatize("not well seen")] == "difficult to assess"
    assert VOCABULARY.merges[lemmatize("cannot be assessed")] == "difficult to assess"
