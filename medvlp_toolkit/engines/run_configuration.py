"""A run's configuration, and its differences from another one."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from medvlp_toolkit.engines.ranks import world_size
from medvlp_toolkit.weights.configuration import running_parser
from medvlp_toolkit.weights.description import Description

logger = logging.getLogger(__name__)

#: Ids that set where and how a run is started, not what it computes.
NOT_COMPARED = ("resume", "output_dir", "bundle_root", "initialize", "run", "finalize", "imports", "device")


class RunConfiguration:
    """Stored in a checkpoint; when loaded under another configuration, the differences are logged.

    Args:
        config: nested mapping; the one that MONAI's workflow is running when None.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.parser = running_parser() if config is None else None
        found = (self.parser.get() if self.parser is not None else {}) if config is None else config
        self.values = dict(flattened({key: value for key, value in found.items() if key not in NOT_COMPARED}))
        self.values["processes"] = world_size()

    def description(self) -> Description | None:
        """The description of the model being trained; None if no configuration is running."""
        return None if self.parser is None else Description.of(self.parser)

    @property
    def hash(self) -> str:
        """SHA-256 of the values."""
        return hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()

    def state_dict(self) -> dict[str, str]:
        return {"values": json.dumps(self.values, sort_keys=True), "sha256": self.hash}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Log the differences; nothing is loaded."""
        changes = differences(json.loads(state["values"]), self.values)
        if changes:
            logger.warning("the configuration has changed since the checkpoint:\n  %s", "\n  ".join(changes))


def flattened(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(id, value) of every leaf, ids as MONAI writes them (``train::loader::batch_size``)."""
    if isinstance(config, Mapping):
        items: Any = config.items()
    elif isinstance(config, list | tuple):
        items = enumerate(config)
    else:
        plain = config is None or isinstance(config, bool | int | float | str)
        yield prefix, config if plain else str(config)
        return
    if not config:
        yield prefix, "{}" if isinstance(config, Mapping) else "[]"
    for key, value in items:
        yield from flattened(value, f"{prefix}::{key}" if prefix else str(key))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for every id whose value differs, e.g. ``batch_size: 48 → 32``."""
    lines = []
    for key in sorted(before.keys() | now.keys()):
        if before.get(key, _ABSENT) != now.get(key, _ABSENT):
            old, new = (_shown(values, key) for values in (before, now))
            lines.append(f"{key}: {old} → {new}")
    return lines


_ABSENT = object()


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "(absent)"
