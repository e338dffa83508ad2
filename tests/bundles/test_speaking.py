"""What runs say in a plain pipe: what they begin with, what they wrote, what comes next, and nothing else."""

from __future__ import annotations

import csv
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import whole_run
from tests.bundles.running import BUNDLES, run_bundle
from tests.question_store import write_questions

#: Words of libraries that a user can do nothing about.
NOISE = (
    *("Engine run", "EarlyStopping", "LOAD REPORT", "allow list", "UserWarning", "FutureWarning", "DeprecationWarning"),
    *("Traceback", "lr_scheduler.step", "pin_memory"),
)
#: MONAI's own record of what a run was given.
OF_MONAI = re.compile(r"\d{4}-\d\d-\d\d .* - (Setting logging properties|--- input summary|> \w|---)")
SHORT = {
    "medklip": ["--epochs", "1", "--batch_size", "16", "--min_positives", "1", "--attention_images", "0"],
    "arl": ["--epochs", "1", "--batch_size", "16"],
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore:parsing config_file:UserWarning"}


@dataclass(frozen=True)
class Said:
    """What a process said: on standard output, its log without times, and how it ended."""

    out: str
    log: list[str]
    status: int

    def line(self, beginning: str) -> str:
        (found,) = [line for line in self.log if line.startswith(beginning)]
        return found


def said(out: str, err: str, status: int) -> Said:
    lines = [line for text in (out, err) for line in text.splitlines()]
    for word in NOISE:
        assert word not in out + err, f"{word} in\n{out}\n{err}"
    log = [line[10:] for line in lines if re.match(r"\d\d:\d\d:\d\d  ", line)]
    return Said("\n".join(line for line in out.splitlines() if not OF_MONAI.match(line)), log, status)


def run(recipe: str, names: list[str], *words: str, cwd: Path) -> Said:
    """A configuration of a bundle in a process of its own, without a terminal."""
    files = [str(BUNDLES / recipe / "configs" / f"{name}.yaml") for name in names]
    return run_words("run", "--config_file", str(files), *words, cwd=cwd)


def run_words(*words: str, cwd: Path) -> Said:
    command = [sys.executable, "-m", "monai.bundle", *words]
    options: Any = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, **options)
    return said(done.stdout, done.stderr, done.returncode)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> whole_run.Data:
    store = whole_run.prepare(tmp_path_factory.mktemp("speaking"))
    return whole_run.Data(store, whole_run.graph_of(store))


def training(recipe: str, data: whole_run.Data) -> list[str]:
    graph = ["--graph_file", str(data.graph)] if recipe == "arl" else []
    return ["--dataset_dir", str(data.store), *graph, *SHORT[recipe], "--image_size", "64", "--precision", "fp32"]


@pytest.mark.parametrize("recipe", ["medklip", pytest.param("arl", marks=pytest.mark.slow)])
def test_training_evaluation_and_inference_speak_in_a_pipe(recipe: str, data: whole_run.Data, tmp_path: Path) -> None:
    output = tmp_path / "run"
    output.mkdir()
    (output / "traceback.txt").write_text("of an earlier run")
    trained = run(recipe, ["train", "demo"], *training(recipe, data), "--output_dir", str(output), cwd=tmp_path)
    assert trained.status == 0
    begins = trained.line("training on ")
    assert re.fullmatch(
        r"training on 48 studies in 3 batches of 16; validating on 16 studies; cpu, fp32; [\d.]+ [kM] parameters"
        r"(, [\d.]+ [kM] of them trained)?; 1 epoch, 3 steps",
        begins,
    )
    ended = trained.line("trained 1 epoch, 3 steps, in ")
    assert trained.log[-1] == ended
    assert f"Written to {output}: best.pt, model.pt, model.json, training.json, tensorboard" in ended
    assert not (output / "traceback.txt").exists()
    ids = (data.store / "studies.parquet").exists() and [f"phantom-{n}" for n in range(3)]
    assert not any(id_ in line for line in trained.log for id_ in ids or ())

    follows = shlex.split(ended.partition("Next: ")[2])
    assert follows[:4] == ["python", "-m", "monai.bundle", "run"]
    evaluated = run_words(*follows[3:], cwd=tmp_path)
    assert evaluated.status == 0
    assert evaluated.line("evaluating ") == f"evaluating {output / 'best.pt'} on 16 studies in 1 batch, on cpu"
    page = output / "evaluation" / "report.html"
    assert f"next, all of it on one page: medvlp report {output / 'evaluation'} --out {page}" in evaluated.out

    images = tmp_path / "images"
    images.mkdir()
    data.radiograph(images / "one.png")
    words = ["--images", str(images), "--weights", str(output / "model.pt"), "--output_dir", str(tmp_path / "out")]
    inferred = run(recipe, ["inference"], *words, cwd=tmp_path)
    assert inferred.status == 0
    assert inferred.line("scoring ") == "scoring 1 image in 1 batch, on cpu"
    assert "probabilities of " in inferred.out
    names = dict(list(csv.reader((tmp_path / "out" / "entities.csv").open()))[1:])
    (scores,) = csv.DictReader((tmp_path / "out" / "probabilities.csv").open())
    assert list(names) == [column for column in scores if column != "image"]
    assert names["effusion"] == "pleural effusion"
    assert "pleural effusion (effusion)" in inferred.out


def test_a_mistake_is_one_line_without_what_engines_add(data: whole_run.Data, tmp_path: Path) -> None:
    words = training("medklip", data)
    wrong = run("medklip", ["train", "demo"], *words, "--learning_rate", "1.0e30", "--output_dir", "run", cwd=tmp_path)
    assert wrong.status == 1
    assert (tmp_path / "run" / "traceback.txt").exists()


@pytest.mark.slow
def test_an_interrupted_training_prints_the_command_that_resumes_it(data: whole_run.Data, tmp_path: Path) -> None:
    files = [str(BUNDLES / "medklip" / "configs" / f"{name}.yaml") for name in ("train", "demo")]
    words = [*training("medklip", data), "--epochs", "60", "--num_workers", "1", "--output_dir", "a run"]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files), *words]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "epoch 1/60  done" in line:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers get it too
    assert process.wait(60) == 130
    stopped = said("", "".join(lines), 130).line("stopped by Ctrl-C after step ")
    again = shlex.split(stopped.partition("Resume with: ")[2].replace("--epochs 60", "--epochs 2"))
    resumed = run_words(*again[3:], cwd=tmp_path)
    assert resumed.status == 0
    assert any(line.startswith("resuming from ") for line in resumed.log)


@pytest.mark.parametrize("bundle", ["vqa", "image_text_classification", "retrieval"])
def test_preparing_says_what_was_left_out(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for logger in (None, "medvlp_toolkit"):  # whatever level earlier tests of this process have left
        caplog.set_level(logging.INFO, logger)
    root, store = tmp_path / "source", tmp_path / "store"
    if bundle == "vqa":
        write_questions(root, images=4, tests=2)
        (root / "images" / "train0.png").write_text("no picture")
        options: dict[str, Any] = {"root": str(root), "carved": {"train": 1.0}}
    else:
        write_questions(root, images=4, tests=0)
        (root / "images" / "train0.png").write_text("no picture")
        (root / "table.csv").write_text("image,text\n" + "".join(f"images/train{n}.png,words\n" for n in range(4)))
        source = {"file": str(root / "table.csv"), "report_column": "text"}
        options = {"source_name": "csv", "source_options": source}
    run_bundle("prepare", bundle=bundle, dataset_dir=str(store), stored_size=32, workers=0, **options)
    printed = capsys.readouterr()
    read = 8 if bundle == "vqa" else 4
    assert printed.err.count(f"records: {read} read = {read - 1} stored + 1 rejected") == 1
    assert f"what was left out, and why: {store / 'rejected.csv'}" in printed.err
    assert "records:" not in printed.out
