"""Figures with captions from open-access articles: ROCO, MedICaT and MELINDA."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from medvlp_datasets.lookup import Lookup
from medvlp_datasets.source import FileSource, existing, one_of
from medvlp_datasets.text_files import numbered_lines
from medvlp_datasets.values import text_of
from medvlp_toolkit.data.records import Report, Study

# These data sets' names of the splits.
SPLITS = {"train": "train", "validation": "validate", "val": "validate", "dev": "validate", "test": "test"}
METHODS = ("i_meth", "p_meth", "i_meth_label", "p_meth_label")


class RocoSource(FileSource):
    """Radiology figures and captions of ROCO.

    ROCO (Pelka et al., LABELS 2018) as its repository and script ``fetch.py`` lay it out:
    ``data/{train,validation,test}/{radiology,non-radiology}/`` with ``captions.txt`` (id, tab, caption),
    ``dlinks.txt`` and ``images/`` with files named ``PMC…_<figure>.jpg`` (older downloads: ``ROCO_00001.jpg``).

    Args:
        root: the repository, or its folder ``data``.
        kinds: ``radiology``, ``non-radiology``, or both.

    The official splits are by figure: figures of one article, perhaps of one patient, are in several.
    ``metadata["article"]`` is the article's PMC id. Tested on the real tables, and on images written in this
    layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.roco
          root: /data/roco-dataset
    """

    def __init__(self, root: Path | str, kinds: Sequence[str] = ("radiology",)) -> None:
        super().__init__()
        folder = existing(root, "the ROCO folder")
        self.root = folder / "data" if (folder / "data").is_dir() else folder
        self.kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        self.folders = [
            (split, self.root / split / kind)
            for split in SPLITS
            for kind in self.kinds
            if (self.root / split / kind / "captions.txt").is_file()
        ]
        if not self.folders:
            raise FileNotFoundError(f"{self.root}: has no {{train,validation,test}}/{self.kinds[0]}/captions.txt")

    def studies(self) -> Iterator[Study]:
        for split, folder in self.folders:
            with closing(self.figures(folder / "dlinks.txt")) as figures:
                for line, fields in tab_lines(folder / "captions.txt"):
                    if len(fields) != 2 or not fields[0]:
                        self.reject("", folder / "captions.txt", f"line {line} is not an id, a tab and a caption")
                        continue
                    name, caption = fields
                    article, figure = figures.first(name) or (None, None)
                    image = folder / "images" / f"{article}_{figure}"
                    if article is None or not image.is_file():
                        older = folder / "images" / f"{name}.jpg"
                        image = older if article is None or older.is_file() else image
                    yield Study(
                        id=name,
                        patient_id=name,
                        image=image,
                        report=Report(name, caption),
                        split=SPLITS[split],
                        metadata={"article": article, "kind": folder.name},
                    )

    def figures(self, path: Path) -> Lookup:
        """Article and file name by figure id."""
        if not path.is_file():
            return Lookup(())
        lines = (fields for _, fields in tab_lines(path) if len(fields) >= 3)
        # "wget -r ftp://…/PMC3970251.tar.gz -P …"
        return Lookup(
            (fields[0], (fields[1].split()[2].rsplit("/", 1)[-1].split(".")[0], fields[-1]))
            for fields in lines
            if len(fields[1].split()) > 2
        )


class MedicatSource(FileSource):
    """Radiology figures, captions and references of MedICaT.

    MedICaT (Subramanian et al., Findings of EMNLP 2020) as released: a ``.jsonl`` file with a figure per line
    (``pdf_hash``, ``fig_uri``, ``s2_caption``, ``s2orc_references``, ``radiology``, …) and ``figures/`` with files
    named ``<pdf_hash>_<fig_uri>``.

    Args:
        root: the folder ``release`` of these files.
        radiology_only: leave out figures that are not marked as radiology.
        references: append the sentences of the article that refer to the figure to the text.

    There are no official splits; the article (its hash) is used as the patient id, so that a split by patient keeps an
    article together. Tested on the data set's public sample.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.medicat
          root: /data/medicat/release
          references: true
    """

    def __init__(self, root: Path | str, radiology_only: bool = True, references: bool = False) -> None:
        super().__init__()
        self.root = existing(root, "the MedICaT folder")
        self.file = one_of(self.root, "s2_full_figures*.jsonl", "*.jsonl")
        self.radiology_only, self.references = radiology_only, references

    def studies(self) -> Iterator[Study]:
        for line, text in numbered_lines(self.file):
            try:
                entry = json.loads(text)
                article, figure = text_of(entry["pdf_hash"]), text_of(entry["fig_uri"])
                caption = text_of(entry.get("s2_caption") or entry.get("s2orc_caption") or "", empty=True)
                mentions = [text_of(sentence) for sentence in entry.get("s2orc_references") or ()]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self.reject("", self.file, f"line {line} is no figure in JSON")
                continue
            if self.radiology_only and not entry.get("radiology"):
                continue
            name = f"{article}_{figure}"
            yield Study(
                id=name,
                patient_id=article,
                image=self.root / "figures" / name,
                report=Report(name, "\n".join([caption, *mentions] if self.references else [caption])),
                metadata={"article": article},
            )


class MelindaSource(FileSource):
    """Figures, captions and experiment methods of MELINDA.

    MELINDA (Wu et al., AAAI 2021): ``train.csv``, ``dev.csv``, ``test.csv`` with columns figure_file, caption,
    i_meth, p_meth, i_meth_label, p_meth_label, and the folder ``melinda_images``.

    Args:
        root: the folder of these files.
        images: folder of the images, if it has another name.

    ``metadata`` holds the methods (``i_meth``: participant identification, ``p_meth``: participant, with their
    coarse classes in ``…_label``). One figure can have several rows with other captions; the row is the study. Tested
    on files written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.melinda
          root: /data/melinda
    """

    def __init__(self, root: Path | str, images: Path | str | None = None) -> None:
        super().__init__()
        self.root = existing(root, "the MELINDA folder")
        self.tables = {split: self.root / f"{split}.csv" for split in SPLITS if (self.root / f"{split}.csv").is_file()}
        if not self.tables:
            raise FileNotFoundError(f"{self.root}: has no train.csv, dev.csv or test.csv")
        self.images = existing(images or self.root / "melinda_images", "the folder of images")

    def studies(self) -> Iterator[Study]:
        for split, table in self.tables.items():
            for line, row in self.rows(table, ("figure_file", "caption", *METHODS)):
                name = f"{split}/{line}"
                yield Study(
                    id=name,
                    patient_id=row["figure_file"],
                    image=self.images / row["figure_file"],
                    report=Report(name, row["caption"]),
                    split=SPLITS[split],
                    metadata={method: row[method] for method in METHODS},
                )


def tab_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and tab-separated fields of the non-empty lines."""
    for line, text in numbered_lines(path):
        yield line, [field.strip() for field in text.split("\t")]
