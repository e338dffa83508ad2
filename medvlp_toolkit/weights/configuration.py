"""The configuration that MONAI is running at this moment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def running_parser() -> Any:
    """MONAI's ``ConfigParser`` that is building or running something at this moment; None outside of one.

    An expression in a configuration has no name for the whole of it: it is found among the callers.
    """
    from monai.bundle import ConfigParser

    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigParser):
            return owner
        frame = frame.f_back  # type: ignore[assignment]
    return None


def running_configuration() -> dict[str, Any]:
    """What that parser was given, unresolved; empty outside of one."""
    parser = running_parser()
    config = None if parser is None else parser.get()
    return dict(config) if isinstance(config, Mapping) else {}
