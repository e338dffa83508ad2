"""A trained bundle as a Python object: an image file in, probabilities and heat maps out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigComponent, ConfigParser
from numpy.typing import NDArray

from medvlp_toolkit.errors import unwrapped
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.map_files import item_of, map_on_file
from medvlp_toolkit.evaluation.step import EvaluationStep
from medvlp_toolkit.images import ImageReadError
from medvlp_toolkit.weights.weights import bundle_weights

_INFERENCE = ("inference.yaml", "inference.yml", "inference.json")
_STEP = "evaluator::iteration_update"


class LoadedBundle:
    """The inference configuration of a bundle with its weights loaded, ready to score image files.

    Loading runs the bundle's configuration, as ``python -m monai.bundle run`` does: load bundles that you trust, or
    have looked at with ``medvlp verify --strict``.

    Args:
        folder: of the bundle.
        overlays: configurations laid over ``inference``, by path or by name within ``configs/``, ``demo.yaml``.
        weights: file of the network's weights; ``models/model.pt`` or ``models/model.safetensors`` when None.
        device: where it runs; what the configuration says when None: the accelerator where there is one.
        overrides: further ids with their values, as a run would get them: ``{"image_size": 384}``.

    Raises:
        FileNotFoundError: when the folder holds no ``configs/inference``, or there are no weights.
        ValueError: when the weights do not fit the configuration, or it does not score images.
    """

    def __init__(
        self,
        folder: str | Path,
        overlays: Sequence[str | Path] = (),
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._parser = ConfigParser()
        self._parser.read_config([str(path) for path in self._configs(overlays)])
        self._writer = self._writer_id()
        self._parser["bundle_root"] = str(self.folder)
        self._parser["weights"] = str(self._weights(weights))
        for id_, value in (overrides or {}).items():
            self._parser[id_] = value
        if device is not None:
            self._parser["device"] = torch.device(device)
        # The evaluator that a run of the configuration has, without its images and its writers.
        self._parser["evaluator::val_data_loader"] = ()
        self._parser["evaluator::val_handlers"] = ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._evaluator = self._made("evaluator")
        self._step: EvaluationStep = self._made(_STEP)
        self.device: torch.device = self._evaluator.state.device
        self.network: torch.nn.Module = self._evaluator.network.eval()
        #: Ids of what is scored, in the order of the scores.
        self.entities: tuple[str, ...] = tuple(self._of_writer("entities"))

    def __repr__(self) -> str:
        return f"LoadedBundle({str(self.folder)!r}, {len(self.entities)} entities, on {self.device})"

    def score(self, image: str | Path) -> dict[str, float]:
        """Probability of presence per entity, for an image file (DICOM, PNG, JPEG; NIfTI where it reads volumes).

        Raises:
            FileNotFoundError: when there is no such file.
            ImageReadError: when it cannot be read.
        """
        scores = self._step.compute(self._evaluator, self._read(image))["scores"][0]
        return dict(zip(self.entities, scores.float().tolist(), strict=True))

    def heat_map(
        self, image: str | Path, entity: str, attention_layers: int | Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Heat map of an entity, over the image's own pixels (height, width), or a volume's voxels.

        Values are attention per token, interpolated linearly between the tokens' centres; they show where the model
        looked, which need not be where a finding is.

        Args:
            image: as for :meth:`score`.
            entity: one of ``entities``.
            attention_layers: one layer of the fusion module, several to average, or None for what the bundle sets.

        Raises:
            ValueError: for an entity that is not scored, or a network that gives no attention.
        """
        if entity not in self.entities:
            raise ValueError(f"'{entity}' is not scored by this bundle; it scores {', '.join(self.entities)}")
        layers = self._of_writer("attention_layers") if attention_layers is None else attention_layers
        mapper = HeatMapper(self.network, layers, self._of_writer("grid"))
        batch = self._read(image)
        output = self._step.compute(self._evaluator, batch)
        if output.get("attention") is None:
            raise ValueError(f"no heat map is available: {mapper.why_none('attention' in output)}")
        maps = mapper.on_grid(output["attention"], output["image_shape"])
        return map_on_file(maps[0, self.entities.index(entity)], item_of(batch, 0), mapper.shift)[0]

    # -- how ------------------------------------------------------------------------------------

    def _configs(self, overlays: Sequence[str | Path]) -> list[Path]:
        configs = self.folder / "configs"
        inference = next((configs / name for name in _INFERENCE if (configs / name).is_file()), None)
        if inference is None:
            raise FileNotFoundError(f"{configs} holds no inference.yaml or inference.json; give the folder of a bundle")
        given = [path if (path := Path(overlay)).is_file() else configs / overlay for overlay in overlays]
        missing = next((path for path in given if not path.is_file()), None)
        if missing is not None:
            raise FileNotFoundError(f"no overlay at {missing}; name a file of {configs}, or give its path")
        return [inference, *given]

    def _made(self, id_: str) -> Any:
        """What an id is; a mistake in what was given is raised as itself, not as MONAI wraps it."""
        with unwrapped():
            return self._parser.get_parsed_content(id_)

    def _writer_id(self) -> str:
        """The id of the handler that writes the scores: the one with `entities`."""
        for number, handler in enumerate(self._parser.get("handlers", [])):
            if isinstance(handler, dict) and "entities" in handler and _STEP in self._parser:
                return f"handlers::{number}"
        raise ValueError(
            f"{self.folder}: configs/inference has no {_STEP}, or no handler with the `entities` that it scores; give "
            "a bundle that scores images"
        )

    def _of_writer(self, argument: str) -> Any:
        """An argument of that handler; None where it is not given."""
        id_ = f"{self._writer}::{argument}"
        return self._made(id_) if id_ in self._parser else None

    def _weights(self, given: str | Path | None) -> Path:
        path = bundle_weights(self.folder) if given is None else Path(given)
        if not path.is_file():
            raise FileNotFoundError(f"no weights at {path}; train, import or download them, or give `weights`")
        return path

    def _read(self, image: str | Path) -> dict[str, Any]:
        """The batch of one file, by the configuration's own `dataset`."""
        path = Path(image)
        if not path.exists():
            raise FileNotFoundError(f"no image at {path}; give an image file")
        files = self._files(path)
        if len(files) != 1:
            raise ImageReadError(path, f"holds {len(files)} images; give one file")
        batch: dict[str, Any] = files.__getitems__([0])
        return batch

    def _files(self, path: Path) -> Any:
        dataset = {name: self._made(f"dataset::{name}") for name in self._parser["dataset"] if name != "path"}
        with unwrapped():
            return ConfigComponent({**dataset, "path": str(path)}).instantiate()
