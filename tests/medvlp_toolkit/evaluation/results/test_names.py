"""Readable names of entities, beside the ids."""

from __future__ import annotations

from pathlib import Path

import pytest

import medvlp_toolkit as mv
from medvlp_toolkit.evaluation import names_of
from medvlp_toolkit.evaluation.report.gallery import marked_text
from medvlp_toolkit.evaluation.report.overview import cautions
from medvlp_toolkit.evaluation.report.parts import readable as on_page
from medvlp_toolkit.evaluation.report.parts import showing
from medvlp_toolkit.evaluation.results.names import names_by_id, readable, write_names


def shipped() -> dict[str, str]:
    return names_of(mv.knowledge_sources.definitions(path="chest_entities"), None)


def test_classes_that_collect_the_rest_have_names_a_reader_understands() -> None:
    names = shipped()
    assert readable("tail_abnorm_obs", names) == "other abnormal observation (tail_abnorm_obs)"
    assert readable("excluded_obs", names) == "other observation without a diagnosis (excluded_obs)"
    assert all(name and "_" not in name for name in names.values())


def test_a_name_that_says_no_more_than_the_id_is_shown_alone_and_an_id_without_one_in_words() -> None:
    names = {"pneumothorax": "pneumothorax", "lung_mass": "Lung mass"}
    shown = ["pneumothorax", "Lung mass", "Pleural Thickening"]
    assert [readable(id_, names) for id_ in ("pneumothorax", "lung_mass", "Pleural_Thickening")] == shown


@pytest.mark.parametrize("names", [{}, {"lung_lesion": "lung lesion"}])
def test_a_page_and_a_caption_show_the_same_name(names: dict[str, str]) -> None:
    with showing(names):
        assert on_page("lung_lesion") == readable("lung_lesion", names) == "lung lesion"


def test_names_are_given_in_the_order_of_the_ids_or_by_id() -> None:
    expected = {"tail_abnorm_obs": "other", "edema": "oedema"}
    assert names_by_id(["tail_abnorm_obs", "edema"], ["other", "oedema"]) == expected
    assert names_by_id(["tail_abnorm_obs", "edema"], expected) == expected
    assert names_by_id(["edema"], None) == {}


def test_a_file_explains_the_columns_in_their_order(tmp_path: Path) -> None:
    path = write_names(tmp_path / "entities.csv", ["tail_abnorm_obs", "of_ones_own"], shipped())
    assert path.read_text().splitlines() == [
        "id,name",
        "tail_abnorm_obs,other abnormal observation",
        "of_ones_own,of ones own",
    ]


def test_a_page_names_entities_in_its_texts_and_cautions() -> None:
    marks = [{"start": 0, "end": 6, "entity": "tail_abnorm_obs", "presence": "present"}]
    marked = marked_text("Cavity in the left lung.", marks, "tail_abnorm_obs", shipped())
    assert "other abnormal observation (tail_abnorm_obs): " in marked
    row = {"auc": 0.5, "auc_interval": [0.3, 0.7], "ece": 0.0}
    with showing(shipped()):
        found = cautions({"zero_shot": {"labels": {"tail_abnorm_obs": row}, "few": [], "excluded": []}})
    assert any("other abnormal observation" in text for text in found)
