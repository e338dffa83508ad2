"""``medvlp inspect``: a store in numbers and pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from typer.testing import CliRunner

from medvlp_toolkit.cli.main import app
from medvlp_toolkit.data.records import Box, Finding, Presence, Report, Study
from medvlp_toolkit.preparing.prepare import Prepare

HEAVY = ("torch", "monai", "ignite", "transformers")
SECRET = "Smith-4711"


class Spelled:
    """Reads findings written out as ``entity:presence:position``."""

    entities = ("effusion", "nodule", "hernia")
    positions = ("left", "right", "apex")

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        return [[self.finding(word) for word in report.text.split()] for report in reports]

    def finding(self, word: str) -> Finding:
        entity, presence, position = word.split(":")
        return Finding(entity, Presence(presence), position or None)


class Studies:
    """Six studies of three patients, the last without a report."""

    texts = (
        "effusion:present:left effusion:present:right effusion:absent:",
        "effusion:absent: nodule:uncertain:left",
        "nodule:uncertain: nodule:absent:",
        "nodule:present:left effusion:present:left effusion:present:left",
        "effusion:uncertain:right",
        "",
    )

    def __iter__(self) -> Iterator[Study]:
        for number, text in enumerate(self.texts):
            yield Study(
                id=f"{SECRET}-{number}",
                patient_id=f"{SECRET}-{number // 2}",
                image=None,
                report=Report(f"{SECRET}-{number}", text),
                split="train" if number < 4 else "test",
                labels={"Edema": (1, 0, -1)[number % 3]} if number else {},
                boxes=(Box("effusion", 0.25, 0.5, 0.25, 0.25),) if number == 0 else (),
            )

    def read_image(self, study: Study) -> np.ndarray:
        return np.full((1, 32, 32), 40 * int(study.id.rpartition("-")[2]), np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspected") / "store"
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    Prepare(
        Studies(), folder, image_size=32, report_filter=Spelled(), tokenizer=tokenizer, text_length=3, workers=0
    ).run()
    return folder


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    return ended.exit_code, ended.stdout, ended.stderr


def summary(*arguments: object) -> dict[str, Any]:
    status, shown, said = run(*arguments, "--json")
    assert (status, said) == (0, "")
    told: dict[str, Any] = json.loads(shown)
    return told


def test_entities_count_studies_by_their_strongest_statement(store: Path) -> None:
    assert summary(store)["entities"] == {
        "effusion": {"present": 2, "absent": 1, "uncertain": 1},
        "nodule": {"present": 1, "absent": 1, "uncertain": 1},
        "hernia": {"present": 0, "absent": 0, "uncertain": 0},
    }


def test_positions_count_studies_and_findings_of_present_entities(store: Path) -> None:
    assert summary(store)["positions"] == {
        "left": {"studies": 2, "findings": 4},
        "right": {"studies": 1, "findings": 1},
        "apex": {"studies": 0, "findings": 0},
    }


def test_labels_tokens_splits_and_what_was_left_out(store: Path) -> None:
    told = summary(store)
    assert told["labels"] == {"Edema": {"present": 1, "absent": 2, "uncertain": 1}}
    assert told["counts"]["splits"] == {"test": 1, "train": 4}
    assert told["counts"]["rejected"] == {"empty report": 1}
    assert told["counts"]["studies"] + sum(told["counts"]["rejected"].values()) == told["counts"]["listed"] == 6
    assert (told["studies"], told["patients"]) == (5, 3)
    assert told["images"] == {"shape": [1, 32, 32], "dtype": "uint8", "bytes": 5 * 32 * 32 + 128, "masks": False}
    [tokens] = told["tokens"]
    assert (tokens["max_length"], tokens["median_length"], tokens["truncated"]) == (3, 2.0, 0)


def test_one_split_is_counted_alone(store: Path) -> None:
    told = summary(store, "--split", "test")
    assert (told["studies"], told["patients"]) == (1, 1)
    assert told["entities"]["effusion"] == {"present": 0, "absent": 0, "uncertain": 1}
    assert told["positions"]["right"] == {"studies": 0, "findings": 0}
    assert told["labels"] == {"Edema": {"present": 0, "absent": 1, "uncertain": 0}}


def test_tables_show_the_frequent_first_with_their_share(store: Path) -> None:
    status, shown, _ = run(store)
    assert status == 0
    lines = [line.split() for line in shown.splitlines()]
    entities = next(number for number, line in enumerate(lines) if line[:3] == ["entity", "in", "the"])
    assert lines[entities + 1] == ["effusion", "2", "1", "1", "40.0"]
    assert lines[entities + 2] == ["nodule", "1", "1", "1", "20.0"]
    assert ["train", "4"] in lines
    assert ["empty", "report", "1"] in lines
    assert "1 of 3 entities are not mentioned in any report" in shown
    assert SECRET not in shown


def test_examples_are_pictures_named_by_running_number(store: Path, tmp_path: Path) -> None:
    (tmp_path / "example_900.png").write_bytes(b"of an earlier call")
    (tmp_path / "example_notes.png").write_bytes(b"somebody else's")
    status, shown, _ = run(store, "--out", tmp_path, "--examples", 3)
    assert status == 0
    names = ["example_001.png", "example_002.png", "example_003.png", "example_notes.png", "examples.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert f"3 examples: {tmp_path / 'examples.png'}" in shown
    assert SECRET not in shown
    # Spread evenly over the store: rows 0, 2 and 4, whose pixels are 0, 80 and 160.
    centres = [Image.open(tmp_path / name).getpixel((200, 10)) for name in names[:3]]
    assert centres == [(0, 0, 0), (80, 80, 80), (160, 160, 160)]


def test_boxes_are_drawn_where_they_are(store: Path, tmp_path: Path) -> None:
    run(store, "--out", tmp_path, "--examples", 1)
    picture = Image.open(tmp_path / "example_001.png")
    assert picture.getpixel((64, 150)) == picture.getpixel((100, 128)) == (0x5A, 0xD1, 0xFF)
    assert picture.getpixel((100, 150)) == (0, 0, 0)


def test_no_more_examples_than_studies_are_drawn(store: Path, tmp_path: Path) -> None:
    run(store, "--out", tmp_path / "test", "--split", "test")
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == ["example_001.png", "examples.png"]


def test_a_changed_file_is_found_by_verifying(store: Path, tmp_path: Path) -> None:
    assert "every file matches its SHA-256" in run(store, "--verify")[1]
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    changed = bytearray((copy / "images.npy").read_bytes())
    changed[-1] ^= 1
    (copy / "images.npy").write_bytes(changed)
    assert run(copy)[0] == 0
    status, _, said = run(copy, "--verify")
    assert status == 2
    assert "images.npy has changed since it was written" in said


def test_a_store_of_reports_only_has_no_pictures(tmp_path: Path) -> None:
    Prepare(Studies(), tmp_path / "store", image_size=None, report_filter=Spelled(), workers=0).run()
    assert "images: none, reports only" in run(tmp_path / "store")[1]
    status, _, said = run(tmp_path / "store", "--out", tmp_path / "examples")
    assert status == 2
    assert "a store of reports only has no pictures to draw" in said


def test_a_store_without_findings_is_shown(tmp_path: Path) -> None:
    Prepare(Studies(), tmp_path / "store", image_size=32, require_report=False, workers=0).run()
    told = summary(tmp_path / "store")
    assert (told["entities"], told["positions"], told["studies"]) == ({}, {}, 6)
    assert run(tmp_path / "store", "--out", tmp_path / "examples")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere"], "nowhere: no store"), (["--split", "tset"], "no study in split tset; the store has the splits")],
)
def test_a_mistake_in_the_call_is_one_line(store: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    status, shown, said = run(*([store, *arguments] if arguments[0].startswith("--") else arguments))
    assert (status, shown) == (2, "")
    assert message in said
    assert len(said.splitlines()) == 1


def test_inspecting_loads_no_deep_learning_stack(store: Path, tmp_path: Path) -> None:
    program = (
        "import sys, json\n"
        "from medvlp_toolkit.cli.main import app\n"
        f"sys.argv = ['medvlp', 'inspect', {str(store)!r}, '--out', {str(tmp_path)!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == []
