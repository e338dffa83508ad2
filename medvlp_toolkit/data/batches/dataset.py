"""Batches from the packed store: random draws per study, arrays for a whole batch at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from medvlp_toolkit.data.batches.batch_table import ABSENT, NOT_MENTIONED, UNCERTAIN
from medvlp_toolkit.data.batches.draws import study_keys, uniform
from medvlp_toolkit.data.batches.replaceable import Replaceable
from medvlp_toolkit.data.batches.supervision import EntityLabels, PositionNegatives
from medvlp_toolkit.data.batches.text_lengths import FixedLengths
from medvlp_toolkit.data.boxes import box_mask
from medvlp_toolkit.data.store.shared_arrays import Arrays, TextColumn, shared_arrays
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.data.views import Views, checked_views, chosen_images
from medvlp_toolkit.stop_signal import ignore_interrupts

logger = logging.getLogger(__name__)

#: How reports' findings are read as labels.
Reported = Literal["stated", "mentioned"]
#: How many uniform numbers a sample brings along for augmentation on the device.
AUGMENTATION_DRAWS = 32
AUGMENTATION_STREAM = 0
#: Minimum number of studies for sharing a store's labels among processes.
SHARED_FROM = 20_000


class StudyDataset(Replaceable, Dataset):
    """Studies of a packed store with the labels for entity losses.

    Indexed with a list (``dataset.__getitems__``, as DataLoader does), it returns a whole batch built with array
    operations; :func:`study_loader` makes such a loader. Random choices depend only on (seed, epoch, study id).

    Args:
        store: folder of a packed store, or the store.
        splits: names of the splits to use; all when empty.
        entities: ids of the entities to train on, in the order of the model's entity bank; the store's when None.
        positions: ids of the positions, in the order of the position bank; the store's when None. They may be a subset
            or a superset of the positions of the store's filter.
        excluded_entities: entities whose findings are ignored.
        candidates: positions per entity, the true one first. If ``positions`` is None and the store has fewer, none are
            drawn.
        position_negatives: see :meth:`EntityLabels.position_candidates`.
        labels: names of the source's own labels to add as ``targets`` (B, len(labels)); -1 unknown.
        reported: the labels are entities of the reports' findings instead: ``stated``, 1 where the report says present
            and 0 where it says absent; ``mentioned``, 0 also where it does not mention the entity.
        study_ids: take these studies of the splits only; all when None.
        views: images of a study to take: ``all``, ``frontal`` or ``first`` (:mod:`medvlp_toolkit.data.views`).
        masks: add the store's masks as ``mask`` (B, 1, H, W); ``boxes`` fills the study's boxes instead, as is done
            where a data set has boxes only.
        seed: of every random choice.

    Raises:
        StoreError: when the folder is not a store, or lacks the masks requested.
        ValueError: when no study is left, or an id is unknown to the store.
    """

    def __init__(
        self,
        store: PackedStore | Path | str,
        splits: Sequence[str] = (),
        entities: Sequence[str] | None = None,
        positions: Sequence[str] | None = None,
        excluded_entities: Sequence[str] = (),
        candidates: int = 8,
        position_negatives: PositionNegatives = "other_positions",
        labels: Sequence[str] = (),
        study_ids: Sequence[str] | None = None,
        views: Views = "all",
        masks: bool | Literal["boxes"] = False,
        seed: int = 0,
        reported: Reported | None = None,
    ) -> None:
        self.store = store if isinstance(store, PackedStore) else PackedStore.open(store)
        self.entities = tuple(self.store.entities if entities is None else entities)
        self.positions = tuple(self.store.positions if positions is None else positions)
        self.candidates = candidates
        self.position_negatives = position_negatives
        self.label_names = tuple(labels)
        self.reported = reported
        self.seed = seed
        self.views = checked_views(views)
        #: False if images are already on the training device (:mod:`medvlp_toolkit.data.batches.device_images`).
        self.reads_images = self.store.has_images
        # Shared with worker processes, which start before later epochs begin.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        splits = (splits,) if isinstance(splits, str) else tuple(splits)
        if masks not in (True, False, "boxes"):
            raise ValueError(f"masks is true, false or boxes, not {masks!r}")
        self.masks = masks
        if masks and masks != "boxes":
            self.store.array("masks")  # to fail here rather than in the first batch
        self._check_entities()
        self._check_positions()
        self._draws_positions = bool(self.positions) and (positions is not None or len(self.positions) >= candidates)
        arrays = self._arrays(splits, study_ids, tuple(excluded_entities))
        self.rows: NDArray[np.int64] = arrays["rows"]
        self.study_ids = TextColumn(arrays["study_ids"])
        self.patient_ids = TextColumn(arrays["patient_ids"])
        self._keys: NDArray[np.uint64] = arrays["keys"]
        self._entity_labels = EntityLabels(
            arrays["presence"], arrays["label_rows"], arrays["label_offsets"], len(self.positions)
        )
        self.targets: NDArray[np.int8] | None = arrays.get("targets")

    def _arrays(self, splits: Sequence[str], study_ids: Sequence[str] | None, excluded: Sequence[str]) -> Arrays:
        """Metadata of the studies; shared among processes if the store is large, like its images."""

        def make() -> Arrays:
            return self._read(splits, study_ids, excluded)

        if study_ids is not None or len(self.store) < SHARED_FROM:
            return make()
        key = {
            "version": 3,
            "store": self.store.fingerprint,
            "splits": splits,
            "entities": self.entities,
            "positions": self.positions,
            "excluded": excluded,
            "labels": self.label_names,
            "reported": self.reported,
            "views": self.views,
        }
        return shared_arrays(self.store.path / "arrays", key, make)

    def _read(self, splits: Sequence[str], study_ids: Sequence[str] | None, excluded: Sequence[str]) -> Arrays:
        rows = self.store.rows(*splits)
        if not len(rows):
            there = sorted({str(s) for s in self.store.table("studies", ["split"]).column("split").to_pylist()})
            raise ValueError(
                f"{self.store.path}: no study in split {', '.join(splits) or '(any)'}; "
                f"the store has the splits {', '.join(there) or 'none'}"
            )
        table = self.store.table("studies", ["study_id", "patient_id"])
        ids, patients = (table.column(name).to_pylist() for name in ("study_id", "patient_id"))
        if study_ids is not None:
            rows = self._only(study_ids, rows, ids)
        rows = self._of_views(rows, ids)
        chosen = [ids[row] for row in rows]
        labels = self._read_findings(self.entities, excluded, rows)
        arrays: Arrays = {
            "rows": rows,
            "study_ids": TextColumn.pack(chosen),
            "patient_ids": TextColumn.pack(patients[row] or "" for row in rows),
            "keys": study_keys(self.store.image_ids(rows)),  # images of one study are augmented independently
            "presence": labels.presence,
            "label_rows": labels.rows,
            "label_offsets": labels.offsets,
        }
        targets = self._read_targets(rows)
        return arrays if targets is None else {**arrays, "targets": targets}

    def _only(self, study_ids: Sequence[str], rows: NDArray[np.int64], ids: list[str]) -> NDArray[np.int64]:
        """The rows of these studies, in the store's order."""
        wanted = set(study_ids)
        kept = np.array([row for row in rows if ids[row] in wanted], dtype=np.int64)
        missing = len(wanted - {ids[row] for row in kept})
        if missing or not wanted:
            # Only their number, because an id may identify a patient.
            raise ValueError(
                f"{missing} of {len(wanted)} listed studies are not in these splits of "
                f"{self.store.path}; is the list of another store?"
            )
        return kept

    def _of_views(self, rows: NDArray[np.int64], ids: list[str]) -> NDArray[np.int64]:
        """The rows of the requested images."""
        if self.views == "all":
            return rows
        try:
            places = chosen_images([ids[row] for row in rows], self.store.values("view", rows), self.views)
        except ValueError as error:
            raise ValueError(f"{self.store.path}: {error}") from None
        if not len(places):
            raise ValueError(f"{self.store.path}: none of {len(rows)} images is {self.views}; set views: all")
        logger.info("%d of %d images are taken (views: %s)", len(places), len(rows), self.views)
        return rows[places]

    def _masks(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B, 1, H, W) of 0 and 1."""
        if self.masks != "boxes":
            return rows_of(self.store.masks, rows)
        size = (int(self.store.images.shape[2]), int(self.store.images.shape[3]))
        filled = [box_mask(self.store.boxes_of(int(row)), size) for row in rows]
        return np.stack(filled).astype(np.uint8)[:, None]

    def _check_entities(self) -> None:
        there = self.store.entities
        unknown = [name for name in self.entities if name not in set(there)]
        if unknown and there:
            raise ValueError(
                f"{self.store.path} was prepared without the entities {', '.join(unknown[:5])}"
                f"{' …' if len(unknown) > 5 else ''}; prepare it again with a report filter that knows them, or train "
                f"on those of the store ({', '.join(there[:5])}{' …' if len(there) > 5 else ''})"
            )

    def _check_positions(self) -> None:
        unknown = [name for name in self.positions if name not in set(self.store.positions)]
        others = [name for name in self.store.positions if name not in set(self.positions)]
        if unknown and others:  # if only one side has extra positions, the other is a subset
            raise ValueError(
                f"{self.store.path} was prepared without the positions {', '.join(unknown[:5])}"
                f"{' …' if len(unknown) > 5 else ''}, and places findings at {', '.join(others[:5])}"
                f"{' …' if len(others) > 5 else ''} instead; prepare it again with a report filter that uses the "
                "recipe's ids"
            )

    def _read_findings(self, entities: Sequence[str], excluded: Sequence[str], rows: NDArray[np.int64]) -> EntityLabels:
        table = self.store.table("findings", ["study", "entity", "presence", "position"])
        index = np.full(len(self.store), -1, dtype=np.int64)
        index[rows] = np.arange(len(rows))
        columns = {name: _codes(table.column(name)) for name in ("entity", "presence", "position")}
        return EntityLabels.from_columns(
            index[table.column("study").to_numpy()], columns, len(rows), entities, self.positions, excluded
        )

    def _read_targets(self, rows: NDArray[np.int64]) -> NDArray[np.int8] | None:
        if not self.label_names:
            return None
        if self.reported is not None:
            found = self._read_findings(self.label_names, (), rows).presence
            unmentioned = ABSENT if self.reported == "mentioned" else NOT_MENTIONED
            return np.select([found == NOT_MENTIONED, found == UNCERTAIN], [unmentioned, NOT_MENTIONED], found)
        unknown = [name for name in self.label_names if name not in self.store.labels]
        if unknown:
            raise ValueError(
                f"{self.store.path} has no label {', '.join(unknown)}; it has {', '.join(self.store.labels) or 'none'}"
            )
        table = self.store.table("studies", [f"label:{name}" for name in self.label_names])
        columns = [table.column(i).fill_null(-1).to_numpy() for i in range(table.num_columns)]
        return np.stack(columns, axis=1).astype(np.int8)[rows]

    # -- batches ------------------------------------------------------------------------------

    @property
    def entity_presence(self) -> NDArray[np.int8]:
        """(S, Q) of all studies, as in batches."""
        return self._entity_labels.presence

    def set_epoch(self, epoch: int) -> None:
        """Use the random choices of ``epoch``, also in running workers."""
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        """Counts; no ids."""
        of = f"{len(self):,} images of {len(set(self.study_ids)):,} studies"
        splits = self._given.get("splits") or "all"
        about = f"splits {splits}, {len(self.entities)} entities, {len(self.positions)} positions"
        return f"{type(self).__name__}({of}, {about}, {self.store!r})"

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.__getitems__([index])
        return {key: value[0] for key, value in batch.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """A whole batch, with the keys of the table in :mod:`medvlp_toolkit.interfaces`."""
        chosen = np.asarray(indices, dtype=np.int64)
        epoch = int(self._epoch[0])
        keys = self._keys[chosen]
        batch: dict[str, Any] = {
            "study_id": [self.study_ids[i] for i in chosen],
            "patient_id": [self.patient_ids[i] for i in chosen],
            "row": torch.from_numpy(self.rows[chosen]),
            "entity_presence": torch.from_numpy(self.entity_presence[chosen]),
            "augmentation_draws": torch.from_numpy(
                uniform(self.seed, epoch, AUGMENTATION_STREAM, keys, AUGMENTATION_DRAWS)
            ),
        }
        if self.reads_images:
            batch["image"] = torch.from_numpy(rows_of(self.store.images, self.rows[chosen]))
        batch |= image_scale(self.store, self.rows[chosen])
        if self.masks:
            batch["mask"] = torch.from_numpy(self._masks(self.rows[chosen]))
        if self._draws_positions:
            batch["entity_position_candidates"] = torch.from_numpy(
                self._entity_labels.position_candidates(
                    chosen, keys, self.seed, epoch, self.candidates, self.position_negatives
                )
            )
        if self.targets is not None:
            batch["targets"] = torch.from_numpy(self.targets[chosen])
        return batch


def image_scale(store: PackedStore, rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """``image_scale`` (B, 2) of some rows of a store of volumes; empty for a store without scales."""
    if store.scales is None:
        return {}
    return {"image_scale": torch.from_numpy(rows_of(store.scales, rows).astype(np.float32))}


def rows_of(mapped: np.memmap[Any, np.dtype[Any]], rows: NDArray[np.int64]) -> NDArray[Any]:
    """A copy of some rows as a plain array, because indexing a memmap is slower than copying an image."""
    copied: NDArray[Any] = np.asarray(mapped)[rows]
    return copied


def _codes(column: Any) -> tuple[NDArray[np.int64], list[str]]:
    """An Arrow text column as codes (T,), -1 for null, and the values that they index."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


class StudySampler(DistributedSampler):
    """Order of studies per epoch, determined by (seed, epoch), split over the ranks.

    MONAI's engines call ``set_epoch`` of a DistributedSampler when an epoch starts; this one also updates the data set,
    whose random choices depend on the epoch. It also works with a single process.

    Study i of the order belongs to rank ``i % ranks``, so that the k-th batches of all ranks together equal the k-th
    batch of one rank with a batch size larger by that factor. Shuffled shares (training) have equal size: studies of
    the order are repeated or, with ``drop_last``, left out. Otherwise (evaluation) every study is in exactly one share.
    """

    def __init__(self, dataset: StudyDataset, shuffle: bool, seed: int, drop_last: bool) -> None:
        import torch.distributed as dist

        self.studies = dataset
        self._start = 0
        distributed = dist.is_available() and dist.is_initialized()
        super().__init__(
            dataset,
            num_replicas=dist.get_world_size() if distributed else 1,
            rank=dist.get_rank() if distributed else 0,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
        )
        if not shuffle:
            self.num_samples = len(range(self.rank, len(dataset), self.num_replicas))
        if self.num_samples == 0:
            raise ValueError(f"{len(dataset)} studies are too few for {self.num_replicas} processes")

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.studies.set_epoch(epoch)

    def start_at(self, study: int) -> None:
        """Begin only the next pass at this study of the rank's share; used when resuming."""
        self._start = study

    def __iter__(self) -> Iterator[int]:
        start, self._start = self._start, 0
        return map(int, self._order()[self.rank :: self.num_replicas][start:])

    def _order(self) -> NDArray[np.int64]:
        """The order over all ranks, as in DistributedSampler; an array needs less memory than a list."""
        studies = len(self.studies)
        if not self.shuffle:
            return np.arange(studies)
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: NDArray[np.int64] = torch.randperm(studies, generator=generator).numpy()
        return np.resize(order, self.total_size)  # truncated or repeated


def study_loader(
    dataset: StudyDataset,
    batch_size: int,
    shuffle: bool = False,
    drop_last: bool = False,
    num_workers: int = 0,
    seed: int = 0,
    text_lengths: Sequence[int] = (),
) -> DataLoader:
    """A DataLoader of whole batches over ``dataset``.

    The default is no worker, because reading a packed store is a slice of a memory map. With ``text_lengths`` the
    padding of reports is trimmed (:class:`~medvlp_toolkit.data.FixedLengths`).

    Raises:
        ValueError: when ``drop_last`` leaves no batch.
    """
    if drop_last and len(dataset) < batch_size:
        raise ValueError(
            f"{len(dataset)} studies are fewer than one batch of {batch_size}; lower batch_size or set drop_last: false"
        )
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=StudySampler(dataset, shuffle=shuffle, seed=seed, drop_last=drop_last),
        drop_last=drop_last,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=ignore_interrupts,
        collate_fn=FixedLengths(text_lengths) if text_lengths else whole_batch,
        pin_memory=torch.cuda.is_available(),
        # A separate generator: every new iterator draws a number, which would make a resumed run differ.
        generator=torch.Generator().manual_seed(seed),
    )


def training_loader(
    dataset: StudyDataset,
    batch_size: int,
    num_workers: int = 0,
    drop_last: bool = True,
    text_lengths: Sequence[int] = (),
) -> DataLoader:
    """:func:`study_loader` for training: reshuffled in every epoch by the data set's seed.

    Args:
        drop_last: leave out the last studies of an epoch if they are fewer than a batch.
    """
    return study_loader(
        dataset, batch_size, shuffle=True, drop_last=drop_last, num_workers=num_workers, seed=dataset.seed,
        text_lengths=text_lengths,
    )  # fmt: skip


def whole_batch(batch: Any) -> Any:
    """Identity, because the data set builds whole batches."""
    return batch
