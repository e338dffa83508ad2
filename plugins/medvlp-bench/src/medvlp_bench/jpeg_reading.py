"""Speed of converting JPEG files to stored images: on one core, and by `Prepare` on all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from medvlp_bench.measurement import Measurement, measure, one_thread, peak_memory, rates
from medvlp_toolkit.data.records import Study

#: Files read to learn one core's rate before and after `Prepare` runs.
_SAMPLE = 48


class Files:
    """A data source of pictures without reports."""

    fingerprint = "files"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[Study]:
        for path in sorted(self.folder.iterdir()):
            yield Study(path.stem, path.stem, path)


def make_jpegs(options: str) -> int:
    """Write files; ``options``: folder, jpegs. Returns their mean size in bytes."""
    from medvlp_bench.generated_images import write_jpegs

    given = json.loads(options)
    paths = write_jpegs(Path(given["folder"]), given["jpegs"])
    return sum(path.stat().st_size for path in paths) // len(paths)


def decode(options: str) -> dict[str, Any]:
    """Read files at the store's size, one after the other."""
    given = json.loads(options)
    one_thread()
    paths = sorted(Path(given["folder"]).iterdir())[: 2 * _SAMPLE]
    clock, processor = measure(lambda: _read(paths, given["size"]), given["repeats"])
    return Measurement(
        "jpeg",
        f"JPEG files to {given['size']} × {given['size']} grey",
        "images/s",
        len(paths),
        rates(len(paths), clock),
        rates(len(paths), processor),
        peak_memory(),
        _details(paths),
    ).as_json()


def prepare(options: str) -> dict[str, Any]:
    """`Prepare` on all files, compared with one core that only reads.

    ``details``: ``efficiency`` is the rate over cores × one core's rate, both by the clock; ``cpu_efficiency`` the same
    of processor time, which other users of the machine change less but which does not see cores that wait.
    """
    from medvlp_toolkit.preparing.executors import available_cores
    from medvlp_toolkit.preparing.prepare import Prepare

    given = json.loads(options)
    folder, output = Path(given["folder"]), Path(given["output"])
    paths = sorted(folder.iterdir())
    cores = given["workers"] or available_cores()

    def run() -> None:
        shutil.rmtree(output, ignore_errors=True)
        Prepare(
            Files(folder), output, image_size=given["size"], workers=cores, require_report=False, progress=False
        ).run()

    sample = paths[:_SAMPLE]
    one_core: tuple[list[float], list[float]] = ([], [])
    clock: list[float] = []
    processor: list[float] = []
    for _ in range(given["repeats"]):  # one core's rate is taken beside each run: a shared machine's changes
        for gathered, seconds in zip(one_core, measure(lambda: _read(sample, given["size"]), 2), strict=True):
            gathered.extend(seconds)
        for gathered, seconds in zip((clock, processor), measure(run, 1, warm_up=0), strict=True):
            gathered.extend(seconds)
    alone, alone_cpu = (median(rates(len(sample), seconds)) for seconds in one_core)
    return Measurement(
        "prepare",
        f"`prepare` of JPEG files with {cores} processes",
        "studies/s",
        len(paths),
        rates(len(paths), clock),
        rates(len(paths), processor),
        peak_memory(),
        {
            **_details(paths),
            "processes": cores,
            "one_core_rate": alone,
            "efficiency": median(rates(len(paths), clock)) / (cores * alone),
            "cpu_efficiency": median(rates(len(paths), processor)) / alone_cpu,
        },
    ).as_json()


def _read(paths: list[Path], size: int) -> None:
    from medvlp_toolkit.images import read_image_and_size

    for path in paths:
        read_image_and_size(path, size)


def _details(paths: list[Path]) -> dict[str, Any]:
    from PIL import Image

    with Image.open(paths[0]) as picture:
        return {"file_size": [picture.height, picture.width], "file_bytes": paths[0].stat().st_size}
