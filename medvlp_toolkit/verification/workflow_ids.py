"""Checks the ids that MONAI requires of training and inference workflows."""

from __future__ import annotations

from typing import Literal

from medvlp_toolkit.verification.composition import Composition, as_path
from medvlp_toolkit.verification.located_file import IdPath
from medvlp_toolkit.verification.problem import nearest_id

Kind = Literal["train", "infer"]

#: Ids that running a bundle evaluates, and ids that MONAI sets itself.
RUN_IDS = ("initialize", "run", "finalize")
KNOWN_IDS = frozenset({*RUN_IDS, "imports", "_meta_", "requirements"})


def workflow_kind(composition: Composition, stem: str) -> Kind | None:
    """Whether a configuration trains or infers; None if neither, such as for data preparation."""
    if isinstance(composition.get(("train",)), dict) and ("train", "trainer") in composition:
        return "train"
    if stem == "train":
        return "train"
    if stem == "inference" or ("evaluator",) in composition:
        return "infer"
    return None


def properties(kind: Kind) -> dict[str, bool]:
    """MONAI's ids for a kind of workflow, and whether each is required; none without MONAI."""
    try:
        from monai.bundle.properties import InferProperties, TrainProperties
        from monai.utils import BundleProperty, BundlePropertyConfig
    except ImportError:
        return {}
    table = TrainProperties if kind == "train" else InferProperties
    return {str(p[BundlePropertyConfig.ID]): bool(p[BundleProperty.REQUIRED]) for p in table.values()}


def check_required_ids(composition: Composition, kind: Kind) -> None:
    """A problem for each missing id, except inside values that are known only at run time."""
    for id_, required in properties(kind).items():
        path = as_path(id_)
        if required and path not in composition and not _is_open(composition, path):
            what = {"train": "training", "infer": "inference"}[kind]
            fix = nearest_id(id_, composition.ids() - {id_}) if len(path) == 1 else ""
            composition.add(path, f"is missing: MONAI requires it in every {what} workflow", fix or f"add {id_}")


def _is_open(composition: Composition, path: IdPath) -> bool:
    for length in range(len(path) - 1, 0, -1):
        value = composition.get(path[:length])
        if isinstance(value, str) and value.startswith(("$", "@")):
            return True
    return False
