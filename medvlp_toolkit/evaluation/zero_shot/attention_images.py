"""Attention on the same few studies after every validation, as images in TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from PIL import Image

from medvlp_toolkit.data.batches.batch_table import PRESENT
from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.engines.device import Precision
from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.engines.ranks import is_first_rank
from medvlp_toolkit.engines.step import Transform
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.overlays import Overlay, write_contact_sheet
from medvlp_toolkit.evaluation.maps.volume_slices import overlay_of
from medvlp_toolkit.evaluation.results.names import Names, readable
from medvlp_toolkit.evaluation.zero_shot.steps import ScoringStep
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies

logger = logging.getLogger(__name__)

TAG = "attention"


class AttentionImages:
    """Draws attention on a fixed set of studies after every validation.

    A handler of the validating evaluator, whose network :class:`~medvlp_toolkit.interfaces.GivesAttention`. Each
    picture shows a study and an entity that is present according to its report, with its boxes if the store has any.
    All of them form the image ``attention`` in TensorBoard, per epoch, and ``attention/epoch_001.png`` … in
    ``output_dir``. They are patient data. If there is no attention, or drawing fails, they are omitted with one log
    line and training continues.

    Args:
        dataset: of the validation; studies are sampled evenly from those with a present entity.
        transform: maps the stored batch to the model's input.
        output_dir: of the training; TensorBoard's files are in its ``tensorboard``.
        studies: number of studies; 0 draws nothing. The first of several processes draws.
        precision: ``fp32`` or ``bf16``.
        known_as: further names of entities, which boxes may have -> entity.
        names: readable names of the entities, in the data set's order or by id; those of the store when None.
    """

    def __init__(
        self,
        dataset: StudyDataset,
        transform: Transform,
        output_dir: str | Path,
        studies: int = 8,
        precision: Precision = "fp32",
        known_as: Mapping[str, str] | None = None,
        names: Sequence[str] | Names | None = None,
    ) -> None:
        self.dataset = dataset
        self.studies = EvaluatedStudies(
            dataset,
            dataset.entities,
            {},
            names=dataset.store.meta.get("names") if names is None else names,
            known_as=known_as,
        )
        self.step = ScoringStep(transform, precision, need_attention=True)
        self.output_dir = Path(output_dir)
        self.chosen = self._choose(studies)
        self._writer: Any = None

    def _choose(self, studies: int) -> list[tuple[int, int]]:
        """(index in the data set, entity) pairs, with the rarest present entity of each study, for variety."""
        present = self.dataset.entity_presence == PRESENT
        counts, telling = present.sum(axis=0), np.flatnonzero(present.any(axis=1))
        if not len(telling):
            return []
        spread = np.linspace(0, len(telling) - 1, min(studies, len(telling))).round().astype(int)
        rarest = np.where(present[telling[spread]], counts, len(present) + 1).argmin(axis=1)
        return list(zip(telling[spread].tolist(), rarest.tolist(), strict=True))

    def attach(self, engine: Engine) -> None:
        if self.chosen and is_first_rank():
            engine.add_event_handler(Events.COMPLETED, self._draw_or_leave_out)

    def _draw_or_leave_out(self, engine: Any) -> None:
        if not self.chosen:
            return
        try:
            drawn = self._draw(engine)
        except Exception as error:  # no error in drawing may stop training
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            logger.warning("attention images are disabled from here on: %s", reason)
            drawn = False
        if not drawn:
            self.chosen = []

    def _draw(self, engine: Any) -> bool:
        """False if there is no attention to draw."""
        from torch.utils.tensorboard import SummaryWriter

        epoch = int(engine.state.epoch)
        output = self.step.compute(engine, self.dataset.__getitems__([index for index, _ in self.chosen]))
        mapper = HeatMapper(unwrap(engine.network), what="attention pictures")
        maps = mapper.maps(output)
        if maps is None:
            return False
        pictures = [
            self._picture(index, maps[i, q], self.dataset.entities[q], float(output["scores"][i, q]), mapper.shift)
            for i, (index, q) in enumerate(self.chosen)
        ]
        path = self.output_dir / TAG / f"epoch_{epoch:03d}.png"
        write_contact_sheet(path, pictures, f"Attention after epoch {epoch}")
        if self._writer is None:
            self._writer = SummaryWriter(str(self.output_dir / "tensorboard"))
        with Image.open(path) as sheet:
            self._writer.add_image(TAG, np.asarray(sheet.convert("RGB")), epoch, dataformats="HWC")
        self._writer.flush()
        return True

    def _picture(self, index: int, heat: Any, entity: str, score: float, shift: tuple[float, ...]) -> Overlay:
        store, row = self.dataset.store, int(self.dataset.rows[index])
        image = np.asarray(store.images[row])
        truth, affine = self.studies.truth(row, entity), self.studies.affine_of(row)
        return overlay_of(image, heat, entity, score, truth, shift, affine, readable(entity, self.studies.names))
