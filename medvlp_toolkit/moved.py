"""Old dotted paths: the current location of each module and name of the first layout. They work for one release.

A module that no longer exists is found through :data:`MODULES`, a name that left its module through :data:`NAMES`.
Names that moved to a plugin's distribution are listed there, as entry points of the group
``medvlp_toolkit.moved_modules`` (old path -> new path). Using an old path raises a ``DeprecationWarning`` that names
the new one, and ``medvlp verify`` reports it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

_CORE = "medvlp_toolkit"
_GROUP = "medvlp_toolkit.moved_modules"

#: Old module -> new module, both within the core.
MODULES: dict[str, str] = {
    "contrastive": "engines.ranks",
    "data.answers": "data.batches.answers",
    "data.array_file": "data.store.array_file",
    "data.atomic_files": "files",
    "data.augmentation": "data.batches.augmentation",
    "data.dataset": "data.batches.dataset",
    "data.device_images": "data.batches.device_images",
    "data.draws": "data.batches.draws",
    "data.encoded_texts": "data.batches.encoded_texts",
    "data.executors": "preparing.executors",
    "data.image_files": "data.inputs.image_files",
    "data.images": "images",
    "data.images.dicom": "images.dicom",
    "data.images.errors": "images.errors",
    "data.images.fit": "images.fit",
    "data.images.picture": "images.picture",
    "data.images.raster": "images.raster",
    "data.images.volume": "images.volume",
    "data.journal": "preparing.journal",
    "data.label_fraction": "data.batches.label_fraction",
    "data.listing": "preparing.listing",
    "data.masking": "data.batches.masking",
    "data.mismatches": "data.batches.mismatches",
    "data.packing": "preparing.packing",
    "data.pairs": "data.batches.pairs",
    "data.prepare": "preparing.prepare",
    "data.pretraining": "data.batches.pretraining",
    "data.progress": "progress",
    "data.question_files": "data.inputs.question_files",
    "data.record_json": "preparing.record_json",
    "data.rejected": "data.store.rejected",
    "data.report_links": "data.batches.report_links",
    "data.resplit": "preparing.resplit",
    "data.retrieval_files": "data.inputs.retrieval_files",
    "data.shared_arrays": "data.store.shared_arrays",
    "data.splits": "preparing.splits",
    "data.store": "data.store.store",
    "data.store.store_examples": "evaluation.maps.store_examples",
    "data.store_examples": "evaluation.maps.store_examples",
    "data.store_summary": "data.store.store_summary",
    "data.supervision": "data.batches.supervision",
    "data.tables": "preparing.tables",
    "data.text_lengths": "data.batches.text_lengths",
    "data.text_lines": "data.inputs.text_lines",
    "data.text_links": "data.batches.text_links",
    "data.tokens": "data.store.tokens",
    "data.volume_augmentation": "data.batches.volume_augmentation",
    "engines.accumulation": "engines.step",
    "engines.activation_checkpointing": "engines.parallel",
    "engines.answer_files": "evaluation.pairs.answer_files",
    "engines.attention_images": "evaluation.zero_shot.attention_images",
    "engines.case_collection": "evaluation.zero_shot.cases",
    "engines.checkpoints": "weights.weights",
    "engines.finetuning": "evaluation.finetuning.finetuning",
    "engines.importing": "weights.importing",
    "engines.inference": "inference.writers",
    "engines.key_report": "interfaces",
    "engines.pairs": "evaluation.pairs.answering",
    "engines.probing": "evaluation.zero_shot.probing",
    "engines.published_files": "weights.published_files",
    "engines.ranking": "evaluation.pairs.ranking",
    "engines.retrieval": "evaluation.pairs.retrieval",
    "engines.zero_shot": "evaluation.zero_shot.evaluation",
    "entity_bank": "model.entity_bank",
    "evaluation.answers": "evaluation.pairs.answer_metrics",
    "evaluation.boxes": "evaluation.zero_shot.blind_pointing",
    "evaluation.calibration": "evaluation.statistics.calibration",
    "evaluation.cases": "evaluation.zero_shot.cases",
    "evaluation.comparison": "evaluation.statistics.comparison",
    "evaluation.delong": "evaluation.statistics.delong",
    "evaluation.entity_scorer": "model.entity_scorer",
    "evaluation.grounding": "evaluation.zero_shot.grounding",
    "evaluation.heat_maps": "evaluation.maps.heat_maps",
    "evaluation.intervals": "evaluation.statistics.intervals",
    "evaluation.label_maps": "evaluation.zero_shot.label_maps",
    "evaluation.laterality": "evaluation.zero_shot.laterality",
    "evaluation.linear_probe": "evaluation.finetuning.linear_probe",
    "evaluation.macro_auc": "evaluation.statistics.macro_auc",
    "evaluation.map_files": "evaluation.maps.map_files",
    "evaluation.metrics": "evaluation.zero_shot.metrics",
    "evaluation.operating_points": "evaluation.statistics.operating_points",
    "evaluation.overlays": "evaluation.maps.overlays",
    "evaluation.pair_tables": "evaluation.results.tables",
    "evaluation.probes": "evaluation.zero_shot.probes",
    "evaluation.results": "evaluation.results.results",
    "evaluation.retrieval": "evaluation.pairs.retrieval_metrics",
    "evaluation.run_record": "evaluation.results.run_record",
    "evaluation.segmentation": "evaluation.finetuning.segmentation",
    "evaluation.subgroups": "evaluation.statistics.subgroups",
    "evaluation.summary": "evaluation.results.tables",
    "evaluation.volume_boxes": "evaluation.zero_shot.volume_boxes",
    "evaluation.volume_slices": "evaluation.maps.volume_slices",
    "evaluation.zero_shot": "evaluation.zero_shot.classification",
    "knowledge_graph": "data.knowledge_graph",
    "knowledge_graph.graph": "data.knowledge_graph",
    "loaded_bundle": "inference.loaded_bundle",
}

#: Names that were renamed or moved apart from their module: old path -> new path, within the core.
NAMES: dict[str, str] = {
    "engines.finetuning.FinetuningEvaluation": "evaluation.handler.FinetuningEvaluation",
    "engines.finetuning.FinetuningStep": "engines.finetuning_step.FinetuningStep",
    "engines.finetuning.Target": "engines.finetuning_step.Target",
    "engines.finetuning.Transform": "engines.finetuning_step.Transform",
    "engines.step.ScoringStep": "evaluation.zero_shot.steps.ScoringStep",
    "evaluation.boxes.AnyBox": "data.boxes.AnyBox",
    "evaluation.boxes.Mask": "data.boxes.Mask",
    "evaluation.boxes.bounding_boxes": "data.boxes.bounding_boxes",
    "evaluation.boxes.box_mask": "data.boxes.box_mask",
    "evaluation.boxes.corners": "data.boxes.corners",
    "evaluation.zero_shot.FEW": "evaluation.statistics.counting.FEW",
    "evaluation.zero_shot.UNKNOWN": "evaluation.statistics.counting.UNKNOWN",
    "data.image_files.image_files": "data.inputs.image_files.open_images",
}


def new_path(path: str) -> str | None:
    """The replacement for an old dotted path of a module or of a name in one; None if it is current.

    >>> new_path("medvlp_toolkit.data.dataset.StudyDataset")
    'medvlp_toolkit.data.StudyDataset'
    """
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        module, names = ".".join(parts[:length]), parts[length:]
        if names and (found := _name_in(module, names[0])) is not None:
            return ".".join([_public(*found), *names[1:]])
        moved = _module_of(module)
        if moved is not None:
            return _public(moved, names[0]) + "".join(f".{name}" for name in names[1:]) if names else moved
    return None


def _public(module: str, name: str) -> str:
    """The path through the folder if it exports the name, else through the module."""
    folder = ".".join(module.split(".")[:2])
    if module.startswith(f"{_CORE}.") and folder != module:
        exported = getattr(import_module(folder), "__all__", ())
        if name in exported:
            return f"{folder}.{name}"
    return f"{module}.{name}"


def _name_in(module: str, name: str) -> tuple[str, str] | None:
    """Current module and name of a name that moved apart from its module."""
    listed = NAMES.get(f"{module.removeprefix(_CORE + '.')}.{name}")
    if listed is not None:
        home, _, now = f"{_CORE}.{listed}".rpartition(".")
        return home, now
    elsewhere = _of_plugins().get(f"{module}.{name}")
    return None if elsewhere is None else (elsewhere, name)


def _module_of(module: str) -> str | None:
    """The current path of an old module."""
    own = MODULES.get(module.removeprefix(_CORE + ".")) if module.startswith(_CORE + ".") else None
    if own is not None:
        return f"{_CORE}.{own}"
    for old, new in _of_plugins().items():
        if module == old or module.startswith(old + "."):
            return new + module.removeprefix(old)
    return None


@lru_cache(maxsize=1)
def _of_plugins() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=_GROUP)}


def old_names(module: str) -> Callable[[str], Any]:
    """A module's ``__getattr__`` for names that it had in the first layout."""

    def get(name: str) -> Any:
        home, now = _name_in(module, name) or (_module_of(module), name)
        if name.startswith("__") or home is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        found = getattr(import_module(home), now)
        old = f"{module}.{name}"
        warnings.warn(f"{old} has moved to {new_path(old)}", DeprecationWarning, stacklevel=2)
        return found

    return get


class _OldModules(MetaPathFinder, Loader):
    """Finds a module of the first layout, after Python's own finders have not."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("medvlp_") or _module_of(fullname) is None:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = old_names(module.__name__)  # type: ignore[method-assign]


def answer_old_paths() -> None:
    """Enable imports of old paths in this process."""
    if not any(isinstance(finder, _OldModules) for finder in sys.meta_path):
        sys.meta_path.append(_OldModules())
