"""``medvlp submit``: the batch file, which a stand-in for SLURM runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medvlp_toolkit.cli.main import app


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two configurations in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("train.yaml").write_text("output_dir: runs/one\n")
    Path("multi_gpu_train.yaml").write_text("network: null\n")
    return ["train.yaml", "multi_gpu_train.yaml"]


def submit(*arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["submit", *arguments])
    return ended.exit_code, ended.stdout + ended.stderr


def test_the_batch_file_asks_for_what_was_asked_for(bundle: list[str]) -> None:
    status, said = submit(
        *bundle, "--slurm", "--nodes", "2", "--gpus", "4", "--time", "2-00:00:00", "--partition", "gpu"
    )
    assert status == 0, said
    assert "8 processes on 2 nodes" in said
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", Path("train.sbatch").read_text(), re.MULTILINE))
    assert (asked["nodes"], asked["ntasks-per-node"], asked["gpus-per-node"]) == ("2", "4", "4")
    assert (asked["time"], asked["partition"], asked["signal"]) == ("2-00:00:00", "gpu", "TERM@120")
    assert "account" not in asked


@pytest.mark.parametrize(
    ("complete", "status", "requeued"), [("true", 0, False), ("false", 0, True), ("false", 1, False)]
)
def test_the_job_is_queued_again_until_the_training_is_complete(
    complete: str, status: int, requeued: bool, bundle: list[str]
) -> None:
    """The stand-ins write down how they were called."""
    assert submit(*bundle, "--slurm", "--gpus", "2", "--set", "batch_size=8")[0] == 0
    tools = Path("tools")
    tools.mkdir()
    note = 'mkdir -p runs/one; echo \'{"complete": ' + complete + "}' > runs/one/training.json"
    for name, body in {
        "srun": f'printf "%s\\n" "$@" > srun.txt; {note}; exit {status}',
        "scontrol": 'echo "$@" >> scontrol.txt; echo node1',
    }.items():
        (tools / name).write_text(f"#!/bin/bash\n{body}\n")
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools.resolve()}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    environment["SLURM_JOB_NODELIST"] = "node[1-2]"
    ran = subprocess.run(["bash", "train.sbatch"], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == status, ran.stderr
    called = Path("srun.txt").read_text().split("\n")
    assert "['train.yaml','multi_gpu_train.yaml']" in called
    assert called[called.index("--resume") + 1] == "auto"
    assert called[called.index("--batch_size") + 1] == "8"
    assert ("requeue 7" in Path("scontrol.txt").read_text()) == requeued


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--slurm"),
        (["--slurm", "--time", "tomorrow"], "hours:minutes"),
        (["--slurm", "--set", "batch_size"], "ID=VALUE"),
        (["--slurm", "missing.yaml"], "missing.yaml: no such file"),
    ],
)
def test_a_mistake_is_reported_in_one_line(arguments: list[str], message: str, bundle: list[str]) -> None:
    status, said = submit(*bundle, *arguments)
    assert status == 2
    assert message in said
    assert not Path("train.sbatch").exists()


def test_several_processes_need_the_overlay(bundle: list[str]) -> None:
    status, said = submit("train.yaml", "--slurm", "--gpus", "2")
    assert status == 2
    assert "multi_gpu_train.yaml" in said


def test_ranks_are_read_from_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.distributed as dist

    from medvlp_toolkit.engines.ranks import start_ranks

    started: list[str] = []
    monkeypatch.setattr(dist, "init_process_group", started.append)
    for name, value in {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NTASKS": "4"}.items():
        monkeypatch.setenv(name, value)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # restored afterwards
        monkeypatch.delenv(name)
    start_ranks()
    told = {name: os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    assert json.dumps(told) == '{"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}'
    assert len(started) == 1
