"""SIIM-ACR Pneumothorax Segmentation Challenge (2019)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_datasets.lookup import Lookup
from medvlp_datasets.source import FileSource, existing, one_of
from medvlp_toolkit.data.records import Box, Study
from medvlp_toolkit.images import ImageReadError

LABEL = "Pneumothorax"
SIDE = 1024  # pixels; the published images are square
PIXELS = "EncodedPixels"


class SiimPneumothoraxSource(FileSource):
    """Radiographs and masks of the SIIM-ACR Pneumothorax Challenge.

    The challenge as published: ``train-rle.csv`` (stage 2: ``stage_2_train.csv``) with a row
    ``ImageId,EncodedPixels`` per annotation, -1 for none, and DICOM files in ``dicom-images-train/<study>/<series>/``
    (stage 2: ``stage_2_images/``).

    Args:
        root: the folder of these files.
        splits: a table ``ImageId,split``; the challenge publishes no labels for its test images.

    The label ``Pneumothorax`` is 1 if a row has pixels; `read_mask` returns them, and boxes bound each annotation. The
    ids are image ids, so patients with several images cannot be recognised. Tested on the real table, and on images
    written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.siim_pneumothorax
          root: /data/siim-acr
          splits: my_splits.csv
    """

    def __init__(self, root: Path | str, splits: Path | str | None = None) -> None:
        super().__init__()
        self.root = existing(root, "the SIIM-ACR folder")
        self.table = one_of(self.root, "train-rle.csv", "stage_2_train.csv", "*train-rle.csv*", "stage_2_train.csv*")
        self.splits = None if splits is None else existing(splits, "the table of splits")
        self._codes: Lookup | None = None

    def studies(self) -> Iterator[Study]:
        with (
            closing(self.codes()) as codes,
            closing(self.paths()) as paths,
            closing(self.lookup(self.splits, "ImageId", required=("split",))) as splits,
        ):
            for name, rows in codes.groups():
                try:
                    masks = [decode_runs(code) for code in rows if code != "-1"]
                except ValueError as error:
                    self.reject(name, self.table, str(error))
                    continue
                path = paths.first(name)
                yield Study(
                    id=name,
                    patient_id=name,
                    image=self.root / (path or f"dicom-images-train/{name}.dcm"),
                    split=(splits.first(name) or {}).get("split") or None,
                    labels={LABEL: int(bool(masks))},
                    boxes=tuple(bounding_box(mask) for mask in masks if mask.any()),
                )

    def codes(self) -> Lookup:
        """Run-length codes by image."""
        return Lookup((row["ImageId"], row[PIXELS] or "-1") for _, row in self.rows(self.table, ("ImageId", PIXELS)))

    def paths(self) -> Lookup:
        """Path below the root by image."""
        folders = ("dicom-images-train", "stage_2_images")
        return Lookup(
            (path.stem, str(path.relative_to(self.root)))
            for folder in folders
            for path in sorted((self.root / folder).rglob("*.dcm"))
        )

    def read_mask(self, study: Study) -> NDArray[np.uint8] | None:
        """The pixels of the pneumothorax of a study, uint8 (1024, 1024) of 0 and 1; None where there is none."""
        if self._codes is None:
            self._codes = self.codes()
        codes = [code for code in self._codes.all(study.id) if code != "-1"]
        if not codes:
            return None
        try:
            return np.maximum.reduce([decode_runs(code) for code in codes])
        except ValueError as error:
            raise ImageReadError(self.table, str(error)) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_codes": None}


def decode_runs(code: str) -> NDArray[np.uint8]:
    """The mask of a run-length code, uint8 (1024, 1024).

    The challenge's code is a list of pairs: pixels to skip since the end of the previous run, then the run's length,
    down the columns from the left. Raises ValueError if it is invalid.
    """
    try:
        pairs = np.array(code.split(), dtype=np.int64).reshape(-1, 2)
    except ValueError:
        raise ValueError("a run-length code is pairs of whole numbers") from None
    ends = pairs.sum(axis=1).cumsum()
    if pairs.min() < 0 or ends[-1] > SIDE * SIDE:
        raise ValueError(f"a run-length code that exceeds the image of {SIDE} × {SIDE} pixels")
    flat = np.zeros(SIDE * SIDE, np.uint8)
    for end, length in zip(ends, pairs[:, 1], strict=True):
        flat[end - length : end] = 1
    return flat.reshape(SIDE, SIDE).T


def bounding_box(mask: NDArray[np.uint8]) -> Box:
    """The box around a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, right = float(columns[0]) / SIDE, float(columns[-1] + 1) / SIDE
    top, bottom = float(rows[0]) / SIDE, float(rows[-1] + 1) / SIDE
    return Box(LABEL, left, top, right - left, bottom - top)
