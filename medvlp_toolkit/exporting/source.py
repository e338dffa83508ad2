"""A bundle as export reads it: its network, and what it makes of a file, step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medvlp_toolkit.engines.device import to_device
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.results.names import name_or_words, names_by_id
from medvlp_toolkit.exporting.outputs import ATTENTION, PROBABILITY, Probabilities, ProbabilitiesAndAttention
from medvlp_toolkit.images import StoredFormat
from medvlp_toolkit.inference.loaded_bundle import LoadedBundle
from medvlp_toolkit.interfaces import GivesAttention

Outputs = dict[str, NDArray[np.float32]]


@runtime_checkable
class MergesAdapters(Protocol):
    """A part with low-rank adapters, which are exported as part of its weights."""

    def merge_adapters(self) -> None:
        """Add the adapters to the weights, in place."""
        ...


@dataclass(frozen=True)
class Sample:
    """An image file as the bundle reads it.

    Attributes:
        path: of the file.
        stored_format: how it is read.
        stored: (C, *spatial) as read, before the evaluation transform.
        scale: slope and intercept that bring a volume's integers to the file's values.
        prepared: (C, *spatial) float32, what the network is given.
    """

    path: Path
    stored_format: StoredFormat
    stored: NDArray[Any]
    scale: tuple[float, float]
    prepared: NDArray[np.float32]


class ExportSource(LoadedBundle):
    """A loaded bundle on the CPU in float32, with what its files and its outputs are made by.

    Raises:
        ValueError: for a bundle that does not score entities of an image alone.
    """

    def __init__(
        self,
        folder: str | Path,
        overlays: Sequence[str | Path] = (),
        weights: str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(folder, overlays, weights, device="cpu", overrides=overrides)
        for part in list(self.network.modules()):
            if isinstance(part, MergesAdapters):
                part.merge_adapters()
        #: Configurations that were read, the base first.
        self.configuration = self._configs(overlays)
        self.weights = Path(self._parser["weights"])
        self.image_size: int | list[int] = self._made("image_size")
        self.transform: Any = self._step.transform
        self._mapper = HeatMapper(self.network, self._of_writer("attention_layers"), self._of_writer("grid"))

    def sample(self, image: Path) -> Sample:
        """How the bundle reads an image file.

        Raises:
            FileNotFoundError: when there is no such file.
            ImageReadError: when it cannot be read.
        """
        batch = self._read(image)
        prepared = self.transform(to_device(batch, self.device))["image"]
        scale = batch["image_scale"][0].tolist() if "image_scale" in batch else (1.0, 0.0)
        return Sample(
            image,
            self._files(image).stored_format,
            batch["image"][0].numpy(),
            tuple(scale),
            prepared[0].float().numpy(),
        )

    def outputs(self, images: NDArray[np.float32]) -> Outputs:
        """What the bundle gives for prepared images (B, C, *spatial): what an export is compared with."""
        image = torch.from_numpy(images)
        with torch.no_grad():
            found = {PROBABILITY: self.network(image).float().numpy()}
            attention = self._attention(image)
        if attention is not None:
            found[ATTENTION] = self._mapper.on_grid(attention, image.shape[2:])
        return found

    def exportable(self, images: NDArray[np.float32]) -> nn.Module:
        """The network with named outputs, for images of the size of these (B, C, *spatial)."""
        image = torch.from_numpy(images)
        with torch.no_grad():
            attention = self._attention(image)
        if attention is None:
            return Probabilities(self.network).eval()
        depth, grid = attention.shape[1], self._mapper.on_grid(attention, image.shape[2:]).shape[2:]
        layers = self._mapper.layers
        chosen = range(depth) if layers is None else [layers] if isinstance(layers, int) else layers
        prefix = int(self._mapper.encoder.num_prefix_tokens)
        return ProbabilitiesAndAttention(self.network, [layer % depth for layer in chosen], grid, prefix).eval()

    @property
    def token_shift(self) -> tuple[float, ...]:
        """Offset of the maps' values from the centres of their cells, in cells."""
        return self._mapper.shift

    @property
    def why_no_attention(self) -> str:
        return self._mapper.why_none()

    @property
    def bundle_metadata(self) -> dict[str, Any]:
        """Its ``metadata.json``; empty where there is none."""
        try:
            content = json.loads((self.folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def entity_names(self) -> tuple[str, ...]:
        """Of the scored entities, for people: as the knowledge that the model was trained with names them."""
        names = names_by_id(self.entities, self._of_writer("names"))
        return tuple(name_or_words(entity, names) for entity in self.entities)

    def _attention(self, image: Tensor) -> Tensor | None:
        return self.network.attend(image)[1] if isinstance(self.network, GivesAttention) else None

    def _writer_id(self) -> str:
        try:
            return super()._writer_id()
        except ValueError:
            raise ValueError(
                f"{self.folder} scores no entities of an image alone, and export covers bundles that do, such as "
                "medklip and arl; a network that reads texts too is exported by MONAI's ckpt_export, or used through "
                "its inference.yaml"
            ) from None
