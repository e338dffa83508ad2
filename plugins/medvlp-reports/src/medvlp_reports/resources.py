"""The package's data files: vocabularies, lexicons and labelling schemes, all YAML."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml

# libyaml reads the lexicons about ten times faster; it is missing from some PyYAML builds.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(name: str) -> Any:
    """The content of a YAML file shipped in ``medvlp_reports/data``."""
    text = files("medvlp_reports").joinpath("data", name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=_Loader)
