"""Selection of a study's images; a study has one report and one or more images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

#: ``all`` images of a study, its ``frontal`` ones, or only the ``first``.
Views = Literal["all", "frontal", "first"]

# Words that DICOM's View Position (0018,5101) and data sets use for frontal radiographs.
_FRONTAL = frozenset({"pa", "ap", "frontal", "posteroanterior", "anteroposterior", "postero", "antero"})


def checked_views(views: str) -> Views:
    """The option's value; raises ValueError for another."""
    for known in get_args(Views):
        if views == known:
            return known
    raise ValueError(f"views is {', '.join(get_args(Views))}, not {views!r}")


def is_frontal(view: str | None) -> bool:
    """Whether a view is frontal (``PA``, ``AP``, ``AP AXIAL``, ``frontal`` …)."""
    words = re.findall(r"[a-z]+", (view or "").lower())
    return bool(words) and words[0] in _FRONTAL


def chosen_images(study_ids: Sequence[str], views: Sequence[str | None] | None, chosen: Views) -> NDArray[np.intp]:
    """Indices of the images to use, in order.

    Args:
        study_ids: of each image.
        views: of each image, None if unknown; None if no image has one.
        chosen: see :data:`Views`. Images of unknown view are not frontal.

    Raises:
        ValueError: when frontal images are requested and no image has a view.
    """
    if chosen == "first":
        places: dict[str, int] = {}
        for place, study in enumerate(study_ids):
            places.setdefault(study, place)
        return np.array(list(places.values()), dtype=np.intp)
    if chosen == "frontal":
        if views is None or not any(views):
            raise ValueError("views: frontal is set, but no image has a view; add a column view, or set views: all")
        return np.array([place for place, view in enumerate(views) if is_frontal(view)], dtype=np.intp)
    return np.arange(len(study_ids))
