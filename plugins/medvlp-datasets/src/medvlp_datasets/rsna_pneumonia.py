"""RSNA Pneumonia Detection Challenge (Shih et al., Radiology: Artificial Intelligence 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from medvlp_datasets.source import FileSource, existing, first_of, one_of
from medvlp_datasets.values import label_value, pixel_box
from medvlp_toolkit.data.records import Study

LABEL = "Pneumonia"
SIDE = 1024  # pixels; the published images are square


class RsnaPneumoniaSource(FileSource):
    """Radiographs and boxes of the RSNA Pneumonia Detection Challenge.

    The challenge's second stage: ``stage_2_train_images/<patientId>.dcm``, ``stage_2_train_labels.csv`` (a row
    ``patientId,x,y,width,height,Target`` per box) and ``stage_2_detailed_class_info.csv``.

    Args:
        root: the folder of these files.
        splits: a table ``patientId,split``; the challenge publishes no labels for its test images.

    The label ``Pneumonia`` is the column Target; ``metadata["class"]`` is the detailed class. The ids are image
    ids, so patients with several images cannot be recognised. Tested on the real table of labels, and on images written
    in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.rsna_pneumonia
          root: /data/rsna-pneumonia
          splits: my_splits.csv
    """

    def __init__(self, root: Path | str, splits: Path | str | None = None) -> None:
        super().__init__()
        self.root = existing(root, "the RSNA folder")
        self.table = one_of(self.root, "stage_2_train_labels.csv", "stage_2_train_labels.csv.*")
        self.classes = first_of(self.root, "stage_2_detailed_class_info.csv", "stage_2_detailed_class_info.csv.*")
        self.images = self.root / "stage_2_train_images"
        self.splits = None if splits is None else existing(splits, "the table of splits")

    def studies(self) -> Iterator[Study]:
        columns = ("patientId", "x", "y", "width", "height", "Target")
        with (
            closing(self.lookup(self.table, columns[0], required=columns[1:])) as rows,
            closing(self.lookup(self.classes, "patientId", required=("class",))) as classes,
            closing(self.lookup(self.splits, "patientId", required=("split",))) as splits,
        ):
            for name, boxes in rows.groups():
                try:
                    label = max(label_value("Target", row["Target"]) for row in boxes)
                    found = tuple(
                        pixel_box(LABEL, (row["x"], row["y"], row["width"], row["height"]), SIDE, SIDE)
                        for row in boxes
                        if row["x"]
                    )
                except ValueError as error:
                    self.reject(name, self.table, str(error))
                    continue
                yield Study(
                    id=name,
                    patient_id=name,
                    image=self.images / f"{name}.dcm",
                    split=(splits.first(name) or {}).get("split") or None,
                    labels={LABEL: label},
                    boxes=found,
                    metadata={"class": (classes.first(name) or {}).get("class")},
                )
