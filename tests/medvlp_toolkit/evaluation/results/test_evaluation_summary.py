from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from medvlp_toolkit.evaluation.results.results import plain
from medvlp_toolkit.evaluation.results.tables import duration, interval, number, print_summary
from medvlp_toolkit.evaluation.zero_shot.classification import classification_metrics
from medvlp_toolkit.evaluation.zero_shot.grounding import GroundingCase, grounding_metrics
from medvlp_toolkit.evaluation.zero_shot.laterality import laterality_metrics


@pytest.fixture
def metrics() -> dict:
    rng = np.random.default_rng(0)
    targets = rng.integers(2, size=(60, 3))
    targets[:, 2] = 0
    scores = rng.random((60, 3)) + targets
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    cases = [GroundingCase("nodule", heat, [(0, 0, 0.2, 0.2)]), GroundingCase("nodule", heat, [(0.5, 0.5, 0.2, 0.2)])]
    return {
        "zero_shot": classification_metrics(targets, scores, ["nodule", "effusion", "hernia"], replicates=40),
        "zero_shot_held_out": classification_metrics(targets[:, :1], scores[:, :1], ["catheter"], replicates=0),
        "grounding": grounding_metrics(cases, size=(32, 32), replicates=0, groups={"focal": ["nodule"]}),
        "laterality": {
            "position scores": laterality_metrics(["left", "right"], ["left", "left"], ["nodule", "nodule"]),
            "attention": laterality_metrics(["left"], ["left"]),
        },
        "seconds": {"training": 185.2, "evaluation": 4.25},
    }


def printed(metrics: dict, width: int = 120, **options) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_summary(metrics, console=console, **options)
    return console.file.getvalue()


def rows(text: str, first: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("│┃").split("│")]
        for line in text.splitlines()
        if line.startswith("│") and line.strip("│ ").startswith(first)
    ]


def test_every_block_shows_the_figures_of_the_metrics(metrics) -> None:
    text = printed(metrics, title="60 synthetic phantoms")
    assert text.startswith("60 synthetic phantoms")
    nodule, pointed = rows(text, "nodule")
    row = metrics["zero_shot"]["labels"]["nodule"]
    low, high = row["auc_interval"]
    assert nodule[:5] == ["nodule", "60", str(row["positives"]), f"{row['auc']:.3f}", f"{low:.3f}–{high:.3f}"]
    assert pointed[:3] == ["nodule", "2", "0.50"]
    assert pointed[4:6] == [f"{1 / 16:.2f}", "0.50"]
    assert rows(text, "position scores")[0][:4] == ["position scores", "nodule", "2", "0.500"]
    assert "training: 3 min 05 s" in text
    assert "evaluation: 4.2 s" in text


def test_held_out_findings_have_a_block_that_says_so(metrics) -> None:
    text = printed(metrics)
    held_out = text[text.index("Held-out findings") :]
    assert "never trained on, scored by description alone" in held_out
    assert rows(held_out, "catheter")
    assert not rows(text[: text.index("Held-out findings")], "catheter")


def test_labels_without_positives_are_shown_as_undefined(metrics) -> None:
    assert rows(printed(metrics), "hernia")[0] == ["hernia", "60", "0", "–", "–", "–"]
    assert rows(printed(metrics), "mean of 2")


def test_paths_stay_in_one_piece_on_a_narrow_terminal_and_come_last(metrics, tmp_path: Path) -> None:
    path = tmp_path / ("long_" * 30) / "[run]" / "metrics.json"
    text = printed(metrics, width=60, paths={"metrics": path})
    assert text.splitlines()[-1] == f"metrics: {path}"


def test_metrics_read_from_their_file_print_alike(metrics) -> None:
    assert printed(json.loads(json.dumps(plain(metrics)))) == printed(metrics)


def test_every_table_fits_a_terminal_of_80_columns(metrics) -> None:
    text = printed(metrics, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(len(row) == len(rows(text, "all")[0]) and "" not in row for row in rows(text, "focal"))


def test_absent_blocks_are_left_out() -> None:
    assert printed({}) == ""


def test_numbers_that_are_not_defined_are_dashes() -> None:
    assert [number(None), number(float("nan")), interval(None), number(0.126)] == ["–", "–", "–", "0.13"]


def test_durations_are_readable() -> None:
    assert [duration(s) for s in (4.25, 59.9, 59.99, 185.2, 7500)] == [
        "4.2 s",
        "59.9 s",
        "60.0 s",
        "3 min 05 s",
        "2 h 05 min",
    ]
