"""Converts a published checkpoint to this toolkit's form: weights for inference, and a checkpoint for training."""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import medvlp_toolkit as mv
from medvlp_toolkit.files import sha256_of, write_whole
from medvlp_toolkit.interfaces import CarriesKeyReport, KeyReport, MakesNetwork, StatesSettings, StatesTextWidth
from medvlp_toolkit.model.entity_bank import EntityBank
from medvlp_toolkit.model.entity_scorer import from_pretraining_model
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.weights.description import FILE as DESCRIPTION_FILE
from medvlp_toolkit.weights.published_files import read_published
from medvlp_toolkit.weights.trained import TrainedModel
from medvlp_toolkit.weights.weights import mismatches, write_weights

logger = logging.getLogger(__name__)

#: The checkpoint for evaluation and fine-tuning, written with ``model.pt`` and ``model.safetensors``.
PRETRAINING_FILE = "pretraining.pt"
RECORD_FILE = "import.json"
#: The overlay that begins training with an imported encoder.
ENCODER_FILE = "encoder.yaml"


@dataclass(frozen=True)
class DescribedEntities:
    """The descriptions of entities and positions, and the text model that embeds them.

    The defaults are MedKLIP's training settings; it evaluated with a ``max_length`` of 64.

    Args:
        entities: name or file of definitions (``medvlp_toolkit.knowledge_sources.definitions``). The texts
            of a file are used in the order of ``entity_ids``, whatever its keys: the published file misspells one.
        entity_ids: definitions that name the entities in the order of the checkpoint.
        positions, position_template: name or file of the positions, and the sentence around each.
        text_model: hub name or folder.
        lower_case: convert the text to lower case before tokenising; None keeps the tokenizer's setting.
        max_length: tokens per text.
        trailing_separator: whether the tokenizer's last special token is kept.
    """

    entities: str = "chest_entities"
    entity_ids: str = "chest_entities"
    positions: str = "chest_positions"
    position_template: str = "It is located at {id}"
    text_model: str = "emilyalsentzer/Bio_ClinicalBERT"
    lower_case: bool | None = True
    max_length: int = 128
    trailing_separator: bool = False

    def encoder(self) -> EntityBank:
        """The frozen text model; nothing is loaded until it is called."""
        make = functools.partial(mv.encoders.transformers_text, pretrained=self.text_model, lower_case=self.lower_case)
        return EntityBank(make, max_length=self.max_length, trailing_separator=self.trailing_separator)

    def settings(self) -> dict[str, Any]:
        """Ids of a bundle's training configuration with which further descriptions are encoded in the same way."""
        return {
            "text_model::pretrained": self.text_model,
            "text_model::lower_case": self.lower_case,
            "entity_encoder::max_length": self.max_length,
            "entity_encoder::trailing_separator": self.trailing_separator,
        }

    def entity_texts(self) -> list[str]:
        """One description per entity.

        Raises:
            ValueError: when the number of texts in the file differs from the number of entities.
        """
        if self.entities == self.entity_ids:
            texts: list[str] = mv.knowledge_sources.definitions(self.entities).descriptions()
            return texts
        self._warn_of_another_order()
        texts = mv.knowledge_sources.definitions(self.entities, ids_from=self.entity_ids).descriptions()
        return texts

    def position_texts(self) -> list[str]:
        """One sentence per position."""
        texts: list[str] = mv.knowledge_sources.definitions(self.positions).descriptions(self.position_template)
        return texts

    def _warn_of_another_order(self) -> None:
        ids = list(mv.knowledge_sources.definitions(self.entity_ids).ids)
        given = list(mv.knowledge_sources.definitions(self.entities).ids)
        moved = [name for place, name in enumerate(given) if name in ids and ids.index(name) != place]
        if moved:
            logger.warning(
                "%s: descriptions are read in the order of %s, whatever their keys, and %d keys stand elsewhere there "
                "(%s); is the order meant?",
                self.entities, self.entity_ids, len(moved), ", ".join(moved[:3]),
            )  # fmt: skip


def import_checkpoint(
    name: str, checkpoint: str | Path, output_dir: str | Path, described: DescribedEntities | None = None
) -> KeyReport:
    """Run the checkpoint importer ``name`` and write its result.

    Writes to ``output_dir``: ``model.pt`` and ``model.safetensors`` (bare weights for inference), ``pretraining.pt``
    (entry ``model``, for evaluation, training and fine-tuning), ``import.json`` (provenance) and, if the importer
    provides it, ``model.json`` (how the model is composed). Of an encoder, its weights and ``encoder.yaml``, an overlay
    for training that begins with them. Nothing in the checkpoint is executed.

    Args:
        name: of a plugin in ``medvlp_toolkit.checkpoint_importers``.
        checkpoint: the published file.
        output_dir: created if it does not exist.
        described: texts for importers that need embeddings of descriptions.

    Raises:
        FileNotFoundError: when the file or the text model does not exist.
        ValueError: when the file cannot be read, belongs to another model, or does not fit; lists all mismatches.
    """
    importer = mv.checkpoint_importers[name]
    state = read_published(checkpoint)
    described = described or DescribedEntities()
    options = embeddings_for(importer, state, described)
    is_own = (
        "tokenizer" in inspect.signature(importer).parameters and described.text_model != DescribedEntities.text_model
    )
    own = {"tokenizer": described.text_model} if is_own else {}
    model: Any = importer(state, **options, **own)
    report = model.key_report if isinstance(model, CarriesKeyReport) else KeyReport(used={})
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, PretrainingModel):
        network_def = importer.network_def if isinstance(importer, MakesNetwork) else from_pretraining_model
        write_weights(network_def(model).state_dict(), folder)
        write_whole(folder / PRETRAINING_FILE, lambda file: torch.save({"model": model.state_dict()}, file))
    else:
        _write_tower(model, folder)
    record = {
        "importer": name,
        "checkpoint": {"name": Path(checkpoint).name, "sha256": sha256_of(checkpoint)},
        "described": asdict(described) if options else own or None,
        "keys": {"used": len(report.used), "unused": dict(report.unused), "made": dict(report.made)},
        "toolkit": mv.__version__,
    }
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / DESCRIPTION_FILE).unlink(missing_ok=True)  # of earlier weights in this folder
    if isinstance(importer, StatesSettings) and isinstance(model, PretrainingModel):
        settings = importer.settings(state, **own)
        _describe(name, {**settings, **(described.settings() if options else {})}, model, folder)
    return report


def _write_tower(encoder: Any, folder: Path) -> None:
    weights = str(write_weights(encoder.state_dict(), folder)[-1].resolve())
    kind = type(encoder)
    part = {"_target_": f"{kind.__module__}.{kind.__qualname__}", **encoder.architecture(), "weights": weights}
    write_whole(folder / ENCODER_FILE, lambda file: file.write(yaml.safe_dump({"image_encoder": part}).encode()))


def _describe(name: str, settings: Mapping[str, Any], model: PretrainingModel, folder: Path) -> None:
    """Write ``model.json`` if the bundle's ``train.yaml`` with these settings describes the model.

    Without it, evaluation, inference and fine-tuning assume the model of ``train.yaml``.
    """
    around = folder.resolve().parent
    bundle = around if (around / "configs" / "train.yaml").is_file() else Path(name)
    try:
        trained = TrainedModel(folder / PRETRAINING_FILE, bundle, otherwise=settings, running={})
        problems = mismatches(trained["pretraining_model"].state_dict(), model.state_dict())
    except (FileNotFoundError, ValueError) as error:
        problems = [str(error)]
    if problems:
        logger.warning("no %s: train.yaml describes another model (%s)", DESCRIPTION_FILE, problems[0].strip())
    else:
        trained.describe().write(folder)


def embeddings_for(
    importer: Callable[..., Any], state: dict[str, Any], described: DescribedEntities
) -> dict[str, Tensor]:
    """Embeddings of the descriptions, if the importer needs them.

    An importer that states their width (:class:`~medvlp_toolkit.interfaces.StatesTextWidth`) is first tried with zeros,
    so that a checkpoint that does not fit fails before the text model is loaded.
    """
    taken = inspect.signature(importer).parameters
    texts = {
        "entity_embeddings": described.entity_texts,
        "position_embeddings": described.position_texts,
    }
    wanted = {name: read() for name, read in texts.items() if name in taken}
    if not wanted:
        return {}
    if isinstance(importer, StatesTextWidth):
        width = importer.text_width(state)
        importer(state, **{name: torch.zeros(len(sentences), width) for name, sentences in wanted.items()})
    encode = described.encoder()
    return {name: encode(sentences) for name, sentences in wanted.items()}


def takes_descriptions(name: str) -> bool:
    """Whether the checkpoint importer ``name`` needs embeddings of descriptions."""
    return bool(
        {"entity_embeddings", "position_embeddings"} & set(inspect.signature(mv.checkpoint_importers[name]).parameters)
    )


def report_lines(report: KeyReport) -> Sequence[str]:
    """The report as text, one line per kind of entry."""
    lines = [f"{len(report.used)} entries used"]
    lines += [f"not needed: {key} ({reason})" for key, reason in report.unused.items()]
    lines += [f"made here: {key} ({origin})" for key, origin in report.made.items()]
    return [*lines, *report.notes]
