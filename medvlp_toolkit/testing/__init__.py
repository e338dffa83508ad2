"""Conformance suites for the tests of plugins, including third-party ones.

A package that ships a plugin subclasses the suite of its kind in one line, and pytest runs it::

    from medvlp_toolkit.testing import ReportFilterSuite

    class TestMyFilter(ReportFilterSuite):
        plugin = "my_filter"

A plugin that breaks its contract fails with a sentence that names the plugin and the rule. The suites need pytest;
importing this package does not load it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medvlp_toolkit.testing.suites.checkpoint_importer import CheckpointImporterSuite
    from medvlp_toolkit.testing.suites.data_source import DataSourceSuite
    from medvlp_toolkit.testing.suites.fusion_module import FusionModuleSuite
    from medvlp_toolkit.testing.suites.image_encoder import ImageEncoderSuite
    from medvlp_toolkit.testing.suites.knowledge_source import KnowledgeSourceSuite
    from medvlp_toolkit.testing.suites.pretext_loss import PretextLossSuite
    from medvlp_toolkit.testing.suites.report_filter import ReportFilterSuite
    from medvlp_toolkit.testing.suites.text_encoder import TextEncoderSuite

_SUITES = {
    "CheckpointImporterSuite": "checkpoint_importer",
    "DataSourceSuite": "data_source",
    "FusionModuleSuite": "fusion_module",
    "ImageEncoderSuite": "image_encoder",
    "KnowledgeSourceSuite": "knowledge_source",
    "PretextLossSuite": "pretext_loss",
    "ReportFilterSuite": "report_filter",
    "TextEncoderSuite": "text_encoder",
}

__all__ = [
    "CheckpointImporterSuite",
    "DataSourceSuite",
    "FusionModuleSuite",
    "ImageEncoderSuite",
    "KnowledgeSourceSuite",
    "PretextLossSuite",
    "ReportFilterSuite",
    "TextEncoderSuite",
]


def __getattr__(name: str) -> Any:
    if name not in _SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"medvlp_toolkit.testing.suites.{_SUITES[name]}")
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        raise ModuleNotFoundError(f"{name} runs under pytest, which is not installed: pip install pytest") from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUITES])
