"""A data source, a report filter and a decoder that dies, importable by worker processes."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from medvlp_toolkit.data.records import Box, Finding, Presence, Question, Report, Study

TEXTS = (
    "FINDINGS: There is a left effusion.\nIMPRESSION: Effusion.",
    "FINDINGS: No effusion. The heart is normal.\nIMPRESSION: Normal.",
    "INDICATION: cough.\nFINDINGS: Possible right effusion, nothing else.",
)


class EffusionFilter:
    """Finds the word effusion and what stands before it."""

    entities = ("effusion",)
    positions = ("left", "right")

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        return [self.findings(report.text) for report in reports]

    def findings(self, text: str) -> list[Finding]:
        found = []
        for match in re.finditer(r"(?:(no|possible) )?(?:(left|right) )?(effusion)", text.lower()):
            presence = {"no": Presence.ABSENT, "possible": Presence.UNCERTAIN}.get(match[1], Presence.PRESENT)
            found.append(Finding("effusion", presence, match[2], match.span(3)))
        return found


class CountingFilter(EffusionFilter):
    """Counts the reports it reads, and something that it did before it read any."""

    def __init__(self) -> None:
        self.tally = Counter({"files read": 1})

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        self.tally["reports read"] += len(reports)
        return super().__call__(reports)

    def take_tally(self) -> Counter[str]:
        taken, self.tally = self.tally, Counter()
        return taken


class HeartLinker:
    """Links the word heart to a concept."""

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        return [
            [Finding("C0018787", span=match.span()) for match in re.finditer("heart", report.text)]
            for report in reports
        ]


def write_images(folder: Path, count: int, side: int = 24) -> list[Path]:
    """Pictures that differ."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for index in range(count):
        path = folder / f"{index:05d}.png"
        Image.fromarray(rng.integers(0, 255, (side, side), dtype=np.uint8)).save(path)
        paths.append(path)
    return paths


@dataclass
class SmallSource:
    """One study per picture of a folder."""

    fingerprint: ClassVar[str] = ""
    folder: Path
    broken: tuple[int, ...] = ()
    changes: dict[int, dict[str, object]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Study]:
        for index, path in enumerate(sorted(self.folder.glob("*.png"))):
            values: dict[str, object] = {
                "id": f"study{index}",
                "patient_id": f"patient{index // 2}",
                "image": path,
                "report": Report(f"report{index}", TEXTS[index % 3]),
                "split": "train" if index // 2 % 4 else "test",
                "labels": {"Effusion": (1, 0, -1)[index % 3]},
                "boxes": (Box("effusion", 0.1, 0.2, 0.3, 0.4),) if index % 3 == 0 else (),
                "metadata": {"sex": "FM"[index % 2], "age": 40 + index, "device": None if index % 2 else "tube"},
                "questions": (Question(f"q{index}", "is there an effusion?", "yes", "abnormality", "closed"),),
            }
            yield Study(**{**values, **self.changes.get(index, {})})  # type: ignore[arg-type]


@dataclass
class KillingSource(SmallSource):
    """Its images kill the process that reads them: those of ``killers`` always, that of ``once`` the first time."""

    killers: tuple[str, ...] = ()
    once: Path | None = None

    def read_image(self, study: Study) -> np.ndarray:
        if study.id in self.killers:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.once is not None and study.id == "study3" and not self.once.exists():
            self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        assert study.image is not None
        return np.asarray(Image.open(study.image))[None]
