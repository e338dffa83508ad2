"""COVIDx CXR-2 (Pavlova et al., Frontiers in Medicine 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medvlp_datasets.source import FileSource, existing
from medvlp_datasets.text_files import numbered_lines
from medvlp_toolkit.data.records import Study

SPLITS = {"train": "train", "val": "validate", "test": "test"}
CLASSES = {"positive": 1, "negative": 0}
LABEL = "COVID-19"


class CovidxCxr2Source(FileSource):
    """Radiographs of COVIDx CXR-2 with the label COVID-19.

    COVIDx CXR-2 as published on Kaggle: ``train.txt``, ``test.txt`` (newer releases: ``val.txt``) with a line
    ``patient file class source`` per image, and the images in ``train/``, ``test/``, ``val/``.

    Args:
        root: the folder of these files.

    The label ``COVID-19`` is 1 for class ``positive``. Patient ids are unique only within their source, which is
    therefore part of the id. Tested on files written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.covidx_cxr2
          root: /data/covidx-cxr2
    """

    def __init__(self, root: Path | str) -> None:
        super().__init__()
        self.root = existing(root, "the COVIDx folder")
        self.lists = {split: self.root / f"{split}.txt" for split in SPLITS if (self.root / f"{split}.txt").is_file()}
        if not self.lists:
            raise FileNotFoundError(f"{self.root}: has no train.txt, val.txt or test.txt")

    def studies(self) -> Iterator[Study]:
        for split, path in self.lists.items():
            for line, text in numbered_lines(path):
                fields = text.split()
                if len(fields) < 4 or fields[-2] not in CLASSES:
                    self.reject("", path, f"line {line} is no patient, file, positive or negative, source")
                    continue
                patient, label, source = fields[0], fields[-2], fields[-1]
                name = " ".join(fields[1:-2])  # some file names have spaces
                yield Study(
                    id=f"{split}/{name}",
                    patient_id=f"{source}/{patient}",
                    image=self.root / split / name,
                    split=SPLITS[split],
                    labels={LABEL: CLASSES[label]},
                    metadata={"source": source},
                )
