"""Where people read: the console of tables and results, and log lines if logging is not configured."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Width where the output is not a terminal and COLUMNS is not set: tables in a pipe or a log are not squeezed.
PLAIN_WIDTH = 160

_TOOLKIT = "medvlp_toolkit"


def console(tables: Iterable[Table] = (), stderr: bool = False) -> Console:
    """A console on standard output: as wide as the terminal, elsewhere as COLUMNS says or 160.

    Args:
        tables: to be printed on it: it is at least as wide as they need for their columns that do not wrap, whose
            cells are never cut; a narrower terminal breaks the lines.
        stderr: on standard error instead, where messages do not mix with results.
    """
    from rich.console import Console

    made = Console(stderr=stderr)
    if not made.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        made = Console(stderr=stderr, width=PLAIN_WIDTH)
    tables, wide = list(tables), Console(width=10_000)  # what is measured is never wider than the console
    for table in tables:
        for column in table.columns:
            if column.no_wrap:
                cells = (wide.measure(cell).maximum for cell in (column.header, *column.cells))
                column.min_width = max((*cells, column.min_width or 0))
    needed = max((wide.measure(table).minimum for table in tables), default=0)
    if needed > made.width:
        made = Console(stderr=stderr, width=needed)
    return made


def show_log_lines() -> None:
    """Show the toolkit's log lines on standard error, if logging is not configured.

    Does nothing where the root logger or the toolkit's has a handler or a level. To silence them:
    ``logging.getLogger("medvlp_toolkit").setLevel(logging.WARNING)``, at any time.
    """
    logger = logging.getLogger(_TOOLKIT)
    if logger.level != logging.NOTSET or logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    handler.addFilter(lambda record: not logging.getLogger().handlers)  # logging has been set up since
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
