"""The commands that follow from the one that is running: they resume it, and evaluate what it trained."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from medvlp_toolkit.command_lines import bundle_command, following, resuming

MAIN = "/site-packages/monai/bundle/__main__.py"


def running(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [MAIN, *words])


def test_the_command_resumes_with_everything_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    files = "['configs/train.yaml','my overlay.yaml']"
    running(monkeypatch, "run", "--config_file", files, "--epochs=3", "--resume", "False", "--tf32")
    assert resuming() == (
        "python -m monai.bundle run --config_file \"['configs/train.yaml','my overlay.yaml']\" --epochs=3 --tf32 "
        "--resume True"
    )
    assert shlex.split(resuming())[5] == files


def test_a_resumed_run_is_resumed_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch, "run", "--config_file", "train.yaml", "--resume=auto", "--name", "it's $HOME")
    assert shlex.split(resuming())[3:] == [
        *("run", "--config_file", "train.yaml", "--name", "it's $HOME", "--resume", "True"),
    ]


def test_several_processes_are_resumed_by_their_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    running(monkeypatch, "run", "--config_file", "train.yaml")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert resuming().endswith("--resume True (started by torchrun or srun, as before)")


def test_a_process_that_runs_no_bundle_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["my_training.py", "run"])
    assert "resume=True" in resuming()
    assert following("train.yaml", "evaluate.yaml", output_dir="runs/one") is None


def test_evaluation_follows_training_where_the_bundle_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("train.yaml", "finetune.yaml", "evaluate.yaml"):
        (tmp_path / name).touch()
    running(monkeypatch, "run", "--config_file", str([str(tmp_path / "train.yaml"), "overlay.yaml"]))
    assert following("train.yaml", "evaluate.yaml", output_dir="my runs/one") == (
        f"python -m monai.bundle run --config_file {tmp_path / 'evaluate.yaml'} --output_dir 'my runs/one'"
    )
    assert following("train.yaml", "nothing.yaml") is None
    running(monkeypatch, "run", "--config_file", str(tmp_path / "finetune.yaml"))
    assert following("train.yaml", "evaluate.yaml") is None


def test_options_are_read_as_fire_reads_them() -> None:
    command = bundle_command([MAIN, "run", "evaluate", "--config-file", "['a.yaml', 'b.yaml']", "--x=-1", "--y", "-2"])
    assert command is not None
    assert (command.positional, command.config_files) == (["evaluate"], ["a.yaml", "b.yaml"])
    assert (command.options["x"], command.options["y"]) == (-1, -2)
