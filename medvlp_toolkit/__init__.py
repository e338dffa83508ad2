"""medvlp_toolkit: medical vision-language pre-training as plugins, composed by MONAI bundles.

The seven registries below give access to every built-in and third-party part. They are
objects, not modules, so that the same dotted path works in Python and YAML::

    import medvlp_toolkit as mv
    encoder = mv.encoders.resnet(depth=50)

    image_encoder:
      _target_: medvlp_toolkit.encoders.resnet
      depth: 50

A trained bundle is loaded with :func:`load_bundle`.

Importing this package loads neither torch, monai nor transformers; a plugin is imported when it
is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medvlp_toolkit.moved import answer_old_paths
from medvlp_toolkit.registry import PluginError, PluginRef, Registry
from medvlp_toolkit.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from medvlp_toolkit.inference.loaded_bundle import LoadedBundle

answer_old_paths()

report_filters = Registry("report_filters")
knowledge_sources = Registry("knowledge_sources")
encoders = Registry("encoders")
fusion_modules = Registry("fusion_modules")
pretext_losses = Registry("pretext_losses")
data_sources = Registry("data_sources")
checkpoint_importers = Registry("checkpoint_importers")

registries: dict[str, Registry] = {
    registry.kind: registry
    for registry in (
        report_filters,
        knowledge_sources,
        encoders,
        fusion_modules,
        pretext_losses,
        data_sources,
        checkpoint_importers,
    )
}


def load_bundle(
    folder: str | Path,
    overlays: Sequence[str | Path] = (),
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> LoadedBundle:
    """A trained bundle as an object that scores image files and draws heat maps.

    Args:
        folder: of the bundle, which holds ``configs/inference.yaml``.
        overlays: configurations laid over it, by path or by name within ``configs/``.
        weights: file of the network's weights; ``models/model.pt`` or ``models/model.safetensors`` when None.
        device: where it runs; the accelerator where there is one when None.
        overrides: further ids with their values, as a run would get them: ``{"precision": "bf16"}``.

    Raises:
        FileNotFoundError: when the folder holds no ``configs/inference``, or there are no weights.
        ValueError: when the weights do not fit the configuration.

    Example::

        bundle = mv.load_bundle("bundles/medklip")
        bundle.score("radiograph.dcm")["effusion"]
        bundle.heat_map("radiograph.dcm", "effusion")  # an array of the radiograph's height and width
    """
    from medvlp_toolkit.inference.loaded_bundle import LoadedBundle

    return LoadedBundle(folder, overlays=overlays, weights=weights, device=device, overrides=overrides)


__all__ = [
    "PluginError",
    "PluginRef",
    "Registry",
    "__version__",
    "checkpoint_importers",
    "data_sources",
    "encoders",
    "fusion_modules",
    "knowledge_sources",
    "load_bundle",
    "pretext_losses",
    "registries",
    "report_filters",
]
