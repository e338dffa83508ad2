"""How sure a report is of a finding."""

from __future__ import annotations

from enum import IntEnum


class Certainty(IntEnum):
    """How sure a report is of a finding.

    HISTORY does not concern the present image; ALTERNATIVE is a finding stated as "A or B", "A
    versus B", LIKELY one the reader leans to ("probably", "suggesting").
    """

    HISTORY = -1
    ABSENT = 0
    POSSIBLE = 1
    ALTERNATIVE = 2
    LIKELY = 3
    STATED = 4
