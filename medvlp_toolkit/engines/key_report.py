"""What became of every entry of a published checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class KeyReport:
    """A checkpoint importer leaves one as ``key_report`` on the model it returns.

    ``used`` maps a published key to the parameter it became; ``unused`` maps a key, or an entry of the file, to why
    nothing needs it; ``made`` maps a parameter that the checkpoint lacks to where it came from; ``notes`` are
    sentences that the user has to know.
    """

    used: Mapping[str, str]
    unused: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
