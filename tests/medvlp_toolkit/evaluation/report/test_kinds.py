"""Pages of every kind of task, comparisons, and what is missing, hostile or cannot be written."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medvlp_toolkit.cli.main import app
from medvlp_toolkit.evaluation.report.page import render, write_report
from medvlp_toolkit.evaluation.report.parts import significant
from medvlp_toolkit.evaluation.report.verdicts import mean_of, verdict
from medvlp_toolkit.evaluation.results.results import Results, ResultsError
from tests.medvlp_toolkit.evaluation.report.html_page import Page
from tests.medvlp_toolkit.evaluation.report.kinds import KINDS

#: Kind -> id of its section, and words that only its page has.
OWN = {
    "answers": ("answers", "80 questions of 40 patients", "most common training answer"),
    "classes": ("classes", "80 pairs of 40 patients", "share of the commonest class"),
    "retrieval": ("retrieval", "60 texts.", "what chance finds"),
    "segmentation": ("segmentation", "60 images of 60 patients", "a model that draws nothing at all"),
    "fine_tuned": ("fine_tuned", "80 images of 80 patients", "Fine-tuned classification"),
    "pretraining": ("pretraining", "60 images of 60 patients", "most frequent answer"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_task_has_a_page_of_its_own_kind(kind: str, tmp_path: Path) -> None:
    text = render(Results.read(KINDS[kind](tmp_path / kind)))
    page = Page(text)
    section, *words = OWN[kind]
    assert section in {a.get("id") for _, a in page.elements}
    assert all(word in page.text for word in words)
    assert "labels" not in page.text or kind in ("fine_tuned", "pretraining")
    assert "no labels" not in page.text
    others = {own for own, *_ in OWN.values()} - {section}
    assert not others & {a.get("id") for _, a in page.elements}


def test_segmentation_is_headed_by_dice_where_the_finding_is(tmp_path: Path) -> None:
    folder = KINDS["segmentation"](tmp_path / "masks")
    page, measured = Page(render(Results.read(folder))), Results.read(folder).metrics["segmentation"]
    overview = page.text[page.text.index("Overview") :]
    assert overview.index("Dice where it is there") < overview.index("Dice, all images")
    assert f"overlap by a Dice of {measured['dice_positives']:.3f}" in page.text
    assert f"drawing nothing {1 - measured['positives'] / measured['n']:.3f}" in page.text


@pytest.mark.parametrize("kind", ["answers", "classes", "retrieval"])
def test_guessing_is_called_guessing(kind: str, tmp_path: Path) -> None:
    skilled = Page(render(Results.read(KINDS[kind](tmp_path / "skilled", skill=0.9 if kind != "retrieval" else 3.0))))
    guessing = Page(render(Results.read(KINDS[kind](tmp_path / "guessing", skill=0.0))))
    assert "better than guessing" in skilled.text.replace("not better than guessing", "")
    assert "not better than guessing" in guessing.text or "worse than guessing" in guessing.text
    assert "What to be careful about" in guessing.text


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ((0.51, 0.9), "better than guessing"),
        ((0.5, 0.9), "not better than guessing"),
        ((0.4, 0.6), "not better than guessing"),
        ((0.1, 0.49), "worse than guessing"),
        (None, "no interval, no verdict"),
    ],
)
def test_a_verdict_follows_from_the_interval(ends: Any, says: str) -> None:
    assert verdict({"auc": 0.7, "auc_interval": ends}, "auc", 0.5) == says


@pytest.mark.parametrize(("few", "says"), [(2, "too few to judge"), (1, "better than guessing")])
def test_a_mean_over_labels_of_a_handful_of_images_gets_no_verdict(few: int, says: str) -> None:
    mean = {"auc": 0.63, "auc_interval": (0.54, 0.68), "labels": 3}
    assert verdict(mean_of({"macro": mean, "few": ["a", "b"][:few]}), "auc", 0.5) == says


def test_a_handful_of_images_gets_no_verdict() -> None:
    assert verdict({"auc": 1.0, "auc_interval": (1.0, 1.0), "few": True}, "auc", 0.5) == "too few to judge"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.000123, "0.000123"),
        (0.6, "0.600"),
        (0.99987, "0.99987"),
        (1.0, "1.00"),
        (12.34, "12.3"),
        (0.0, "0.000"),
        (1.2e-9, "1.20e-09"),
        (None, "–"),
    ],
)
def test_thresholds_keep_their_significant_digits(value: float | None, written: str) -> None:
    assert significant(value) == written


def test_a_small_threshold_is_no_zero_on_the_page(tmp_path: Path) -> None:
    assert "0.000123" in Page(render(Results.read(KINDS["fine_tuned"](tmp_path / "a")))).text


# -- comparisons ----------------------------------------------------------------------------------


def figures(value: Any, *path: str) -> Iterator[tuple[str, float]]:
    """Every interval-bearing figure of a row."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if f"{key}_interval" in value and isinstance(entry, float):
                yield "/".join((*path, key)), entry
            yield from figures(entry, *path, key)


@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison_shows_every_figure_of_both(kind: str, tmp_path: Path) -> None:
    first = Results.read(KINDS[kind](tmp_path / "first"))
    second = Results.read(KINDS[kind](tmp_path / "second", skill=0.1, seed=4))
    page = Page(render(first, second, names=("Mine", "Theirs"))).text
    for results, name in ((first, "Mine"), (second, "Theirs")):
        alone = Page(render(results))
        cells = re.findall(r"\d\.\d{2,3}–\d\.\d{2,3}", alone.text)
        assert all(cell in page for cell in cells), name
        for path, value in figures(results.metrics):
            assert f"{value:.3f}" in page or f"{value:.2f}" in page, path


def test_all_figures_of_both_zero_shot_evaluations_are_shown(make_results) -> None:
    first, second = Results.read(make_results("a")), Results.read(make_results("b", skill=0.2, seed=5))
    page = Page(render(first, second)).text
    for path, value in figures(second.metrics):
        assert f"{value:.3f}" in page or f"{value:.2f}" in page, path


def test_models_are_called_by_the_names_given(make_results, tmp_path: Path) -> None:
    first, second, out = make_results("a", skill=3.0), make_results("b", skill=0.1, seed=5), tmp_path / "page.html"
    arguments = ["report", str(first), "--against", str(second), "--names", "ViT", "ResNet", "--out", str(out)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    page = Page(out.read_text())
    assert "Difference is ViT − ResNet" in page.text
    assert "ViT ranks better" in page.text
    assert not re.search(r"\b[AB]:", page.text)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--names", "A", "B"], "give the other results too"), (["--names", "A", "A", "--against", ""], "two different")],
)
def test_names_that_name_nothing_are_one_line(make_results, arguments: list[str], reason: str, tmp_path: Path) -> None:
    folder = make_results("a")
    arguments = [str(folder) if argument == "" else argument for argument in arguments]
    done = CliRunner().invoke(app, ["report", str(folder), "--out", str(tmp_path / "page.html"), *arguments])
    assert done.exit_code == 2
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_evaluations_of_different_tasks_are_not_compared(tmp_path: Path) -> None:
    first, second = KINDS["answers"](tmp_path / "a"), KINDS["segmentation"](tmp_path / "b")
    with pytest.raises(ResultsError, match=r"answers to questions.*segmentation.*nothing to compare"):
        write_report(first, tmp_path / "page.html", second)


def test_right_answers_are_compared_on_the_same_questions(tmp_path: Path) -> None:
    first, second = KINDS["answers"](tmp_path / "a", skill=0.9), KINDS["answers"](tmp_path / "b", skill=0.1, seed=3)
    page = Page(render(Results.read(first), Results.read(second))).text
    assert "Both models saw the same 80 questions" in page
    assert "A is better." in page
    same = Page(render(Results.read(first), Results.read(first))).text
    assert "The data does not distinguish the two." in same
    assert "Right by A alone: 0; by B alone: 0." in same


# -- what is said once, missing, hostile, or cannot be written ------------------------------------


def test_it_says_once_which_side_is_which(make_results) -> None:
    assert Page(render(Results.read(make_results()))).text.count("the left is the patient's right") == 1


def without(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The value once without each of its keys, and once with null there."""
    if not isinstance(value, dict):
        return
    for key in list(value):
        rest = {name: entry for name, entry in value.items() if name != key}
        yield (*path, key), rest
        yield (*path, key), rest | {key: None}
        for where, changed in without(value[key], (*path, key)):
            yield where, value | {key: changed}


@pytest.mark.parametrize("kind", [*KINDS, pytest.param("zero_shot", marks=pytest.mark.slow)])
def test_no_missing_key_breaks_the_page(kind: str, make_results, tmp_path: Path) -> None:
    """Metrics without a key, or with null, are of another version or of somebody's own evaluation."""
    folder = make_results(cases=False, images=12) if kind == "zero_shot" else KINDS[kind](tmp_path / kind)
    whole = Results.read(folder)
    seen: set[tuple[object, ...]] = set()
    for where, metrics in without(whole.metrics):
        # One label, group or direction stands for all of its kind.
        place = (where[0], len(where), where[-1], metrics_of(metrics, where) is None)
        if place in seen:
            continue
        seen.add(place)
        try:
            text = render(replace(whole, metrics=metrics))
        except ResultsError as refused:
            text = str(refused)
        except Exception as error:
            raise AssertionError(f"without {'/'.join(where)}: {error!r}") from error
        assert text.startswith("<!doctype html>") or "\n" not in text
    assert len(seen) > 10


def metrics_of(metrics: Any, where: tuple[str, ...]) -> Any:
    for key in where:
        metrics = metrics.get(key, "absent")
    return metrics


@pytest.mark.parametrize("key", ["bundle", "title", "hashes", "versions", "device", "time", "seconds", "config"])
def test_no_missing_provenance_breaks_the_page(key: str, make_results) -> None:
    whole = Results.read(make_results(cases=False))
    for run in ({name: value for name, value in whole.run.items() if name != key}, whole.run | {key: None}):
        Page(render(replace(whole, run=run)))


HOSTILE = (
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "javascript:alert(1)",
    "</style><img src=x onerror=1>",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_others_stays_text(text: str, make_results, tmp_path: Path) -> None:
    """Labels, groups, names, files and configurations come from elsewhere: none becomes markup."""
    whole = Results.read(make_results())
    foreign = ("effusion", "F", "attention", "description")

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {(text if key in foreign else key): renamed(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [renamed(entry) for entry in value]
        return text if value in ("effusion", "fluid", "chance", "no effusion", "validate") else value

    columns = [name.replace("effusion", text) for name in whole.scores.column_names]
    table = whole.scores.rename_columns(columns)
    run = whole.run | {
        "title": text,
        "bundle": text,
        "checkpoint": text,
        "config": {text: text},
        "versions": {text: text},
    }
    run |= {"device": text, "time": text, "seconds": {text: 1.0}, "hashes": {"checkpoint": text, "config": text}}
    assert whole.cases is not None
    rows = whole.cases.to_pylist()
    for row in rows:
        row |= {"note": text, "text": f"{text} effusion", "marks": []}
        row["finding"] = text if row["finding"] == "effusion" else row["finding"]
    cases = type(whole.cases).from_pylist(rows, schema=whole.cases.schema)
    results = Results(table, renamed(whole.metrics), run, cases)
    other = replace(results, run=run | {"checkpoint": "other"})
    plain, hostile = (
        Page(render(whole, whole, names=("1", "2"))),
        Page(render(results, other, names=(text, text + "2"))),
    )
    assert len(hostile.all("script")) == len(plain.all("script")) == 1
    assert {tag for tag, _ in hostile.elements} == {tag for tag, _ in plain.elements}
    known = {name for _, attributes in plain.elements for name in attributes}
    assert {name for _, attributes in hostile.elements for name in attributes} == known
    links = [a[name] or "" for _, a in hostile.elements for name in ("href", "src") if name in a]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert text in hostile.text


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_page_that_cannot_be_written_leaves_the_earlier_one(
    make_results, tmp_path: Path, monkeypatch, code: int
) -> None:
    folder, out = make_results(), tmp_path / "page.html"
    write_report(folder, out)
    before = out.read_text()

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    done = CliRunner().invoke(app, ["report", str(folder), "--title", "Later", "--out", str(out)])
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [f"medvlp: {out}: {os.strerror(code)}"]
    assert out.read_text() == before
    assert [path.name for path in tmp_path.glob("page*")] == ["page.html"]
