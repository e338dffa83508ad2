"""Prints the peak memory in MB of preparing COUNT studies: ``peak_memory.py IMAGE OUTPUT COUNT``."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from small_studies import EffusionFilter

from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.preparing.prepare import Prepare


class Many:
    def __init__(self, image: Path, count: int) -> None:
        self.image, self.count = image, count

    def __iter__(self) -> Iterator[Study]:
        for number in range(self.count):
            text = f"FINDINGS: There is a left effusion of {number} ml. " + "The heart is normal. " * 20
            yield Study(f"study{number}", f"patient{number}", self.image, Report(f"r{number}", text), "train")


if __name__ == "__main__":
    source = Many(Path(sys.argv[1]), int(sys.argv[3]))
    Prepare(source, sys.argv[2], 16, report_filter=EffusionFilter(), workers=0, on_leak="report").run()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
