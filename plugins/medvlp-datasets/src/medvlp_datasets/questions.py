"""Questions and answers about images: VQA-RAD, SLAKE, VQA-Med 2019 and 2021.

A study is an image with all its questions. A question has the split of its data set; the study has the same split if
all its questions agree, and none otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from medvlp_datasets.source import FileSource, chosen, existing, first_of
from medvlp_datasets.text_files import numbered_lines
from medvlp_datasets.values import text_of, text_or_none
from medvlp_toolkit.data.records import Question, Study
from medvlp_toolkit.data.store.rejected import Reason
from medvlp_toolkit.tables.content import decode

Entry = tuple[str, Path, Question, dict[str, Any]]  # image id, image path, question, metadata of the image

# SLAKE's metadata of an image, and their names here.
ABOUT = {"modality": "modality", "organ": "location"}


class QuestionSource(FileSource):
    """Collects the questions of each image, with images in the order of their first question."""

    def entries(self) -> Iterator[Entry]:
        raise NotImplementedError

    def studies(self) -> Iterator[Study]:
        images: dict[str, tuple[Path, dict[str, Any], list[Question]]] = {}
        asked: set[tuple[str | None, str, str]] = set()
        for name, path, question, metadata in self.entries():
            key = (question.split, question.id, question.text)
            if key in asked:
                self.reject(name, path, f"question {question.id} is asked twice", Reason.DUPLICATE_ID)
                continue
            asked.add(key)
            images.setdefault(name, (path, metadata, []))[2].append(question)
        for name, (path, metadata, questions) in images.items():
            splits = {question.split for question in questions}
            yield Study(
                id=name,
                patient_id=name,
                image=path,
                split=splits.pop() if len(splits) == 1 else None,
                questions=tuple(questions),
                metadata=metadata,
            )


class VqaRadSource(QuestionSource):
    """Images, questions and answers of VQA-RAD.

    VQA-RAD (Lau et al., Scientific Data 2018), in one of the two forms that are in use: ``VQA_RAD Dataset
    Public.json`` with ``VQA_RAD Image Folder/``, or ``trainset.json`` and ``testset.json`` with ``images/``.

    Args:
        root: the folder that holds them.

    3,064 questions are for training, the 451 whose phrase type begins with ``test`` for testing. The split is by
    question: most images are in both, so `Prepare` needs ``on_leak: report``. ``valset.json``, a copy of the test set
        that is in
    circulation, is not read. Tested on files written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.vqa_rad
          root: /data/vqa-rad
    """

    def __init__(self, root: Path | str) -> None:
        super().__init__()
        self.root = existing(root, "the VQA-RAD folder")
        public = first_of(self.root, "VQA_RAD Dataset Public.json", "VQA_RAD*.json")
        if public is not None:
            self.files: dict[str | None, Path] = {None: public}
        else:
            sets = {"train": self.root / "trainset.json", "test": self.root / "testset.json"}
            self.files = {split: path for split, path in sets.items() if path.is_file()}
            if not self.files:
                raise FileNotFoundError(f"{self.root}: has no 'VQA_RAD Dataset Public.json' and no trainset.json")
        folders = [self.root / name for name in ("VQA_RAD Image Folder", "images")]
        self.images = next((folder for folder in folders if folder.is_dir()), folders[0])

    def entries(self) -> Iterator[Entry]:
        for split, path in self.files.items():
            for number, entry in enumerate(json_list(path)):
                try:
                    image, kind = text_of(entry["image_name"]), str(entry.get("phrase_type", ""))
                    question = Question(
                        id=text_of(entry["qid"]),
                        text=text_of(entry["question"]),
                        answer=text_of(entry["answer"]),
                        category=text_or_none(entry.get("question_type")),
                        answer_type=answer_type(entry.get("answer_type")),
                        split=split or ("test" if kind.startswith("test") else "train"),
                    )
                except (KeyError, TypeError, ValueError, AttributeError):
                    self.reject("", path, f"entry {number} is no question with image_name, qid, question and answer")
                    continue
                yield Path(image).stem, self.images / image, question, {"organ": text_or_none(entry.get("image_organ"))}


class SlakeSource(QuestionSource):
    """Images, questions and answers of SLAKE.

    SLAKE (Liu et al., ISBI 2021) as published: ``train.json``, ``validate.json``, ``test.json`` and
    ``imgs/xmlab1/source.jpg``.

    Args:
        root: the folder that holds them.
        language: ``en``, ``zh``, or ``all``.

    Splits are by image. Tested on files written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.slake
          root: /data/slake
          language: en
    """

    def __init__(self, root: Path | str, language: str = "en") -> None:
        super().__init__()
        self.root = existing(root, "the SLAKE folder")
        self.language = chosen(language, ("en", "zh", "all"), "language")
        files = {split: self.root / f"{split}.json" for split in ("train", "validate", "test")}
        self.files = {split: path for split, path in files.items() if path.is_file()}
        if not self.files:
            raise FileNotFoundError(f"{self.root}: has no train.json, validate.json or test.json")

    def entries(self) -> Iterator[Entry]:
        for split, path in self.files.items():
            for number, entry in enumerate(json_list(path)):
                try:
                    image, language = text_of(entry["img_name"]), text_of(entry["q_lang"])
                    question = Question(
                        id=text_of(entry["qid"]),
                        text=text_of(entry["question"]),
                        answer=text_of(entry["answer"]),
                        category=text_or_none(entry.get("content_type")),
                        answer_type=answer_type(entry.get("answer_type")),
                        split=split,
                    )
                except (KeyError, TypeError, ValueError, AttributeError):
                    self.reject("", path, f"entry {number} is no question with img_name, q_lang, qid, question, answer")
                    continue
                if self.language in (language, "all"):
                    metadata = {name: text_or_none(entry.get(key)) for name, key in ABOUT.items()}
                    yield image.split("/")[0], self.root / "imgs" / image, question, metadata


class VqaMed2019Source(QuestionSource):
    """Images, questions and answers of VQA-Med 2019.

    VQA-Med 2019 (Ben Abacha et al., ImageCLEF 2019).

    Either as published: folders with ``QAPairsByCategory/C1_Modality_train.txt`` … (``image|question|answer``) beside
    ``Train_images``, the same for ``val``, and ``VQAMed2019_Test_Questions_w_Ref_Answers.txt``
    (``image|category|question|answer``) beside ``VQAMed2019_Test_Images``. Or as tables ``train.csv``, ``eval.csv``, …
    with columns image, category, question, answer beside ``images/``; each table's name is its split.

    Args:
        root: the folder that holds them.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.vqa_med_2019
          root: /data/vqa-med-2019
    """

    def __init__(self, root: Path | str) -> None:
        super().__init__()
        self.root = existing(root, "the VQA-Med 2019 folder")
        self.tables = sorted(self.root.glob("*.csv"))
        self.by_category = sorted(self.root.rglob("QAPairsByCategory/C*_*_*.txt"))
        self.tests = sorted(self.root.rglob("*Test_Questions_w_Ref_Answers.txt"))
        if not self.tables and not self.by_category and not self.tests:
            raise FileNotFoundError(f"{self.root}: has neither QAPairsByCategory/ nor tables of questions")

    def entries(self) -> Iterator[Entry]:
        for path in self.by_category:
            category, part = path.stem.split("_")[1:3]
            split = {"train": "train", "val": "validate", "test": "test"}.get(part, part)
            yield from self.lines(path, split, images_beside(path.parent), category.lower())
        for path in self.tests:
            yield from self.lines(path, "test", images_beside(path), None)
        for path in self.tables:
            for line, row in self.rows(path, ("image", "category", "question", "answer")):
                if not all(row[name] for name in ("image", "question", "answer")):
                    self.reject("", path, f"line {line} has no image, question or answer")
                    continue
                question = Question(
                    f"{path.stem}/{line}", row["question"], row["answer"], row["category"], split=path.stem
                )
                yield Path(row["image"]).stem, self.root / "images" / row["image"], question, {}

    def lines(self, path: Path, split: str, images: Path, category: str | None) -> Iterator[Entry]:
        for line, text in numbered_lines(path):
            fields = [field.strip() for field in text.split("|", 2 if category else 3)]
            if len(fields) != (3 if category else 4) or not all(fields):
                self.reject(
                    "", path, f"line {line} is no {'image|question|answer' if category else 'image|category|…'}"
                )
                continue
            kind = category or fields.pop(1).lower()
            image, question, answer = fields
            name = f"{split}/{kind}/{line}"
            yield image, images / f"{image}.jpg", Question(name, question, answer, kind, split=split), {}


class VqaMed2021Source(QuestionSource):
    """Images, questions and answers of VQA-Med 2021, all of them about abnormalities.

    VQA-Med 2021 (Ben Abacha et al., ImageCLEF 2021): it trains on the training and validation questions of VQA-Med
    2020 (``…Train…QA…pairs….txt`` and ``…Val…QA…pairs….txt``), validates on a set of its own
    (``…New-ValidationSet….txt``), all with lines ``image|question|answer``, and tests on ``…TestSet-Questions….txt``
    (``image|question``) with ``…TestSet-ReferenceAnswers….txt`` (``image|answer|…``, of which the first is taken).
    The files may be in any folder below ``root``; images are searched in all of them by name.

    Args:
        root: the folder that holds them.
        abnormality_2019: root of VQA-Med 2019, whose training questions about abnormalities are added to training,
            as published systems do; None adds nothing.

    Tested on files written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.vqa_med_2021
          root: /data/vqa-med-2021
          abnormality_2019: /data/vqa-med-2019
    """

    def __init__(self, root: Path | str, abnormality_2019: Path | str | None = None) -> None:
        super().__init__()
        self.root = existing(root, "the VQA-Med 2021 folder")
        self.more = None if abnormality_2019 is None else VqaMed2019Source(abnormality_2019)
        texts = sorted(self.root.rglob("*.txt"))
        named = {path: path.name.lower().replace("_", "-") for path in texts}
        self.sets = [(path, "train") for path in texts if "qa-pairs" in named[path]]
        self.sets += [(path, "validate") for path in texts if "new-validationset" in named[path]]
        self.questions = [path for path in texts if "testset-questions" in named[path]]
        self.references = [path for path in texts if "testset-referenceanswers" in named[path]]
        if not self.sets and not self.references:
            raise FileNotFoundError(f"{self.root}: has no QA_pairs.txt, New-ValidationSet.txt or TestSet-Questions.txt")

    def entries(self) -> Iterator[Entry]:
        images = {path.stem: path for path in self.root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")}
        for path, split in self.sets:
            for line, fields in self.fields(path, 3):
                yield self.entry(images, split, path, line, *fields)
        asked = {image: text for path in self.questions for _, (image, text) in self.fields(path, 2)}
        for path in self.references:
            for line, (image, answers) in self.fields(path, 2):
                if image not in asked:
                    self.reject("", path, f"line {line} answers an image that no question is about")
                    continue
                yield self.entry(images, "test", path, line, image, asked[image], answers.split("|")[0])
        if self.more is not None:
            for image, path, question, metadata in self.more.entries():
                if question.split == "train" and question.category == "abnormality":
                    yield image, path, replace(question, id=f"2019/{question.id}"), metadata
            self.rejected += self.more.rejected

    def fields(self, path: Path, count: int) -> Iterator[tuple[int, list[str]]]:
        """Line number and fields of the lines; the last field keeps further bars."""
        for line, text in numbered_lines(path):
            fields = [field.strip() for field in text.split("|", count - 1)]
            if len(fields) == count and all(fields):
                yield line, fields
            else:
                self.reject("", path, f"line {line} does not have {count} fields")

    def entry(
        self, images: dict[str, Path], split: str, path: Path, line: int, image: str, text: str, answer: str
    ) -> Entry:
        name = f"{split}/{path.stem}/{line}"
        question = Question(name, text, answer, "abnormality", split=split)
        return image, images.get(image, self.root / f"{image}.jpg"), question, {}


def images_beside(path: Path) -> Path:
    """The folder of images next to a file or folder of questions."""
    folders = sorted(folder for folder in path.parent.iterdir() if folder.is_dir() and "image" in folder.name.lower())
    return folders[0] if folders else path.parent / "images"


def json_list(path: Path) -> Iterable[Any]:
    """The entries of a JSON list; raises ValueError in one line for anything else."""
    try:
        content = json.loads(decode(path.read_bytes()))
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"{path}: damaged, or not JSON") from None
    if not isinstance(content, list):
        raise ValueError(f"{path}: a list of questions is expected")
    return content


def answer_type(value: Any) -> str | None:
    """``open`` or ``closed``."""
    text = str(value or "").strip().lower()
    return text if text in ("open", "closed") else None
