"""Keeps a data set's images on the training device, so that only row numbers are transferred."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from medvlp_toolkit.data.batches.dataset import StudyDataset

Transform = Callable[[Mapping[str, Any]], dict[str, Any]]
#: Rows copied to the device at a time.
_BLOCK = 256
#: Share of the free memory reserved for the model and its activations.
_LEFT_FREE = 0.5


def images_from(
    where: Literal["memory_map", "device"], dataset: StudyDataset, transform: Transform, device: torch.device
) -> Transform:
    """The transform of a step, with images read from the store's memory map or kept on the device.

    With ``device`` the data set's images are copied there once, as integers, if they fit; batches then contain row
    numbers of the store instead of images.

    Raises:
        ValueError: when they do not fit, or ``where`` is invalid.
    """
    if where == "memory_map":
        return transform
    if where != "device":
        raise ValueError(f"images are read from memory_map or device, not {where!r}")
    return DeviceImages(dataset, transform, device)


class DeviceImages:
    """A transform that adds a batch's images from the device, then applies the next transform.

    Args:
        dataset: the data set with the images, which it no longer adds to its batches.
        transform: applied next.
        device: device to keep the images on.
    """

    def __init__(self, dataset: StudyDataset, transform: Transform, device: torch.device) -> None:
        stored = dataset.store.images
        needed = len(dataset.rows) * int(np.prod(stored.shape[1:])) * stored.dtype.itemsize
        free = free_memory(device)
        if needed > (1 - _LEFT_FREE) * free:
            raise ValueError(
                f"the images need {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free on {device}, half of "
                "which must be left for training; set images: memory_map"
            )
        self.transform = transform
        self.images = torch.empty((len(dataset.rows), *stored.shape[1:]), dtype=_torch_type(stored), device=device)
        for start in range(0, len(dataset.rows), _BLOCK):
            rows = dataset.rows[start : start + _BLOCK]
            self.images[start : start + len(rows)] = torch.from_numpy(np.asarray(stored)[rows])
        self.place = torch.full((len(dataset.store),), -1, dtype=torch.int64)
        self.place[torch.from_numpy(dataset.rows)] = torch.arange(len(dataset.rows))
        self.place = self.place.to(device)
        dataset.reads_images = False

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        prepared = dict(batch)
        prepared["image"] = self.images[self.place[batch["row"]]]
        if "negative_row" in batch:
            prepared["negative_image"] = self.images[self.place[prepared.pop("negative_row")]]
        return self.transform(prepared)


def free_memory(device: torch.device) -> int:
    """Free memory of a device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _torch_type(array: np.ndarray) -> torch.dtype:
    empty: Tensor = torch.from_numpy(np.empty(0, array.dtype))
    return empty.dtype
