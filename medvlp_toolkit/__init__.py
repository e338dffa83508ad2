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
    from pathlib import Path

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


def load_bundle(folder: str | Path, **options: Any) -> LoadedBundle:
    """A trained bundle as an object that scores image files and draws heat maps.

    ``options`` are those of :class:`medvlp_toolkit.inference.LoadedBundle`.

    Example::

        bundle = mv.load_bundle("bundles/medklip")
        bundle.score("radiograph.dcm")["effusion"]
        bundle.heat_map("radiograph.dcm", "effusion")  # an array of the radiograph's height and width
    """
    from medvlp_toolkit.inference.loaded_bundle import LoadedBundle

    return LoadedBundle(folder, **options)


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
