"""The contract of data sources."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from medvlp_toolkit.data.contracts import RejectsRecords, image_reader, mask_reader
from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.data.store.rejected import Rejected
from medvlp_toolkit.testing.suites.plugin import PluginSuite

LABEL_VALUES = (1, 0, -1)


class DataSourceSuite(PluginSuite):
    """What :class:`medvlp_toolkit.interfaces.DataSource` promises.

    Attributes:
        limit: number of studies to check.
    """

    kind = "data_sources"
    limit: ClassVar[int] = 50

    def studies(self, instance: Any) -> list[Study]:
        with self.doing("iterating over its studies"):
            return list(islice(iter(instance), self.limit))

    def test_yields_studies(self) -> None:
        studies = self.studies(self.built())
        self.check(studies, "it yields no study; build it in the test class on data that has some")
        for study in studies:
            self.check(
                isinstance(study, Study),
                f"it yields a {type(study).__name__}; expected medvlp_toolkit.data.records.Study",
            )

    def test_studies_are_identified(self) -> None:
        studies = self.studies(self.built())
        images = [f"{study.id} {study.image_id or study.image or ''}" for study in studies]
        self.check_unique_names(images, "id and image of its records")
        patients: dict[str, str] = {}
        for study in studies:
            self.check(study.id, "a record of it has no id")
            self.check(
                patients.setdefault(study.id, study.patient_id) == study.patient_id,
                f"study '{study.id}' is of two patients; records of one id are the images of one study",
            )
            self.check(
                isinstance(study.patient_id, str) and study.patient_id,
                f"study '{study.id}' has patient_id {study.patient_id!r}; a split must not "
                "cut through a patient, so each study needs one (its own id where the data names no patient)",
            )

    def test_studies_hold_what_their_fields_say(self) -> None:
        for study in self.studies(self.built()):
            who = f"study '{study.id}'"
            self.check(study.image is None or isinstance(study.image, Path), f"{who} has an image that is not a Path")
            self.check(study.report is None or isinstance(study.report, Report), f"{who} has an invalid report")
            self.check(study.split is None or isinstance(study.split, str), f"{who} has a split that is not a string")
            wrong = [label for label, value in study.labels.items() if value not in LABEL_VALUES]
            self.check(
                not wrong,
                f"{who} has label values other than 1 (present), 0 (absent) and -1 (uncertain) for {', '.join(wrong)}",
            )
            for box in study.boxes:
                right, bottom = box.x + box.width, box.y + box.height
                inside = box.x >= 0 and box.y >= 0 and right <= 1 + 1e-6 and bottom <= 1 + 1e-6
                self.check(
                    inside and box.width > 0 and box.height > 0,
                    f"{who} has a box of '{box.label}' that is not within the image; boxes are fractions of its size",
                )
            for key, value in study.metadata.items():
                self.check(
                    value is None or isinstance(value, str | int | float | bool),
                    f"{who} has metadata '{key}' of type {type(value).__name__}; tables hold text and numbers",
                )

    def test_iterating_again_gives_the_same_studies_in_the_same_order(self) -> None:
        instance = self.built()
        first = self.studies(instance)
        self.check(self.studies(instance) == first, "a second pass over it yields other studies")
        self.check(self.studies(self.built()) == first, "two equal instances yield different studies")

    def test_two_passes_at_once_do_not_disturb_one_another(self) -> None:
        instance = self.built()
        expected = self.studies(instance)
        with self.doing("iterating over it twice at once"):
            one, other = iter(instance), iter(instance)
            pairs = list(islice(zip(one, other, strict=True), self.limit))
        self.check(
            [a for a, _ in pairs] == expected and [b for _, b in pairs] == expected,
            "two passes over it at the same time disturb each other: let __iter__ return a new iterator",
        )

    def test_pixels_it_holds_itself_are_arrays_with_channels_first(self) -> None:
        instance = self.built()
        read_image = image_reader(instance)
        if read_image is None:
            return
        for study in self.studies(instance)[:3]:
            with self.doing("read_image of its first studies"):
                image, again = read_image(study), read_image(study)
            self.check(
                isinstance(image, np.ndarray) and image.ndim in (3, 4) and image.shape[0] in (1, 3) and image.size > 0,
                f"read_image gives {getattr(image, 'shape', type(image).__name__)}; expected an array (C, *spatial) "
                "of 1 or 3 channels",
            )
            self.check(
                image.dtype in (np.uint8, np.int16, np.uint16),
                f"read_image gives {image.dtype}; expected whole numbers of 8 or 16 bits",
            )
            self.check(np.array_equal(image, again), "read_image returns different pixels each time")

    def test_masks_are_of_two_axes(self) -> None:
        instance = self.built()
        read_mask = mask_reader(instance)
        if read_mask is None:
            return
        for study in self.studies(instance)[:3]:
            with self.doing("read_mask of its first studies"):
                mask = read_mask(study)
            self.check(
                mask is None or (isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.size > 0),
                f"read_mask gives {getattr(mask, 'shape', type(mask).__name__)}; expected an array (H, W) or None",
            )

    def test_what_it_rejects_is_recorded(self) -> None:
        instance = self.built()
        if not isinstance(instance, RejectsRecords):
            return
        self.studies(instance)
        for item in instance.rejected:
            self.check(
                isinstance(item, Rejected),
                f"`rejected` holds a {type(item).__name__}; expected medvlp_toolkit.data.store.rejected.Rejected",
            )

    def test_fingerprint_is_plain_data(self) -> None:
        self.check_fingerprint()

    def test_works_after_pickling(self) -> None:
        instance = self.built()
        self.check(
            self.studies(self.check_pickles(instance)) == self.studies(instance),
            "after pickling it yields other studies",
        )
