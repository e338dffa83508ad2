"""``medvlp submit``: a batch file for training on a cluster."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

_TIME = re.compile(r"(\d+-)?\d{1,2}:\d{2}(:\d{2})?")
#: A run's record in its output folder; from `medvlp_toolkit.weights.weights`, not imported because it loads torch.
TRAINING_NOTE = "training.json"
#: Seconds before the time limit at which the training is signalled to save a checkpoint.
_GRACE = 120


def submit(
    configs: Annotated[
        list[str], typer.Argument(metavar="CONFIG...", help="train.yaml, its overlays, multi_gpu_train.yaml last.")
    ],
    slurm: Annotated[bool, typer.Option("--slurm", help="Write a SLURM batch file; the only kind supported.")] = False,
    out: Annotated[Path, typer.Option(help="The batch file to write.")] = Path("train.sbatch"),
    name: Annotated[str, typer.Option(help="Name of the job.")] = "medvlp",
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs per machine, with one process each; 0 trains on the CPU.")] = 1,
    cpus: Annotated[int, typer.Option(min=1, help="CPU cores per process.")] = 8,
    memory: Annotated[str, typer.Option(help="Memory per machine.")] = "64G",
    time: Annotated[str, typer.Option(help="Time limit in SLURM's form: [days-]hours:minutes[:seconds].")] = "24:00:00",
    partition: Annotated[str | None, typer.Option(help="Partition; the cluster's default if not given.")] = None,
    account: Annotated[str | None, typer.Option(help="Account.")] = None,
    before: Annotated[
        list[str] | None, typer.Option(metavar="COMMAND", help="Shell command to run first; repeatable.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="ID=VALUE", help="Override an id of the config; repeatable.")
    ] = None,
) -> None:
    """Write a batch file that trains on a cluster, resumes after pre-emption, and ends when one process fails.

    The job is signalled two minutes before its time limit, saves, and is requeued until training is complete.
    """
    if not slurm:
        raise ValueError("name the batch system: --slurm")
    if _TIME.fullmatch(time) is None:
        raise ValueError(f"--time {time}: expected [days-]hours:minutes[:seconds], e.g. 2-12:00:00")
    missing = [file for file in configs if not Path(file).is_file()]
    if missing:
        raise FileNotFoundError(f"{missing[0]}: no such file; expected a bundle's train.yaml and overlays")
    pairs = _pairs(settings or ())
    ranks = nodes * max(gpus, 1)
    if ranks > 1 and not any("multi_gpu" in Path(file).name for file in configs):
        raise ValueError(f"{ranks} processes need the overlay multi_gpu_train.yaml; give it as the last CONFIG")
    lines = [
        "#!/bin/bash",
        *_directives(name, nodes, gpus, cpus, memory, time, partition, account),
        "",
        "set -uo pipefail",
        *(before or ()),
        *_command(configs, pairs, cpus),
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    typer.echo(
        f"{out}: {ranks} process{'es' if ranks > 1 else ''} on {nodes} node{'s' if nodes > 1 else ''}; sbatch {out}"
    )


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ValueError(f"--set {text}: expected ID=VALUE, e.g. output_dir=runs/one")
        pairs[key] = value
    return pairs


def _directives(
    name: str, nodes: int, gpus: int, cpus: int, memory: str, time: str, partition: str | None, account: str | None
) -> list[str]:
    given = {
        "job-name": name,
        "nodes": nodes,
        "ntasks-per-node": max(gpus, 1),
        "gpus-per-node": gpus or None,
        "cpus-per-task": cpus,
        "mem": memory,
        "time": time,
        "partition": partition,
        "account": account,
        "output": f"{name}-%j.log",
        "open-mode": "append",
        "signal": f"TERM@{_GRACE}",  # to the processes, which save and exit
    }
    return [*(f"#SBATCH --{key}={value}" for key, value in given.items() if value is not None), "#SBATCH --requeue"]


def _command(configs: Sequence[str], pairs: dict[str, str], cpus: int) -> list[str]:
    """One process per task (identified by SLURM's variables), so that signals reach it directly."""
    files = "[" + ",".join(f"'{file}'" for file in configs) + "]"
    overrides = [f"--{key} {shlex.quote(value)}" for key, value in {"resume": "auto", **pairs}.items()]
    note = Path(pairs.get("output_dir", _output_dir(configs))) / TRAINING_NOTE
    return [
        'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))",
        f"export OMP_NUM_THREADS={cpus}",
        'export PYTHONWARNINGS="ignore:parsing config_file:UserWarning"  # MONAI\'s; docs/python.md says it once',
        "",
        " \\\n  ".join(
            ["srun --kill-on-bad-exit=1 python -m monai.bundle run", f"--config_file {shlex.quote(files)}", *overrides]
        ),
        "status=$?",
        "# Stopped and saved before the end of training: requeue the same job, which resumes.",
        f"if [ $status -eq 0 ] && ! grep -q '\"complete\": true' {shlex.quote(str(note))}; then",
        '  scontrol requeue "$SLURM_JOB_ID"',
        "fi",
        "exit $status",
    ]


def _output_dir(configs: Sequence[str]) -> str:
    """The value from the last configuration that sets it."""
    import yaml

    found = "."
    for file in configs:
        config = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
        found = str(config.get("output_dir", found))
    return found
