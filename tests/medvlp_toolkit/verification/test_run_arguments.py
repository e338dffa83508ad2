"""What a run was given is compared with its configuration before anything else happens."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from medvlp_toolkit.verification.run_arguments import check_this_run, run_arguments

CONFIGS = Path(__file__).parents[3] / "bundles" / "medklip" / "configs"
PROGRAM = "/somewhere/site-packages/monai/bundle/__main__.py"
TRAIN, DEMO = str(CONFIGS / "train.yaml"), str(CONFIGS / "demo.yaml")


def check(*words: str) -> None:
    check_this_run([PROGRAM, "run", *words])


def test_arguments_are_read_as_the_command_line_reads_them() -> None:
    line = "run --config_file ['a.yaml','b.yaml'] --train::trainer::max-epochs 3 --seed=-1 --amp --lr -1e-3 -x 2"
    words = shlex.split(line.replace("'", "\\'"))
    read = run_arguments([PROGRAM, *words])
    assert read is not None
    assert read.config_files == ["a.yaml", "b.yaml"]
    assert read.overrides == {"train::trainer::max_epochs": 3, "seed": -1, "amp": True, "lr": -1e-3, "x": 2}


def test_the_id_to_run_is_a_root_of_the_run() -> None:
    positional = run_arguments([PROGRAM, "run", "evaluate", "--config_file", "a.yaml"])
    named = run_arguments([PROGRAM, "run", "--run_id", "evaluate", "--config_file", "a.yaml"])
    assert positional is not None
    assert named is not None
    assert "evaluate" in positional.roots
    assert "evaluate" in named.roots


@pytest.mark.parametrize(
    "argv", [[], ["pytest"], ["/x/medvlp", "prepare"], [PROGRAM, "verify_metadata", "--x", "1"], [PROGRAM]]
)
def test_a_process_that_runs_no_bundle_is_left_alone(argv: list[str]) -> None:
    assert run_arguments(argv) is None
    check_this_run(argv)


def test_arguments_of_a_file_count_too(tmp_path: Path) -> None:
    (tmp_path / "args.json").write_text(f'{{"config_file": "{TRAIN}", "max_epoch": 1}}')
    with pytest.raises(ValueError, match="no id 'max_epoch'"):
        check("--args_file", str(tmp_path / "args.json"))


@pytest.mark.parametrize(
    "words",
    [
        ("--config_file", TRAIN),
        ("--config_file", TRAIN, "--epochs", "1", "--train::trainer::max_epochs", "2", "--bundle_root", "x"),
        ("--config_file", f"['{TRAIN}','{DEMO}']", "--text_model::pooling", "cls", "--image_encoder::depth", "18"),
        ("--config_file", TRAIN, "--image_encoder#depth=18", "--dataset_dir", "/not/there"),
        ("--config_file", TRAIN, "--image_encoder", "%other.yaml::encoder"),
        ("--config_file", TRAIN, "--loss_weights", "{'existence': 1.0}"),
        ("--config_file", str(CONFIGS / "evaluate.yaml"), "--labels", "$dict(a='b')", "--finalize", "['$print(1)']"),
        ("--config_file", str(CONFIGS / "inference.yaml"), "--width", "96"),
        ("evaluate", "--config_file", str(CONFIGS / "finetune_classification.yaml"), "--checkpoint", "None"),
    ],
)  # fmt: skip
def test_a_run_without_a_mistake_continues(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.yaml").write_text("encoder: {_target_: medvlp_toolkit.encoders.resnet, depth: 18}\n")
    if "--text_model::pooling" in words:
        words = tuple(word for word in words if word not in ("--text_model::pooling", "cls"))
    check(*words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--max_epoch", "1"), "--max_epoch: no id 'max_epoch' in train.yaml; did you mean 'train::"),
        (("--learnin_rate=1",), "did you mean 'learning_rate'"),
        (("--train::trainer::max_epoch", "18"), "takes no argument max_epoch; did you mean 'max_epochs'?"),
        (("--image_encoder::depht", "18"), "takes no argument depht; did you mean 'depth'?"),
        (("--image_encoder::_target_", "medvlp_toolkit.encoders.resnett"), "did you mean 'resnet'?"),
        (("--optimizr::lr", "1"), "did you mean 'optimizer::lr'"),
        (("--width", "@widht"), "@widht refers to an id that does not exist"),
        (("--batch_size", "$len(@bank_size)"), "@bank_size refers to an id"),
        (("--device", "$tourch.device('cpu')"), "did you mean 'torch'?"),
    ],
)  # fmt: skip
def test_a_mistake_stops_the_run_with_its_fix(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError) as stopped:
        check("--config_file", TRAIN, *words)
    assert told in str(stopped.value)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--is_first_rank", "True"), "no id 'is_first_rank' in train.yaml; set distributed: true"),
        (("--early_stop::patience", "3"), "no id 'early_stop::patience' in train.yaml; set patience"),
        (("--checkpointing::keep", "3"), "set checkpoint_every, keep_checkpoints or resume"),
        (("--log_every", "$1 if @is_first_rank else 2"), "@is_first_rank refers to an id that does not exist; set"),
    ],
)  # fmt: skip
def test_an_id_that_moved_is_refused_with_what_replaced_it(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError) as stopped:
        check("--config_file", TRAIN, *words)
    assert told in str(stopped.value)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("+state: {mine: 1}", "own.yaml:1: state: has moved and is never read; set training::state"),
        (
            "best_checkpoint: {_target_: builtins.dict}",
            "best_checkpoint: has moved and is never read; set training",
        ),
    ],
)
def test_an_overlay_that_sets_an_id_that_moved_is_refused(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(content + "\n")
    with pytest.raises(ValueError) as stopped:
        check("--config_file", f"['{TRAIN}','{tmp_path / 'own.yaml'}']")
    assert told in str(stopped.value)


def test_ones_own_id_of_such_a_name_is_let_be_where_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("state: 0.1\nweight_decay: '@state'\n")
    check("--config_file", f"['{TRAIN}','{tmp_path / 'own.yaml'}']")


def test_several_mistakes_are_reported_together() -> None:
    with pytest.raises(ValueError, match="2 mistakes") as stopped:
        check("--config_file", TRAIN, "--max_epoch", "1", "--batch_sise", "2")
    assert len(str(stopped.value).splitlines()) == 3


def test_what_the_run_does_not_read_does_not_stop_it() -> None:
    """demo.yaml also holds what only evaluation reads, with names that only evaluation imports."""
    check("--config_file", f"['{TRAIN}','{DEMO}']")


@pytest.mark.slow
def test_a_mistyped_override_ends_the_process_in_two_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", TRAIN, "--max_epoch", "1"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "error: --max_epoch: no id 'max_epoch' in train.yaml; did you mean" in done.stderr
    assert "Traceback" not in done.stderr
