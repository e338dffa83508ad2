"""Runs a `prepare` that is killed after a number of calls into the package: ``killed_prepare.py IMAGES OUTPUT CALLS``.

With CALLS 0 it runs to its end and prints how many calls there were.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent))

from small_studies import EffusionFilter, SmallSource
from tokenizers import Tokenizer, models, pre_tokenizers

from medvlp_toolkit.preparing.prepare import Prepare


def tokenizer() -> Tokenizer:
    backend = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "effusion": 2}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend


def job(images: Path, output: Path, workers: int = 0, overwrite: bool = False) -> Prepare:
    """The same work for every test: some studies are rejected, so that gaps have to be closed."""
    changes: dict[int, dict[str, object]] = {index: {"report": None} for index in (1, 70, 71, 139)}
    source = SmallSource(images, changes=changes)
    return Prepare(
        source, output, 16, report_filter=EffusionFilter(), tokenizer=tokenizer(), text_length=8, workers=workers,
        overwrite=overwrite,
    )  # fmt: skip


class Killer:
    def __init__(self, calls: int) -> None:
        self.left = calls
        self.count = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call" or "medvlp_toolkit/data" not in frame.f_code.co_filename:
            return
        self.count += 1
        if self.count == self.left:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    prepare = job(Path(sys.argv[1]), Path(sys.argv[2]), overwrite="overwrite" in sys.argv)
    killer = Killer(int(sys.argv[3]))
    sys.setprofile(killer)
    prepare.run()
    sys.setprofile(None)
    print(killer.count)
