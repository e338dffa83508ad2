"""Data sets that can be copied with some arguments changed."""

from __future__ import annotations

import inspect
from typing import Any, Self


class Replaceable:
    """Stores its arguments, so that :meth:`replace` can build a variant.

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
        """A new object with the same arguments except ``changes``."""
        return type(self)(**{**self._given, **changes})
