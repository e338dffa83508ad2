"""A small store of pictures with questions, in which only the picture determines the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medvlp_datasets.questions import VqaMed2019Source
from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.preparing.prepare import Prepare

QUESTIONS = {"plane": "Which half is bright?", "modality": "Is the top bright?"}
#: Of the picture of a number: which half is bright, in turn.
HALVES = ("left", "right", "top", "bottom")


def write_questions(folder: Path, images: int = 24, tests: int = 8) -> Path:
    """``train.csv``, ``validate.csv``, ``test.csv`` and ``images/``: pictures whose left, right, … half is bright."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    halves: dict[str, Any] = {"left": np.s_[:, :16], "right": np.s_[:, 16:], "top": np.s_[:16], "bottom": np.s_[16:]}
    for split, count in (("train", images), ("validate", tests), ("test", tests)):
        lines = ["image,category,question,answer"]
        for number in range(count):
            half = list(halves)[number % 4]
            pixels = rng.integers(0, 60, (32, 32)).astype(np.uint8)
            pixels[halves[half]] += 150
            name = f"{split}{number}.png"
            Image.fromarray(pixels).save(folder / "images" / name)
            answer = "in the picture" if split == "test" and number == 0 else f"The {half} half."
            lines.append(f"{name},plane,{QUESTIONS['plane']},{answer}")
            lines.append(f"{name},modality,{QUESTIONS['modality']},{'yes' if half == 'top' else 'no'}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


def question_store(folder: Path, **options: int) -> PackedStore:
    """The store of :func:`write_questions`, 32 pixels."""
    root = write_questions(folder / "source", **options)
    Prepare(
        VqaMed2019Source(root), folder / "store", image_size=32, fit="crop", require_report=False, workers=0,
        progress=False,
    ).run()  # fmt: skip
    return PackedStore.open(folder / "store")


def caption_store(folder: Path, images: int = 40, channels: int = 1) -> PackedStore:
    """The pictures with a caption each that says which half is bright, and its class in the column ``kind``."""
    root = write_questions(folder / "source", images=images)
    studies = []
    for study in VqaMed2019Source(root):
        if study.split == "train":
            number = int(study.id.removeprefix("train"))
            half = HALVES[number % 4]
            split = ("train", "train", "validate", "test")[number // 4 % 4]
            report = Report(study.id, f"picture {number} is bright at the {half}")
            metadata = {"kind": "upright" if half in ("top", "bottom") else "lying"}
            studies.append(Study(study.id, study.id, study.image, report, split, metadata=metadata))
    options: dict[str, Any] = {"image_size": 32, "channels": channels, "require_findings": False}
    Prepare(studies, folder / "store", **options, workers=0, progress=False).run()
    return PackedStore.open(folder / "store")
