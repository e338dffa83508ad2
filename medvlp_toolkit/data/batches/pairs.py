"""Batches of image-text pairs: questions with their answers, captions with their labels.

An image shared by several texts of a batch is included and encoded once; ``image_index`` maps texts to images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medvlp_toolkit.data.batches.answers import UNSEEN, AnswerVocabulary
from medvlp_toolkit.data.batches.dataset import AUGMENTATION_DRAWS, AUGMENTATION_STREAM, image_scale, rows_of
from medvlp_toolkit.data.batches.draws import study_keys, uniform
from medvlp_toolkit.data.batches.encoded_texts import encode_texts
from medvlp_toolkit.data.batches.replaceable import Replaceable
from medvlp_toolkit.data.batches.text_links import TextLinks
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.data.views import Views, checked_views, chosen_images

#: The image that a text is paired with: its own, a black one, or that of another text of the data set.
Shown = Literal["own", "blank", "shuffled"]

_CHOICE_STREAM = 3


@dataclass(frozen=True)
class PairTable:
    """Columns of pairs, one entry per pair.

    ``row`` is the image's row in the store; ``answer`` the answer or class as written in the data set.
    """

    id: list[str]
    row: NDArray[np.int64]
    text: list[str]
    answer: list[str | None]
    category: list[str | None] = field(default_factory=list)
    answer_type: list[str | None] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"PairTable({len(self):,} texts of {len(np.unique(self.row)):,} images)"

    def __len__(self) -> int:
        return len(self.id)

    @classmethod
    def of(cls, entries: Sequence[Mapping[str, Any]]) -> PairTable:
        """From dicts keyed by column."""
        return cls(
            id=[str(entry["id"]) for entry in entries],
            row=np.array([entry["row"] for entry in entries], dtype=np.int64),
            text=[entry["text"] for entry in entries],
            answer=[entry.get("answer") for entry in entries],
            category=[entry.get("category") for entry in entries],
            answer_type=[entry.get("answer_type") for entry in entries],
        )


def questions(store: PackedStore, splits: Sequence[str], categories: Sequence[str] | None = None) -> PairTable:
    """The questions of a store.

    Args:
        store: prepared from a source of questions.
        splits: of the questions, or of their images if questions have none.
        categories: use only these; all when None.

    Raises:
        ValueError: when there are no questions, or some have no text.
    """
    of_image = store.table("studies", ["split"]).column("split").to_pylist()
    table = store.questions.to_pylist()
    if not table:
        raise ValueError(
            f"{store.path}: this store has images without questions; prepare it from a source of questions "
            "(vqa_rad, slake, vqa_med_2019, …)"
        )
    wanted = [entry for entry in table if (entry["split"] or of_image[entry["study"]]) in splits]
    there = sorted({str(entry["split"] or of_image[entry["study"]]) for entry in table})
    if wanted and categories is not None:
        known = sorted({str(entry["category"]) for entry in table})
        wanted = [entry for entry in wanted if entry["category"] in categories]
        there = [f"{' '.join(there)} with categories {', '.join(known)}"]
    if not wanted:
        asked = ", ".join(splits) + (f" of category {', '.join(categories)}" if categories is not None else "")
        raise ValueError(f"{store.path}: no question in {asked}; the questions' splits are {', '.join(there)}")
    entries = [{**entry, "row": entry["study"], "text": (entry["question"] or "").strip()} for entry in wanted]
    wordless = sum(not entry["text"] for entry in entries)
    if wordless:
        raise ValueError(f"{store.path}: {wordless} images have a question without words; fix the source")
    return PairTable.of(entries)


def captions(
    store: PackedStore,
    splits: Sequence[str],
    label: str | None = None,
    fewest_words: int = 1,
    most: int | None = None,
    seed: int = 42,
    views: Views = "first",
) -> PairTable:
    """The texts of a store's studies, with their class from the column ``label`` of its ``studies`` table.

    Args:
        store: prepared with texts.
        splits: of the studies.
        label: a column such as ``p_meth_label``; None for no class.
        fewest_words: minimum number of words (published for ROCO: 3).
        most: maximum number of texts, chosen at random by ``seed``; all when None (published for ROCO: 2,000, seed 42).
        seed: of that choice.
        views: images of a study to pair its text with (:mod:`medvlp_toolkit.data.views`), one pair per image.

    Raises:
        ValueError: when no study of the splits has a text (and a class), or there is no such column.
    """
    names = store.studies.column_names
    if label is not None and label not in names:
        raise ValueError(f"{store.path}: no column {label} in the studies; there are {', '.join(names)}")
    columns = ["study_id", "split", "text", *([label] if label else [])]
    entries = []
    table = store.table("studies", columns).to_pylist()
    every = np.arange(len(store))
    images = store.image_ids(every)
    places = chosen_images([entry["study_id"] for entry in table], store.values("view", every), checked_views(views))
    for row in places.tolist():
        entry = table[row]
        text = (entry["text"] or "").strip()
        answer = entry[label] if label else None
        if (
            entry["split"] in splits
            and len(text.split()) >= fewest_words
            and (label is None or answer not in (None, ""))
        ):
            entries.append({"id": images[row], "row": row, "text": text, "answer": answer and str(answer)})
    if not entries:
        what = f"a text and a value of {label}" if label else "a text"
        there = sorted({str(split) for split in store.table("studies", ["split"]).column("split").to_pylist()})
        raise ValueError(
            f"{store.path}: no study of {', '.join(splits)} has {what}; the store's splits are {', '.join(there)}"
        )
    if most is not None and most < len(entries):
        chosen = np.random.default_rng(seed).permutation(len(entries))[:most]
        entries = [entries[place] for place in np.sort(chosen)]
    return PairTable.of(entries)


class PairDataset(Replaceable, Dataset):
    """Images of a store with their texts.

    A batch has ``image`` (I, C, H, W), ``augmentation_draws`` (I, R), ``image_index`` (B,) the image of each text,
    ``input_ids`` and ``attention_mask`` (B, L), ``pair`` (B,) its index in ``table``, ``study_id`` (its id), with a
    vocabulary ``answer`` (B,) int64 with -1 for answers outside it, with ``links`` ``linked_entities`` (B, M)
    and ``linked_entity_alignment`` (B, M, L), and with ``choices`` ``choice_draws`` (B, B) uniform numbers.

    Args:
        store: folder of a packed store, or the store.
        table: the pairs, of :func:`questions` or :func:`captions`.
        tokenizer: hub name, folder, or object.
        text_length: maximum number of tokens per text; batches are padded to their longest text.
        vocabulary: maps answers to indices; None leaves answers out.
        links: finds entities of a knowledge graph in the texts.
        by_image: an item is an image with all its texts, else a pair.
        texts_per_image: maximum number of texts per image, others in every epoch; all when None.
        images: see :data:`Shown`; ``shuffled`` permutes the images.
        choices: draw the numbers for choosing false texts.
        seed: for random choices.

    Raises:
        ValueError: for a store without images, or a vocabulary that has none of the answers.
    """

    def __init__(
        self,
        store: PackedStore | Path | str,
        table: PairTable,
        tokenizer: Any,
        text_length: int = 32,
        vocabulary: AnswerVocabulary | None = None,
        links: TextLinks | None = None,
        by_image: bool = False,
        texts_per_image: int | None = None,
        images: Shown = "own",
        choices: bool = False,
        seed: int = 0,
    ) -> None:
        self.store = store if isinstance(store, PackedStore) else PackedStore.open(store)
        self.table = table
        self.vocabulary = vocabulary
        self.texts_per_image = texts_per_image
        self.images = images
        self.choices = choices
        self.seed = seed
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        if not self.store.has_images:
            raise ValueError(
                f"{self.store.path}: {len(table)} texts without an image, for this store has none; prepare it with "
                "an image_size"
            )
        if images not in ("own", "blank", "shuffled"):
            raise ValueError(f"images is own, blank or shuffled, not {images!r}")
        self.answers = self._encode(table, vocabulary)
        # One entry per distinct text: data sets repeat a question for many images.
        distinct = {text: number for number, text in enumerate(dict.fromkeys(table.text))}
        self.text_number = torch.tensor([distinct[text] for text in table.text])
        self.encoded = encode_texts(list(distinct), tokenizer, text_length, links)
        self._shown = self._shown_rows()
        if by_image:
            order = np.argsort(table.row, kind="stable")
            self.items = np.split(order, np.flatnonzero(np.diff(table.row[order])) + 1)
        else:
            self.items = list(np.arange(len(table))[:, None])
        self._image_keys = study_keys(self.store.image_ids(np.arange(len(self.store))))

    def __repr__(self) -> str:
        """Counts; no ids and no texts."""
        return f"{type(self).__name__}({len(self):,} items, {self.table!r}, {self.store!r})"

    def _encode(self, table: PairTable, vocabulary: AnswerVocabulary | None) -> Tensor | None:
        if vocabulary is None:
            return None
        if any(answer is None for answer in table.answer):
            raise ValueError(f"{self.store.path}: some of these {len(table)} texts have no answer to train on")
        labels = vocabulary.encode([str(answer) for answer in table.answer])
        if bool((labels == UNSEEN).all()):
            raise ValueError(
                f"{self.store.path}: none of the {len(table)} answers is among the {len(vocabulary)} of the answer "
                "vocabulary; it is of another data set, so give the checkpoint that was fine-tuned on this one"
            )
        return labels

    def _shown_rows(self) -> NDArray[np.int64]:
        """(pairs,) the row of the image that each text is paired with."""
        if self.images != "shuffled":
            return self.table.row
        rows, place = np.unique(self.table.row, return_inverse=True)
        if len(rows) < 2:
            raise ValueError("images: shuffled needs at least two images")
        cycle = np.random.default_rng(self.seed).permutation(len(rows))
        other = np.empty(len(rows), dtype=np.int64)
        other[cycle] = rows[np.roll(cycle, 1)]  # along one cycle, so that no image keeps its place
        shown: NDArray[np.int64] = other[place]
        return shown

    # -- batches ------------------------------------------------------------------------------

    def set_epoch(self, epoch: int) -> None:
        """Use the random choices of ``epoch``, also in running workers."""
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """A whole batch."""
        pairs = np.concatenate([self._chosen(self.items[index]) for index in indices])
        rows, image_index = np.unique(self._shown[pairs], return_inverse=True)
        image = torch.from_numpy(rows_of(self.store.images, rows))
        if self.images == "blank":
            image = torch.zeros_like(image)
        batch = {
            **self.texts(torch.from_numpy(pairs)),
            "image": image,
            **image_scale(self.store, rows),
            "augmentation_draws": torch.from_numpy(
                uniform(self.seed, self.epoch, AUGMENTATION_STREAM, self._image_keys[rows], AUGMENTATION_DRAWS)
            ),
            "image_index": torch.from_numpy(image_index.reshape(-1)),
            "image_row": torch.from_numpy(rows),
            "pair": torch.from_numpy(pairs),
            "study_id": [self.table.id[pair] for pair in pairs],
        }
        if self.answers is not None:
            batch["answer"] = self.answers[pairs]
        if self.choices:
            keys = study_keys([self.table.id[pair] for pair in pairs])
            drawn = uniform(self.seed, self.epoch, _CHOICE_STREAM + 1, keys, len(pairs))
            batch["choice_draws"] = torch.from_numpy(drawn)
        return batch

    def texts(self, pairs: Tensor) -> dict[str, Tensor]:
        """The model inputs of the texts of these pairs."""
        lines = self.text_number[pairs]
        return {name: value[lines] for name, value in self.encoded.items()}

    @property
    def epoch(self) -> int:
        return int(self._epoch[0])

    def _chosen(self, item: NDArray[np.int64]) -> NDArray[np.int64]:
        most = self.texts_per_image
        if most is None or len(item) <= most:
            return item
        keys = self._image_keys[self.table.row[item[:1]]]
        draws = uniform(self.seed, self.epoch, _CHOICE_STREAM, keys, len(item))[0]
        return item[np.argsort(draws)[:most]]
