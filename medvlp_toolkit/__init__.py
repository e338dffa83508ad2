"""medvlp_toolkit: medical vision-language pre-training as plugins, composed by MONAI bundles.

The seven registries below are the public way to every built-in and third-party part. They are
objects, not modules, so that one dotted path serves Python and YAML alike::

    import medvlp_toolkit as mv
    encoder = mv.encoders.resnet(depth=50)

    image_encoder:
      _target_: medvlp_toolkit.encoders.resnet
      depth: 50

Importing this package loads neither torch, monai nor transformers; a plugin is imported when it
is first used.
"""

from medvlp_toolkit.registry import PluginError, PluginRef, Registry

__version__ = "0.1.0"

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
    "pretext_losses",
    "registries",
    "report_filters",
]
