"""Readable names of what is scored, beside the ids that files and configurations go by.

The names are those of the concepts of a knowledge source, as training noted them (``entity_names`` of ``model.json``);
an id without one is shown in words.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from medvlp_toolkit.data.concept_source import names_of as names_of
from medvlp_toolkit.files import write_whole

Names = Mapping[str, str]
NO_NAMES: Names = {}
NAMES_FILE = "entities.csv"
_NO_FINDINGS = ("normal", "residual")


def name_or_words(id_: str, names: Names) -> str:
    """The name of an id; where there is none, the id with spaces for underscores."""
    return names.get(id_) or id_.replace("_", " ")


def readable(id_: str, names: Names) -> str:
    """``other abnormal observation (tail_abnorm_obs)``; the name or words alone where they say what the id says."""
    name = name_or_words(id_, names)
    return name if _plain(name) == _plain(id_) else f"{name} ({id_})"


def names_by_id(ids: Sequence[str], names: Sequence[str] | Names | None) -> dict[str, str]:
    """Id -> name, of names in the order of the ids, or by id already; empty for None."""
    return dict(names if isinstance(names, Mapping) else zip(ids, names or (), strict=False))


def not_findings(ids: Sequence[str], kinds: Sequence[str] | None) -> list[str]:
    """The ids whose kind, in their order, is no finding or device: statements of normality, and classes that collect
    the rest. None without kinds."""
    return [id_ for id_, kind in zip(ids, kinds or (), strict=False) if kind in _NO_FINDINGS]


def write_names(path: Path, ids: Sequence[str], names: Names) -> Path:
    """A CSV file ``id,name`` in the order of the columns that it explains."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "name"])
    writer.writerows([id_, name_or_words(id_, names)] for id_ in ids)
    return write_whole(path, lambda file: file.write(text.getvalue().encode()))


def _plain(text: str) -> str:
    return text.replace("_", " ").casefold()
