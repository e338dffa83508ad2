"""One bundle's training step, kept ready in a separate process and timed on request.

    python step_process.py

The first line of standard input is a JSON object: ``configs`` (files, later ones overlay earlier ones), ``overrides``
(configuration id -> value), ``threads``, ``warm_up`` (steps). The process answers with a line of facts. Every further
line ``{"steps": n, "parts": false}`` is answered with seconds by the clock and of processor time of n steps, or with
the share of each part; an empty line ends it. An answer ``{"error": …}`` ends it too.

It drives the bundle's own trainer through MONAI's configuration ids alone, so that an older checkout of the toolkit can
be measured by starting this file with that checkout first on ``PYTHONPATH``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TextIO

#: Children of the vision-language model, and the name of the part that their time is counted to.
PARTS = {
    "image_encoder": "image encoder",
    "image_projection": "image encoder",
    "text_encoder": "text encoder",
    "text_projection": "text encoder",
    "entity_projection": "text encoder",
    "knowledge_encoder": "knowledge encoder",
    "fusion": "fusion",
}


class PartClock:
    """Adds up the time between marks under the name of the mark that came before.

    On a GPU marks are events in the stream: nothing waits until :meth:`shares` is asked.
    """

    def __init__(self, cuda: bool) -> None:
        self._cuda = cuda
        self._marks: list[tuple[str, Any]] = []
        self.running = False

    def mark(self, name: str) -> None:
        if not self.running:
            return
        moment: Any
        if self._cuda:
            import torch

            moment = torch.cuda.Event(enable_timing=True)
            moment.record()
        else:
            moment = time.perf_counter()
        self._marks.append((name, moment))

    def shares(self) -> dict[str, float]:
        """Part -> share of the time, largest first; forgets the marks."""
        if self._cuda:
            import torch

            torch.cuda.synchronize()
        seconds: dict[str, float] = defaultdict(float)
        for (name, start), (_, end) in zip(self._marks, self._marks[1:], strict=False):
            seconds[name] += start.elapsed_time(end) if self._cuda else end - start
        self._marks = []
        total = sum(seconds.values()) or 1.0
        return dict(sorted(((name, value / total) for name, value in seconds.items()), key=lambda item: -item[1]))


def watch_parts(network: Any, mark: Callable[[str], None]) -> None:
    """Mark when the forward pass enters and leaves a part, and when the backward pass reaches its output.

    What the backward pass does until it reaches the output of another part is counted to this one.
    """
    import torch

    inside: list[str] = []

    def entered(name: str) -> Callable[..., None]:
        def hook(module: Any, arguments: Any) -> None:
            inside.append(name)
            mark(name)

        return hook

    def left(name: str) -> Callable[..., None]:
        def hook(module: Any, arguments: Any, output: Any) -> None:
            inside.pop()
            mark(inside[-1] if inside else "losses")
            for tensor in output if isinstance(output, tuple) else (output,):
                if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
                    tensor.register_hook(lambda gradient: mark(name))

        return hook

    inner = getattr(network, "module", network)
    inner.register_forward_pre_hook(lambda module, arguments: mark("losses"))
    for child, name in PARTS.items():
        module = getattr(inner.model, child, None)
        if module is not None:
            module.register_forward_pre_hook(entered(name))
            module.register_forward_hook(left(name))


class StepServer:
    """Runs the bundle's trainer, pausing after each step to answer requests."""

    def __init__(self, asked: dict[str, Any], requests: TextIO, answers: TextIO) -> None:
        self.asked = asked
        self.requests, self.answers = requests, answers
        self.warm_up = int(asked.get("warm_up", 2))

    def build(self) -> None:
        import torch
        from ignite.engine import Events
        from monai.bundle import ConfigParser
        from monai.engines.utils import IterationEvents

        torch.set_num_threads(int(self.asked["threads"]))
        parser = ConfigParser()
        parser.read_config(self.asked["configs"])
        unknown = [key for key in self.asked["overrides"] if key.split("::")[0] not in parser.get()]
        if unknown:
            raise ValueError(f"no id {', '.join(unknown)} in {', '.join(self.asked['configs'])}")
        parser.update({"train::handlers": [], "epochs": 1_000_000, **self.asked["overrides"]})
        torch.manual_seed(0)
        self.trainer = parser.get_parsed_content("train::trainer")
        self.loader = parser.get_parsed_content("train::loader")
        network = self.trainer.network
        self.cuda = self.trainer.state.device.type == "cuda"
        self.clock = PartClock(self.cuda)
        # Hooks would split a compiled step into pieces, so its parts are not timed.
        self.watches = not self.asked.get("compiled", False)
        if self.watches:
            watch_parts(network, self.clock.mark)
        for event, part in (
            (Events.GET_BATCH_STARTED, "data"),
            (Events.GET_BATCH_COMPLETED, "augmentation"),
            (IterationEvents.LOSS_COMPLETED, "losses"),
            (IterationEvents.BACKWARD_COMPLETED, "optimiser"),
        ):
            self.trainer.add_event_handler(event, lambda engine, part: self.clock.mark(part), part)
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, self._stepped)
        self._left = self.warm_up
        self._request: dict[str, Any] = {}

    def serve(self) -> None:
        self._start()
        with contextlib.suppress(_AskedToEndError):
            self.trainer.run()

    def _start(self) -> None:
        self._processor, self._began = time.process_time(), time.perf_counter()

    def _stepped(self, engine: Any) -> None:
        self._left -= 1
        if self._left > 0:
            return
        if self.cuda:
            import torch

            torch.cuda.synchronize()
        if not self._request:
            self._tell(self._facts(engine))
        elif self._request.get("parts"):
            self.clock.mark("end")
            self.clock.running = False
            self._tell({"shares": self.clock.shares()})
        else:
            seconds = time.perf_counter() - self._began
            self._tell({"seconds": seconds, "processor_seconds": time.process_time() - self._processor})
        line = self.requests.readline().strip()
        if not line:
            raise _AskedToEndError
        self._request = json.loads(line)
        self._left = int(self._request["steps"])
        self.clock.running = bool(self._request.get("parts")) and self.watches
        self._start()

    def _facts(self, engine: Any) -> dict[str, Any]:
        import torch

        batch = engine.state.batch
        parameters = list(engine.network.parameters())
        return {
            "batch": len(batch["study_id"]),
            "losses": {name: round(float(value), 4) for name, value in engine.state.output.items()},
            "parameters": sum(p.numel() for p in parameters),
            "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "parts": self.watches,
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if self.cuda else "cpu",
        }

    def _tell(self, answer: dict[str, Any]) -> None:
        import torch

        from medvlp_bench.measurement import peak_memory

        answer["peak_memory"] = torch.cuda.max_memory_allocated() / 2**20 if self.cuda else peak_memory()
        _write(self.answers, answer)


class _AskedToEndError(Exception):
    """Raised when no more requests follow."""


def _write(stream: TextIO, answer: dict[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


def main() -> None:
    # Standard output carries the answers alone: what libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        asked = json.loads(sys.stdin.readline())
        server = StepServer(asked, sys.stdin, answers)
        server.build()
        server.serve()
    except Exception as error:
        try:
            from medvlp_toolkit.errors import user_message

            message = user_message(error)
        except ImportError:
            message = None
        own = isinstance(error, ValueError)
        _write(answers, {"error": message or (str(error) if own else f"{type(error).__name__}: {error}")})


if __name__ == "__main__":
    main()
