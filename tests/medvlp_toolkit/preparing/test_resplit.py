"""A source whose training split is divided anew."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medvlp_toolkit.data.contracts import Fingerprinted, image_reader, mask_reader
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.preparing.resplit import Resplit


class OneStudy:
    """A source of one study that draws its image, and says so in its fingerprint."""

    fingerprint = "drawn"

    def __iter__(self) -> Iterator[Study]:
        yield Study("s", "p", None, split="train")

    def read_image(self, study: Study) -> np.ndarray:
        return np.full((1, 2, 2), len(study.id), np.uint8)


def test_a_divided_source_offers_what_the_source_does_and_no_more() -> None:
    divided = Resplit(OneStudy())
    read_image = image_reader(divided)
    assert read_image is not None
    assert read_image(next(iter(divided))).shape == (1, 2, 2)
    assert mask_reader(divided) is None
    assert list(divided.rejected) == []
    assert isinstance(divided, Fingerprinted)
    assert divided.fingerprint == "drawn"
    bare = Resplit([Study("s", "p", None, split="train")])
    assert image_reader(bare) is None
    assert bare.fingerprint is None
