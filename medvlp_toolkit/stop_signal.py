"""SIGTERM and Ctrl-C as a request polled by the run where it can stop, instead of an interruption anywhere."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

#: The answer to the first Ctrl-C.
_ANSWER = b"\ninterrupted: saving a checkpoint after this step, then stopping; Ctrl-C again stops at once\n"


class StopSignal:
    """Notes SIGTERM (a batch system takes the machine back) and the first Ctrl-C (SIGINT) of this process."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._second_ends = True

    def watch(self, second_ends: bool) -> None:
        """From now on until :meth:`restore`.

        Args:
            second_ends: a second Ctrl-C interrupts at once; not where a launcher forwards the first to its processes.
        """
        self.asked, self._second_ends = None, second_ends
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._note) for one in (signal.SIGTERM, signal.SIGINT)}

    def restore(self) -> None:
        """What was before."""
        for one, handler in self._before.items():
            signal.signal(one, handler)
        self._before = {}

    @property
    def name(self) -> str:
        """For a message; SIGTERM where another process was asked."""
        return "Ctrl-C" if self.asked is signal.SIGINT else "SIGTERM"

    @property
    def status(self) -> int:
        """Of the process, once it has stopped: what follows in a shell runs after SIGTERM, not after Ctrl-C."""
        return 128 + signal.SIGINT if self.asked is signal.SIGINT else 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number)
        if self.asked is signal.SIGINT and self._second_ends:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(2, _ANSWER)  # a log line could meet one that is being written


def ignore_interrupts(worker: int) -> None:
    """For processes that read data: Ctrl-C reaches them too, and their parent ends them when it has stopped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
