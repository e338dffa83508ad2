"""Contracts of the plugin kinds that data preparation uses, and the optional protocols beside them.

:mod:`medvlp_toolkit.interfaces` offers them with those of the model's parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medvlp_toolkit.data.records import Concept, Finding, Report, Study, Triple
    from medvlp_toolkit.data.store.rejected import Rejected


@runtime_checkable
class ReportFilter(Protocol):
    """Turns reports into findings, one list per report, in the order of the reports.

    ``entities`` and ``positions`` are the ids that its findings use.
    """

    entities: Sequence[str]
    positions: Sequence[str]

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]: ...


@runtime_checkable
class KnowledgeSource(Protocol):
    """Concepts with names and definitions, and the triples among them (may be none)."""

    @property
    def concepts(self) -> Sequence[Concept]: ...

    @property
    def triples(self) -> Sequence[Triple]: ...


@runtime_checkable
class DataSource(Protocol):
    """Images of one data set, each with what is known of its study: records of one id are the images of one study.

    A source may also be one that :class:`ReadsImages`, :class:`ReadsMasks` or :class:`RejectsRecords`.
    """

    def __iter__(self) -> Iterator[Study]: ...


# -- what a plugin may offer beyond its contract ---------------------------------------------------


@runtime_checkable
class ReadsSections(Protocol):
    """A report filter that reads these sections of a report; a store keeps the same, unless it is set otherwise."""

    sections: Sequence[str]


@runtime_checkable
class Fingerprinted(Protocol):
    """A data source or report filter that states which settings change its result.

    ``fingerprint`` is plain data (JSON). A store keeps it, and is not continued or taken for complete with another one.
    Of a plugin without it the public attributes are kept.
    """

    @property
    def fingerprint(self) -> Any: ...


@runtime_checkable
class ReadsImages(Protocol):
    """A data source that provides pixels itself instead of image files."""

    def read_image(self, study: Study) -> NDArray[Any]:
        """(C, H, W) uint8, or (C, D, H, W) int16 volumes, of 1 or 3 channels."""
        ...


@runtime_checkable
class ReadsMasks(Protocol):
    """A data source with annotated regions."""

    def read_mask(self, study: Study) -> NDArray[np.uint8] | None:
        """(H, W), non-zero inside the annotated finding; None for a study without a mask."""
        ...


@runtime_checkable
class RejectsRecords(Protocol):
    """A data source that rejects records itself: those of its latest pass are in ``rejected``."""

    @property
    def rejected(self) -> Sequence[Rejected]: ...


@runtime_checkable
class CountsMissing(Protocol):
    """A report filter that looks findings up by the report's id: ``missing`` counts the unknown reports."""

    missing: int


@runtime_checkable
class Tallying(Protocol):
    """A report filter that counts what its user should know of. Descriptions hold no text of a report.

    ``rate_of``, where it has one, names the count whose rate is of interest ("requests"); ``take_tally`` of such a
    filter may be called by another thread.
    """

    def take_tally(self) -> Counter[str]:
        """What happened since the last call, description → how often; a copy in another process begins empty."""


@runtime_checkable
class LanguageAware(Protocol):
    """A report filter that does not read every language."""

    def foreign(self, report: Report) -> str | None:
        """The name of the language that a report is not read for, or None."""


@runtime_checkable
class Batched(Protocol):
    """A report filter that says how many reports are best given to it at once."""

    @property
    def batch_size(self) -> int: ...


@runtime_checkable
class StartsWithin(Protocol):
    """A sampler that can begin a pass at a later study, so that training resumes within an epoch."""

    def start_at(self, study: int) -> None:
        """Begin the next pass, and only that, at this study of the rank's share."""
        ...


def image_reader(source: object) -> Callable[[Study], NDArray[Any]] | None:
    """How a data source reads its pixels itself; None where its images are files."""
    return source.read_image if isinstance(source, ReadsImages) else None


def mask_reader(source: object) -> Callable[[Study], NDArray[np.uint8] | None] | None:
    """How a data source reads annotated regions; None where it has none."""
    return source.read_mask if isinstance(source, ReadsMasks) else None
