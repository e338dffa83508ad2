"""Timing: warm up, repeat, report the median and the spread of wall-clock and processor time."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """Rates of repeated work.

    ``rates`` are per second by the clock, ``cpu_rates`` per second of processor time (all threads and children of the
    process): on a shared machine, the second is more reliable. ``peak_memory`` is the process's in MiB, with the
    pages of mapped files that it has touched.
    """

    name: str
    what: str
    unit: str
    count: int
    rates: list[float]
    cpu_rates: list[float]
    peak_memory: float
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As plain values, with medians and spread."""
        return {
            **asdict(self),
            "median": median(self.rates),
            "lowest": min(self.rates),
            "highest": max(self.rates),
            "cpu_median": median(self.cpu_rates),
        }


def measure(work: Callable[[], Any], repeats: int, warm_up: int = 1) -> tuple[list[float], list[float]]:
    """Seconds by the clock, and of processor time, of each of ``repeats`` calls after ``warm_up`` others."""
    for _ in range(warm_up):
        work()
    clock, processor = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), processor_seconds()
        work()
        clock.append(time.perf_counter() - started)
        processor.append(processor_seconds() - used)
    return clock, processor


def rates(count: int, seconds: list[float]) -> list[float]:
    """Rates per second from the times that ``count`` took."""
    return [count / max(second, 1e-9) for second in seconds]


def processor_seconds() -> float:
    """Processor time of this process, its threads, and its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_memory() -> float:
    """The peak memory of this process in MiB."""
    try:  # ru_maxrss would include the parent's memory from before this program was started
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def one_thread() -> None:
    """Restrict this process to one core."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
