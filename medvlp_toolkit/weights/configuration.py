"""The configuration that MONAI is currently running."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def running_parser() -> Any:
    """MONAI's ``ConfigParser`` that is currently building or running something; None outside of one.

    Expressions in a configuration cannot refer to the parser, so it is found in the call stack.
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
    """The unresolved configuration of that parser; empty outside of one."""
    parser = running_parser()
    config = None if parser is None else parser.get()
    return dict(config) if isinstance(config, Mapping) else {}
