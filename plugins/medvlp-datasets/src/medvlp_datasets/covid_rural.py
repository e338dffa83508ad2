"""COVID Rural: opacities on chest radiographs (Desai et al., 2020; annotated by Tang et al., 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvlp_datasets.source import FileSource, existing
from medvlp_datasets.values import age_of
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.images import ImageReadError

LABEL = "Opacity"


class CovidRuralSource(FileSource):
    """Radiographs of COVID Rural with masks of their opacities.

    COVID Rural as published (``covid_rural_annot`` of the repository opacity_segmentation_covid_chest_X_ray):
    ``jpgs/<patient>_<date>-XR.jpg``, ``pngs_masks/`` with a PNG of the same name if there is an opacity, and
    ``covid_rural_patient_info.csv``.

    Args:
        root: the folder ``covid_rural_annot``.

    The label ``Opacity`` is 1 if there is a mask; `read_mask` returns its pixels. There are no official splits.
    Tested on files written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.covid_rural
          root: /data/covid_rural_annot
    """

    def __init__(self, root: Path | str) -> None:
        super().__init__()
        self.root = existing(root, "the folder covid_rural_annot")
        self.images = existing(self.root / "jpgs", "the folder of images")
        self.masks = existing(self.root / "pngs_masks", "the folder of masks")

    def studies(self) -> Iterator[Study]:
        info = self.root / "covid_rural_patient_info.csv"
        with closing(self.lookup(info if info.is_file() else None, "PATIENT_ID")) as patients:
            for path in sorted(self.images.glob("*.jpg")):
                patient = path.stem.split("_")[0]
                about = patients.first(patient) or {}
                yield Study(
                    id=path.stem,
                    patient_id=patient,
                    image=path,
                    labels={LABEL: int(self.mask_path(path.stem).is_file())},
                    metadata={"sex": about.get("SEX") or None, "age": age_of(about.get("AGE", ""))},
                )

    def mask_path(self, study_id: str) -> Path:
        return self.masks / f"{study_id}.png"

    def read_mask(self, study: Study) -> NDArray[np.uint8] | None:
        """The opacities of a study, uint8 (H, W) of 0 and 1; None where there are none."""
        path = self.mask_path(study.id)
        if not path.is_file():
            return None
        try:
            with Image.open(path, formats=("PNG",)) as picture:
                values = np.asarray(picture)  # palette pictures keep their indices: 0 is background
        except (OSError, SyntaxError, ValueError) as error:
            raise ImageReadError(path, f"the mask cannot be decoded ({type(error).__name__})") from None
        layers = np.atleast_3d(values)[..., :3]
        return np.asarray((layers > 0).any(axis=-1), dtype=np.uint8)
