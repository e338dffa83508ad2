"""Values of a composed configuration, one by one, without running it."""

from __future__ import annotations

from typing import Any

from medvlp_toolkit.errors import unwrapped


class Values:
    """What ids of a configuration are, each evaluated when it is asked for."""

    def __init__(self, parser: Any) -> None:
        self.parser = parser

    def __call__(self, id_: str, default: Any = None) -> Any:
        """What an id is; ``default`` where it is not there or cannot be evaluated."""
        if id_ not in self.parser:
            return default
        try:
            with unwrapped():
                return self.parser.get_parsed_content(id_)
        except Exception:  # a run reports it; here it only is not known
            return default
