"""A data set like another one, but for some of its arguments."""

from __future__ import annotations

import inspect
from typing import Any, Self


class Replaceable:
    """Remembers what it was made with, so that :meth:`replace` can make another one.

    Example::

        validation = training.replace(splits=["validate"])
    """

    _given: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        positional = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
        made._given = {**dict(zip(positional, args, strict=False)), **kwargs}
        return made

    def replace(self, **changes: Any) -> Self:
        """A new one with the same arguments but for ``changes``."""
        return type(self)(**{**self._given, **changes})
