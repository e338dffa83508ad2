"""The package's data files: vocabularies, lexicons and labelling schemes, all YAML."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

# libyaml reads the lexicons about ten times faster; it is missing from some PyYAML builds.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(name: str) -> Any:
    """The content of a YAML file shipped in ``medvlp_reports/data``."""
    text = files("medvlp_reports").joinpath("data", name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=_Loader)


def load_yaml_file(path: str | Path) -> Any:
    """The content of a user's YAML file.

    Raises FileNotFoundError, or ValueError with the line, where it cannot be read as YAML.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise ValueError(f"{path}{line}: not readable as YAML") from error
