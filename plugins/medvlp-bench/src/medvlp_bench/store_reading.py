"""Speed of reading training images from a packed store, on one core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from medvlp_bench.measurement import Measurement, measure, one_thread, peak_memory, rates


def make_store(options: str) -> str:
    """Write a store of generated studies; ``options``: folder, images, size."""
    from medvlp_bench.generated_images import write_store

    given = json.loads(options)
    return str(write_store(Path(given["folder"]), given["images"], given["size"]))


def read_batches(options: str) -> dict[str, Any]:
    """`StudyDataset` batches, shuffled: image, labels, position candidates, augmentation draws."""
    from medvlp_toolkit.data.batches.dataset import StudyDataset

    given = json.loads(options)
    one_thread()
    dataset = StudyDataset(given["store"])
    batch_size, epoch = int(given["batch_size"]), 0
    count = len(dataset) - len(dataset) % batch_size
    if not count:
        raise ValueError(f"{given['store']}: {len(dataset)} studies are fewer than one batch of {batch_size}")

    def one_epoch() -> None:
        nonlocal epoch
        epoch += 1
        dataset.set_epoch(epoch)
        order = np.random.default_rng(epoch).permutation(len(dataset))
        for start in range(0, count, batch_size):
            dataset.__getitems__(order[start : start + batch_size].tolist())

    clock, processor = measure(one_epoch, given["repeats"])
    return Measurement(
        "store",
        f"training images from the store, batches of {batch_size} with labels and draws",
        "images/s",
        count,
        rates(count, clock),
        rates(count, processor),
        peak_memory(),
        _details(dataset.store),
    ).as_json()


def copy_rows(options: str) -> dict[str, Any]:
    """The pixels alone: shuffled rows of the memory map, copied."""
    from medvlp_toolkit.data.store.store import PackedStore

    given = json.loads(options)
    one_thread()
    store = PackedStore.open(given["store"])
    images, epoch = np.asarray(store.images), 0

    def one_epoch() -> None:
        nonlocal epoch
        epoch += 1
        order = np.random.default_rng(epoch).permutation(len(images))
        for start in range(0, len(images), given["batch_size"]):
            images[order[start : start + given["batch_size"]]]

    clock, processor = measure(one_epoch, given["repeats"])
    return Measurement(
        "memory-map",
        f"rows of the memory map, {given['batch_size']} at a time",
        "images/s",
        len(images),
        rates(len(images), clock),
        rates(len(images), processor),
        peak_memory(),
        _details(store),
    ).as_json()


def _details(store: Any) -> dict[str, Any]:
    return {
        "image_shape": list(store.images.shape[1:]),
        "dtype": str(store.images.dtype),
        "entities": len(store.entities),
        "positions": len(store.positions),
        "findings": store.meta["counts"]["rows"]["findings"],
    }
