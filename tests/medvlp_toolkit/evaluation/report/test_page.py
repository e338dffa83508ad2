"""What is on the page, read with an HTML parser."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from medvlp_toolkit.evaluation.report import page as page_module
from medvlp_toolkit.evaluation.report.page import render, write_report
from medvlp_toolkit.evaluation.results.results import Results, ResultsError
from tests.medvlp_toolkit.evaluation.report.html_page import Page


@pytest.fixture
def folder(make_results) -> Path:
    return make_results()


def read(folder: Path, **options) -> Page:
    return Page(render(Results.read(folder), **options))


def test_the_page_is_well_formed_and_fetches_nothing(folder: Path) -> None:
    text = render(Results.read(folder))
    page = Page(text)
    sources = [a[name] for _, a in page.elements for name in ("src", "href", "srcset", "action", "data") if a.get(name)]
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "http:" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in text
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_every_section_and_the_links_to_them_are_there(folder: Path) -> None:
    page = read(folder)
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    linked = {(a["href"] or "").removeprefix("#") for a in page.all("a")}
    assert linked <= set(ids)
    expected = {"overview", "zero_shot", "curves", "calibration", "subgroups", "grounding", "laterality", "probes"}
    assert expected | {"cases", "provenance"} <= set(ids)


def test_figures_are_those_of_the_metrics(folder: Path) -> None:
    page = read(folder)
    metrics = Results.read(folder).metrics["zero_shot"]
    row = metrics["labels"]["pleural_thickening"]
    assert "pleural thickening" in page.text
    assert f"{row['auc']:.3f}" in page.text
    assert f"{row['auc_interval'][0]:.3f}–{row['auc_interval'][1]:.3f}" in page.text
    assert f"{metrics['macro']['auc']:.3f}" in page.text
    point = row["operating_point"]
    assert f"{point['sensitivity']:.2f} {point['sensitivity_interval'][0]:.2f}" in page.text
    assert "chosen on split validate" in page.text


def test_labels_of_too_few_images_are_shown_as_such(folder: Path) -> None:
    page = read(folder)
    assert "hernia not in the mean" in page.text
    assert "Not in the mean, because too few images show them or lack them: hernia." in page.text
    assert "hernia not in the mean: too few images present or absent." in page.text


def test_without_another_split_no_operating_point_is_given(make_results) -> None:
    page = read(make_results(thresholds=False))
    assert "No operating point is given" in page.text
    assert "Sensitivity" not in page.text.replace("sensitivity", "")
    assert "Found" not in page.text.split("Cases")[1]
    assert "Present, highest score" in page.text


def test_provenance_has_every_hash(folder: Path) -> None:
    page = read(folder)
    run = Results.read(folder).run
    assert run["hashes"]["config"] in page.text
    assert run["hashes"]["data_split"] in page.text
    assert run["versions"]["scikit-learn"] in page.text


def test_cases_have_image_map_box_and_marked_sentences(folder: Path) -> None:
    page = read(folder)
    articles = page.all("article")
    assert len(articles) == 8
    assert [a["data-rank"] for a in articles][:4] == ["0", "1", "0", "0"]
    boxes = [a["style"] for a in page.all("span") if a.get("class") == "box"]
    assert boxes == ["left:25.0%;top:50.0%;width:25.0%;height:12.5%"] * 6
    assert len([a for a in page.all("img") if a.get("class") == "heat"]) == 8
    assert "False alarm" in page.text
    own = [a for a in page.all("mark") if a.get("title", "").startswith("effusion") and "own" in (a["class"] or "")]
    assert {a["class"] for a in own} == {"present own", "absent own"}
    assert "Heart size is normal" in page.text.split("pleural thickening")[-1]  # not spoken of: the whole report


def test_report_text_is_escaped(folder: Path) -> None:
    text = render(Results.read(folder))
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in text
    assert "<b>" not in text


def test_without_images_no_picture_and_no_sentence_is_left(folder: Path) -> None:
    text = render(Results.read(folder), images=False)
    page = Page(text)
    assert not page.all("img")
    assert "data:image" not in text
    assert "effusion on the right" not in text
    assert "cases" not in {a.get("id") for _, a in page.elements}
    assert "burned" not in page.text


def test_with_images_it_says_that_burned_in_names_are_not_removed(folder: Path) -> None:
    assert "Names burned into an image are not removed" in read(folder).text


def test_no_patient_and_no_study_is_named(folder: Path) -> None:
    text = render(Results.read(folder))
    assert "patient-" not in text
    assert "study-" not in text


def test_pictures_and_charts_say_what_they_are(folder: Path) -> None:
    page = read(folder)
    assert all("alt" in a for a in page.all("img"))
    assert all(a.get("role") == "img" and a.get("aria-label") for a in page.all("svg"))
    assert page.all("html")[0]["lang"] == "en"
    for name in ("finding", "kind", "heat", "boxes"):
        assert any(a.get("id") == name for _, a in page.elements)
    headers = [a for a in page.all("th") if "scope" not in a]
    assert not headers
    # One h1, and no level is skipped.
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_two_results_are_compared_side_by_side(make_results) -> None:
    first, second = make_results("better", skill=3.0), make_results("worse", skill=0.2, seed=5)
    page = Page(render(Results.read(first), Results.read(second)))
    comparison = page.text[page.text.index("Both models saw the same 120 images") :]
    assert "A ranks better" in comparison
    assert "< 0.001" in comparison
    auc = Results.read(second).metrics["zero_shot"]["macro"]["auc"]
    assert f"{auc:.3f}" in page.text
    assert len(page.all("article")) == 16
    assert any("series-2" in (a.get("class") or "") for a in page.all("path"))


def test_results_of_other_images_are_not_compared(make_results) -> None:
    first, second = make_results("first"), make_results("second", images=100)
    with pytest.raises(ResultsError, match="100 of them in both"):
        write_report(first, first.parent / "page.html", second)
    assert not (first.parent / "page.html").exists()


def test_scores_that_nothing_was_measured_of_are_measured_for_the_page(tmp_path: Path) -> None:
    table = {"study_id": ["a", "b", "c"], "target:x": [1, 0, -1], "score:x": [0.5, 0.25, 0.1]}
    Results.write(tmp_path, table, {}, {})
    page = read(tmp_path)
    assert "The evaluation measured nothing" in page.text
    assert "1 / 2" in page.text


@pytest.mark.parametrize(
    ("metrics", "reason"), [({}, "no image is known to have or lack"), ({"my_measure": {"a": 1}}, "(my_measure)")]
)
def test_a_folder_without_a_figure_to_show_is_one_line(tmp_path: Path, metrics: dict, reason: str) -> None:
    Results.write(tmp_path, {"study_id": ["a", "b"], "target:x": [-1, -1], "score:x": [0.5, 0.25]}, metrics, {})
    with pytest.raises(ResultsError, match=re.escape(reason)) as refused:
        write_report(tmp_path, tmp_path / "page.html")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "page.html").exists()


def test_the_gallery_gives_way_where_the_page_would_grow_too_large(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(page_module, "LARGEST", 500_000 + len(render(Results.read(folder), images=False)) + 9_000)
    page = read(folder)
    left_out = re.search(r"(\d+) further cases were left out", page.text)
    assert left_out is not None
    assert 0 < len(page.all("article")) == 8 - int(left_out.group(1))
    # The first of every finding and kind come first.
    assert page.all("article")[0]["data-rank"] == "0"


def test_a_page_of_75_labels_and_10_000_images_stays_small(tmp_path: Path) -> None:
    from medvlp_toolkit.evaluation.zero_shot.classification import classification_metrics, score_table

    rng = np.random.default_rng(0)
    truth = (rng.random((10_000, 75)) < 0.1).astype(np.int8)
    scores = rng.random((10_000, 75)).astype(np.float32) * 0.5 + 0.3 * truth
    labels = [f"entity_{i}" for i in range(75)]
    table = score_table([f"s{i}" for i in range(10_000)], truth, scores, labels)
    metrics = {"zero_shot": classification_metrics(truth, scores, labels, replicates=0)}
    Results.write(tmp_path / "large", table, metrics, {})
    path = write_report(tmp_path / "large", tmp_path / "page.html")
    assert path.stat().st_size < 8_000_000


@pytest.mark.parametrize("broken", ["scores.parquet", "metrics.json", "run.json"])
def test_an_incomplete_folder_makes_no_page(folder: Path, broken: str, tmp_path: Path) -> None:
    (folder / broken).unlink()
    with pytest.raises(ResultsError, match=f"lacks {broken}"):
        write_report(folder, tmp_path / "page.html")


def test_results_of_another_version_make_no_page(folder: Path, tmp_path: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"schema_version": 99}))
    with pytest.raises(ResultsError, match="schema 99"):
        write_report(folder, tmp_path / "page.html")
