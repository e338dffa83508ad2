"""A trained bundle as a Python object: an image file in, probabilities and heat maps out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from torch import Tensor

from medvlp_toolkit.data.images import ImageReadError
from medvlp_toolkit.data.inputs.image_files import open_images
from medvlp_toolkit.engines.device import Precision, autocast, best_device, to_device
from medvlp_toolkit.errors import unwrapped
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.heat_maps import upsample
from medvlp_toolkit.evaluation.maps.map_files import resampled
from medvlp_toolkit.interfaces import GivesAttention

_INFERENCE = ("inference.yaml", "inference.yml", "inference.json")


class LoadedBundle:
    """The inference configuration of a bundle with its weights loaded, ready to score image files.

    Loading runs the bundle's configuration, as ``python -m monai.bundle run`` does: load bundles that you trust, or
    have looked at with ``medvlp verify --strict``.

    Args:
        folder: of the bundle.
        overlays: configurations laid over ``inference``, by path or by name within ``configs/``, ``demo.yaml``.
        weights: file of the network's weights; ``models/model.pt`` or ``models/model.safetensors`` when None.
        device: where it runs; the accelerator where there is one when None.
        overrides: further ids with their values, as a run would get them: ``{"image_size": 384}``.

    Raises:
        FileNotFoundError: when the folder holds no ``configs/inference``, or there are no weights.
        ValueError: when the weights do not fit the configuration.
    """

    def __init__(
        self,
        folder: str | Path,
        overlays: Sequence[str | Path] = (),
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        overrides: dict[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._parser = ConfigParser()
        self._parser.read_config([str(path) for path in self._configs(overlays)])
        self._parser["bundle_root"] = str(self.folder)
        self._parser["weights"] = str(self._weights(weights))
        for id_, value in (overrides or {}).items():
            self._parser[id_] = value
        self.device = torch.device(device) if device is not None else best_device()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            network = self._made("network")
        self.network: torch.nn.Module = network.to(self.device).eval()
        #: Ids of what is scored, in the order of the scores.
        self.entities: tuple[str, ...] = tuple(self._made(self._entities_id()))
        self._precision: Precision = self._setting("precision") or "fp32"
        self._transform = self._made("evaluation_transform").to(self.device)

    def score(self, image: str | Path) -> dict[str, float]:
        """Probability of presence per entity, for an image file (DICOM, PNG, JPEG; NIfTI where it reads volumes).

        Raises:
            FileNotFoundError: when there is no such file.
            ImageReadError: when it cannot be read.
        """
        _, prepared = self._read(image)
        with torch.no_grad(), autocast(self.device, self._precision):
            scores = self.network(prepared)[0].float().cpu()
        return dict(zip(self.entities, scores.tolist(), strict=True))

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
        layers = self._setting("attention_layers") if attention_layers is None else attention_layers
        mapper = HeatMapper(self.network, layers, self._setting("grid"))
        batch, prepared = self._read(image)
        attention = None
        if isinstance(self.network, GivesAttention):
            with torch.no_grad(), autocast(self.device, self._precision):
                _, attention = self.network.attend(prepared)
        if attention is None:
            raise ValueError(f"no heat map is available: {mapper.why_none()}")
        maps = mapper.on_grid(attention, prepared.shape[2:])
        return self._in_the_file(maps[0, self.entities.index(entity)], prepared, batch, mapper.shift)

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

    def _setting(self, id_: str) -> Any:
        """What an id is; None where the bundle does not have it."""
        return self._made(id_) if id_ in self._parser else None

    def _entities_id(self) -> str:
        """The id of the scored entities: the handler that writes the scores names it."""
        for number, handler in enumerate(self._parser.get("handlers", [])):
            if isinstance(handler, dict) and "entities" in handler:
                return f"handlers::{number}::entities"
        raise ValueError(f"{self.folder}: no handler of configs/inference names the `entities` that are scored")

    def _weights(self, given: str | Path | None) -> Path:
        models = self.folder / "models"
        choices = [Path(given)] if given is not None else [models / "model.pt", models / "model.safetensors"]
        found = next((path for path in choices if path.is_file()), None)
        if found is None:
            raise FileNotFoundError(f"no weights at {choices[0]}; train, import or download them, or give `weights`")
        return found

    def _read(self, image: str | Path) -> tuple[dict[str, Any], Tensor]:
        path = Path(image)
        if not path.exists():
            raise FileNotFoundError(f"no image at {path}; give an image file")
        given = {name: self._made(name) for name in ("spacing", "series") if name in self._parser}
        files = open_images(path, self._made("image_size"), **given)
        if len(files) != 1:
            raise ImageReadError(path, f"holds {len(files)} images; give one file")
        batch = files.__getitems__([0])
        prepared: Tensor = self._transform(to_device(batch, self.device))["image"]
        return batch, prepared

    @staticmethod
    def _in_the_file(
        heat: NDArray[np.float32], prepared: Tensor, batch: dict[str, Any], shift: tuple[float, ...]
    ) -> NDArray[np.float32]:
        size = [int(side) for side in batch["input_shape"][0]]
        if "input_affine" not in batch:
            return upsample(heat, size, "linear", shift).astype(np.float32)
        voxels = upsample(heat, tuple(prepared.shape[2:]), "linear", shift).astype(np.float32)
        return resampled(voxels, batch["affine"][0].numpy(), size, batch["input_affine"][0].numpy())
