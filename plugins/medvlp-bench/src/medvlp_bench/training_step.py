"""Training speed of a bundle: its own trainer, on a store prepared by its own ``prepare.yaml``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medvlp_bench.measurement import Measurement, rates

_PROCESS = Path(__file__).with_name("step_process.py")


@dataclass(frozen=True)
class Side:
    """The subject of a measurement: a bundle of a checkout, with settings.

    Args:
        configs: files of the training, later ones overlay earlier ones.
        overrides: configuration id -> value.
        checkout: folder of a checkout of the toolkit to run it with; None for this one.
    """

    configs: Sequence[Path]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    checkout: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """With the checkout's packages before the installed ones."""
        environment = dict(os.environ)
        if self.checkout is not None:
            folders = [self.checkout, *sorted(self.checkout.glob("plugins/*/src"))]
            environment["PYTHONPATH"] = os.pathsep.join(map(str, folders))
        return environment

    def __str__(self) -> str:
        words = [str(self.checkout)] if self.checkout is not None else []
        words += [f"{key}={value}" for key, value in self.overrides.items() if key not in ("dataset_dir", "output_dir")]
        return " ".join(words) or "as configured"


class StepProcess:
    """A side that is built, warmed up and waits to be timed; a context manager.

    Raises:
        ValueError: when it cannot be built, or its process ends.
    """

    def __init__(self, side: Side, threads: int, warm_up: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_PROCESS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=side.environment,
        )  # fmt: skip
        self.facts = self._ask(
            {
                "configs": [str(path) for path in side.configs],
                "overrides": dict(side.overrides),
                "threads": threads,
                "warm_up": warm_up,
                "compiled": bool(side.overrides.get("compile", False)),
            }
        )

    def time(self, steps: int) -> dict[str, float]:
        """``seconds`` by the clock, ``processor_seconds`` and ``peak_memory`` (MiB) of so many steps."""
        return self._ask({"steps": steps, "parts": False})

    def shares(self, steps: int) -> dict[str, float]:
        """Part -> share of the time of so many steps."""
        shares: dict[str, float] = self._ask({"steps": steps, "parts": True})["shares"]
        return shares

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended: detected by the empty line below
        line = self._process.stdout.readline()
        if not line:
            raise ValueError(f"the process that trains ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ValueError(" ".join(str(answer["error"]).split()))
        return answer

    def __enter__(self) -> StepProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def measure_steps(
    sides: Sequence[Side], threads: int, warm_up: int = 2, repeats: int = 5, steps: int = 2
) -> list[Measurement]:
    """Time the sides in alternation: each repeat runs so many steps of the first, then of the second, and so on.

    Returns:
        One per side; ``details`` has the batch, losses after the warm-up, parameters, threads, and ``shares``.
    """
    processes: list[StepProcess] = []
    try:
        for side in sides:
            processes.append(StepProcess(side, threads, warm_up))
        timed: list[list[dict[str, float]]] = [[] for _ in sides]
        for _ in range(repeats):
            for process, found in zip(processes, timed, strict=True):
                found.append(process.time(steps))
        measured = []
        for side, process, found in zip(sides, processes, timed, strict=True):
            facts = process.facts
            count = facts["batch"] * steps
            shares = process.shares(steps) if facts["parts"] else {}
            measured.append(
                Measurement(
                    str(side),
                    f"training steps of {facts['batch']} studies",
                    "samples/s",
                    count,
                    rates(count, [one["seconds"] for one in found]),
                    rates(count, [one["processor_seconds"] for one in found]),
                    max(one["peak_memory"] for one in found),
                    {**facts, "shares": shares, "steps": steps},
                )
            )
        return measured
    finally:
        for process in processes:
            process.__exit__()


def prepare_store(options: str) -> str:
    """Prepare the store that is trained on; ``options``: configs (prepare.yaml and overlays), overrides, folder."""
    from monai.bundle import ConfigWorkflow

    given = json.loads(options)
    overrides = {**given["overrides"], "dataset_dir": given["folder"]}
    workflow = ConfigWorkflow(config_file=given["configs"], workflow_type="train", logging_file=False, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return str(given["folder"])
