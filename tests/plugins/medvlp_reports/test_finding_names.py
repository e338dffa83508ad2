"""The names under which findings are known, beside the published table of ChestX-ray14's."""

from __future__ import annotations

from medvlp_medklip.label_maps import CHESTXRAY14_TO_MEDKLIP
from medvlp_reports.finding_names import finding_names
from medvlp_reports.lexicon import default_lexicon


def test_the_labels_of_nih_stand_for_the_entities_of_the_published_evaluation() -> None:
    names = finding_names()
    assert {label: names[label] for label in CHESTXRAY14_TO_MEDKLIP} == CHESTXRAY14_TO_MEDKLIP


def test_chexperts_labels_and_the_entities_themselves_are_names() -> None:
    names = finding_names()
    assert names["Pleural Effusion"] == "effusion"
    assert names["Lung Opacity"] == "opacity"
    assert all(names[entity] == entity for entity in default_lexicon().entities)


def test_a_label_of_many_unlike_entities_stands_for_none() -> None:
    assert not {"Support Devices", "No Finding", "Pleural Other"} & set(finding_names())
