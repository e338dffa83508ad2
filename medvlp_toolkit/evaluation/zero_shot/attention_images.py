"""What attention looks at while a model learns: the same few studies after every validation, in TensorBoard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from PIL import Image

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.data.boxes import AnyBox
from medvlp_toolkit.data.records import Presence
from medvlp_toolkit.engines.device import Precision, autocast, to_device
from medvlp_toolkit.evaluation.maps.heat_maps import attention_maps
from medvlp_toolkit.evaluation.maps.overlays import Overlay, write_contact_sheet
from medvlp_toolkit.evaluation.maps.volume_slices import slice_overlay
from medvlp_toolkit.model.entity_scorer import EntityScorer

TAG = "attention"


class AttentionImages:
    """Draws attention on a fixed set of studies after every validation.

    A handler of the validating evaluator, whose network is an
    :class:`~medvlp_toolkit.model.EntityScorer`. Each picture shows one study and one entity that its
    report states present, with its boxes where the store has any. The sheet of them is the image ``attention`` of
    TensorBoard, at the epoch, and ``attention/epoch_001.png`` … in ``output_dir``. The pictures are patients'.

    Args:
        dataset: of the validation; studies are spread evenly over those that state something present.
        transform: from the stored batch to the model's.
        output_dir: of the training; TensorBoard's files go to its ``tensorboard``.
        studies: how many.
        precision: ``fp32`` or ``bf16``.
        token_shift: where tokens look within their cell (``image_encoder.token_shift()``).
    """

    def __init__(
        self,
        dataset: StudyDataset,
        transform: Callable[[Mapping[str, Any]], dict[str, Any]],
        output_dir: str | Path,
        studies: int = 8,
        precision: Precision = "fp32",
        token_shift: Sequence[float] = (),
    ) -> None:
        self.dataset, self.transform, self.precision = dataset, transform, precision
        self.output_dir = Path(output_dir)
        self.token_shift = tuple(token_shift)
        self.chosen = self._choose(studies)
        self._writer: Any = None

    def _choose(self, studies: int) -> list[tuple[int, int]]:
        """(index of the data set, entity) pairs: the rarest entity that each study states, so that they differ."""
        table = self.dataset.store.table("findings", ["study", "entity", "presence"]).to_pydict()
        place = {int(row): index for index, row in enumerate(self.dataset.rows)}
        column = {entity: q for q, entity in enumerate(self.dataset.entities)}
        stated: dict[int, set[int]] = {}
        for row, entity, presence in zip(table["study"], table["entity"], table["presence"], strict=True):
            if presence == Presence.PRESENT and row in place and entity in column:
                stated.setdefault(place[row], set()).add(column[entity])
        counts = Counter(q for own in stated.values() for q in own)
        telling = sorted(stated)
        spread = np.linspace(0, len(telling) - 1, min(studies, len(telling))).round().astype(int)
        return [(telling[i], min(stated[telling[i]], key=lambda q: (counts[q], q))) for i in spread]

    def attach(self, engine: Engine) -> None:
        if self.chosen:
            engine.add_event_handler(Events.COMPLETED, self._draw)

    @torch.no_grad()
    def _draw(self, engine: Any) -> None:
        from torch.utils.tensorboard import SummaryWriter

        network: EntityScorer = engine.network
        device, epoch = engine.state.device, int(engine.state.epoch)
        batch = self.dataset.__getitems__([index for index, _ in self.chosen])
        network.eval()
        with autocast(device, self.precision):
            image = self.transform(to_device(batch, device))["image"]
            scores, attention = network.attend(image)
        maps = attention_maps(attention.float(), network.grid_size(image.shape[2:]))
        pictures = [
            self._picture(index, maps[i, q], self.dataset.entities[q], float(scores[i, q]))
            for i, (index, q) in enumerate(self.chosen)
        ]
        path = self.output_dir / TAG / f"epoch_{epoch:03d}.png"
        write_contact_sheet(path, pictures, f"Attention after epoch {epoch}")
        if self._writer is None:
            self._writer = SummaryWriter(str(self.output_dir / "tensorboard"))
        with Image.open(path) as sheet:
            self._writer.add_image(TAG, np.asarray(sheet.convert("RGB")), epoch, dataformats="HWC")
        self._writer.flush()

    def _picture(self, index: int, heat: Any, entity: str, score: float) -> Overlay:
        row = int(self.dataset.rows[index])
        image = np.asarray(self.dataset.store.images[row])
        if heat.ndim == 3:
            return slice_overlay(image, heat, entity, score, None, self.token_shift)
        return Overlay(image, heat, entity, score, self._boxes(row, entity), shift=self.token_shift)

    def _boxes(self, row: int, entity: str) -> list[AnyBox]:
        low, high = self.dataset.store.bounds("boxes")[row : row + 2]
        boxes = self.dataset.store.boxes.slice(low, high - low).to_pylist()
        return [(b["x"], b["y"], b["width"], b["height"]) for b in boxes if b["label"] == entity]
