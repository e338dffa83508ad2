"""Files that a package of each plugin kind needs beyond the common ones."""

from __future__ import annotations

from dataclasses import dataclass

_RECIPE = "Lay `overlay.yaml` over a recipe's {configs} to use it; the recipe's own files do not change."


@dataclass(frozen=True)
class Kind:
    """``registry`` is the entry-point group without ``medvlp_toolkit.``; ``noun`` names one plugin in prose.

    ``requires`` are distributions that its template imports, in addition to those of the plugins that it uses.
    """

    registry: str
    noun: str
    configs: str
    requires: tuple[str, ...] = ()
    is_function: bool = False
    #: files in addition to the plugin's module, by the suffix of their template
    data: tuple[str, ...] = ()

    def object(self, plugin: str) -> str:
        """The name of the class or function behind a plugin's name."""
        return plugin if self.is_function else class_name(plugin)

    @property
    def use(self) -> str:
        return _RECIPE.format(configs=self.configs)


KINDS: dict[str, Kind] = {
    kind.registry: kind
    for kind in (
        Kind("report_filters", "report filter", "`prepare.yaml`"),
        Kind("knowledge_sources", "knowledge source", "`train.yaml` or `evaluate.yaml`", data=("concepts.csv",)),
        Kind("encoders", "image encoder", "`train.yaml`", ("torch>=2.8",)),
        Kind("fusion_modules", "fusion module", "`train.yaml`", ("torch>=2.8",)),
        Kind("pretext_losses", "pretext loss", "`train.yaml`", ("torch>=2.8",)),
        Kind("data_sources", "data source", "`prepare.yaml`"),
        Kind(
            "checkpoint_importers",
            "checkpoint importer",
            "`train.yaml`",
            ("torch>=2.8",),
            is_function=True,
        ),
    )
}


def class_name(plugin: str) -> str:
    """``my_filter`` -> ``MyFilter``."""
    return "".join(part.capitalize() for part in plugin.split("_"))
