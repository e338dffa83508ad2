"""Generates files and stores of synthetic radiographs, to time reading."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import medvlp_toolkit as mv
from medvlp_bench.generated_reports import generated_reports
from medvlp_phantom import Phantom
from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.preparing.prepare import Prepare

#: Height and width of a file, as of a radiograph from a digital detector.
FILE_SIZE = (3056, 2544)
_QUALITY = 95
_DIFFERENT = 8


def write_jpegs(folder: Path, count: int, size: Sequence[int] = FILE_SIZE, seed: int = 0) -> list[Path]:
    """``count`` grey JPEG files with a noise like a detector's; eight differ, the others are links to them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    phantom = Phantom(seed=seed, size=512)
    for number, path in enumerate(paths):
        if number < _DIFFERENT:
            rng = np.random.default_rng((seed, number))
            small = Image.fromarray(phantom.image(number, number))
            large = np.asarray(small.resize((size[1], size[0]), Image.Resampling.BICUBIC), dtype=np.float32)
            noisy = large + rng.standard_normal(large.shape, dtype=np.float32) * 2.5
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=_QUALITY)
        else:
            os.link(paths[number % _DIFFERENT], path)
    return paths


class GeneratedStudies:
    """A data source of generated reports with pictures of noise, which cannot be compressed or deduplicated."""

    fingerprint = "generated"

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def __iter__(self) -> Iterator[Study]:
        for report in generated_reports(self.count):
            yield Study(report.id, report.id, None, Report(report.id, report.text), split="train")

    def read_image(self, study: Study) -> NDArray[np.uint8]:
        number = int(study.id.rpartition("-")[2])
        pixels = np.random.default_rng(number).integers(0, 256, (1, self.size, self.size), dtype=np.uint8)
        return pixels


def write_store(folder: Path, count: int, size: int) -> Path:
    """A packed store of ``count`` generated studies, with the findings of the ``rules`` filter."""
    Prepare(
        GeneratedStudies(count, size),
        folder,
        image_size=size,
        report_filter=mv.report_filters.rules(),
        require_findings=False,
        workers=0,
        progress=False,
    ).run()
    return folder
