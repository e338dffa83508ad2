"""NIH ChestX-ray14 (Wang et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from medvlp_datasets.lookup import Lookup
from medvlp_datasets.source import FileSource, existing, first_of, one_of
from medvlp_datasets.text_files import read_text
from medvlp_datasets.values import age_of, pixel_box
from medvlp_toolkit.data.records import Study

LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
# The list of boxes shortens one name.
BOX_LABELS = {"Infiltrate": "Infiltration"}
SIDE = 1024  # pixels; the published images are square


class ChestXray14Source(FileSource):
    """Radiographs, labels, boxes and official splits of ChestX-ray14.

    ChestX-ray14 as published: ``Data_Entry_2017*.csv``, ``BBox_List_2017.csv``, ``train_val_list.txt``,
    ``test_list.txt``, and the images in ``images_001/images`` … ``images_012/images``, or all in ``images``.

    Args:
        root: the folder of these files (the tables may be gzipped).
        images: folder of the images, if it is another one.

    Labels are the 14 findings (1 or 0), boxes those of ``BBox_List_2017.csv`` and splits ``train`` (the
    official train and validation list) and ``test``, if these files exist. Tested on the real label and box tables, and
    on images written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.chestxray14
          root: /data/ChestX-ray14
    """

    def __init__(self, root: Path | str, images: Path | str | None = None) -> None:
        super().__init__()
        self.root = existing(root, "the ChestX-ray14 folder")
        self.table = one_of(self.root, "Data_Entry_2017*.csv", "Data_Entry_2017*.csv.gz")
        self.images = existing(images or self.root, "the folder of images")

    def studies(self) -> Iterator[Study]:
        columns = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
        # Built before the rows are read, so that a missing table fails early.
        with closing(self.boxes()) as boxes, closing(self.splits()) as splits, closing(self.paths()) as paths:
            for line, row in self.rows(self.table, columns):
                name = row["Image Index"]
                found = [label for label in row["Finding Labels"].split("|") if label and label != "No Finding"]
                unknown = [label for label in found if label not in LABELS]
                if unknown:
                    self.reject(name, self.table, f"line {line}: {len(unknown)} labels are not among the 14")
                    continue
                path = paths.first(name)
                yield Study(
                    id=Path(name).stem,
                    patient_id=row["Patient ID"],
                    image=self.images / (path or name),
                    split=splits.first(name),
                    labels={label: int(label in found) for label in LABELS},
                    boxes=tuple(
                        pixel_box(BOX_LABELS.get(label, label), values, SIDE, SIDE)
                        for label, *values in boxes.all(name)
                    ),
                    metadata={
                        "sex": row["Patient Gender"] or None,
                        "age": age_of(row["Patient Age"]),
                        "view": row["View Position"] or None,
                    },
                )

    def boxes(self) -> Lookup:
        """Label, x, y, w, h in pixels by image."""
        table = first_of(self.root, "BBox_List_2017.csv", "BBox_List_2017.csv.gz")
        if table is None:
            return Lookup(())
        # The header is "Image Index,Finding Label,Bbox [x,y,w,h],,," for six columns.
        rows = self.rows(table, ("Image Index", "Finding Label"), names=("image", "label", "x", "y", "w", "h"))
        return Lookup((row["image"], [row["label"], row["x"], row["y"], row["w"], row["h"]]) for _, row in rows)

    def splits(self) -> Lookup:
        """Split by image."""
        lists = {"train": self.root / "train_val_list.txt", "test": self.root / "test_list.txt"}
        return Lookup(
            (name, split) for split, path in lists.items() if path.is_file() for name in read_text(path).split()
        )

    def paths(self) -> Lookup:
        """Image name -> path below the folder of images, for every folder that the download may have."""
        folders = ["images", *(f"images_{number:03d}/images" for number in range(1, 13))]
        return Lookup(
            (path.name, f"{folder}/{path.name}")
            for folder in folders
            if (self.images / folder).is_dir()
            for path in sorted((self.images / folder).iterdir())
        )
