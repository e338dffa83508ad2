"""Contracts of the plugin kinds for data preparation, and their optional protocols.

:mod:`medvlp_toolkit.interfaces` exports them together with those of the model's parts.
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
    """Concepts with names and definitions, and the triples among them (possibly none)."""

    @property
    def concepts(self) -> Sequence[Concept]: ...

    @property
    def triples(self) -> Sequence[Triple]: ...


@runtime_checkable
class DataSource(Protocol):
    """The images of a data set, each with its study's data; records with one id are images of the same study.

    A source may also implement :class:`ReadsImages`, :class:`ReadsMasks` or :class:`RejectsRecords`.
    """

    def __iter__(self) -> Iterator[Study]: ...


# -- optional capabilities -------------------------------------------------------------------------


@runtime_checkable
class ReadsSections(Protocol):
    """A report filter that reads these sections of a report; a store keeps the same, unless it is set otherwise."""

    sections: Sequence[str]


@runtime_checkable
class Fingerprinted(Protocol):
    """A data source or report filter that declares the settings that determine its result.

    ``fingerprint`` is plain data (JSON). It is saved in the store, which is not resumed or reused with another one. For
    a plugin without it, the public attributes are saved.
    """

    @property
    def fingerprint(self) -> Any: ...


@runtime_checkable
class ReadsImages(Protocol):
    """A data source that provides pixels instead of image files."""

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
    """A data source that rejects records itself; ``rejected`` has those of its latest pass."""

    @property
    def rejected(self) -> Sequence[Rejected]: ...


@runtime_checkable
class CountsMissing(Protocol):
    """A report filter that looks up findings by report id; ``missing`` counts unknown reports."""

    missing: int


@runtime_checkable
class Tallying(Protocol):
    """A report filter that keeps counts for its user. Descriptions contain no report text.

    ``rate_of``, if present, names the count whose rate is displayed ("requests"); ``take_tally`` of such a filter may
    be called from another thread.
    """

    def take_tally(self) -> Counter[str]:
        """Counts since the last call, by description; a copy in another process starts with none."""


@runtime_checkable
class LanguageAware(Protocol):
    """A report filter that does not read every language."""

    def foreign(self, report: Report) -> str | None:
        """The name of the report's language if it is not read, else None."""


@runtime_checkable
class Batched(Protocol):
    """A report filter that states the best number of reports per call."""

    @property
    def batch_size(self) -> int: ...


@runtime_checkable
class StartsWithin(Protocol):
    """A sampler that can start a pass at a later study, for resuming within an epoch."""

    def start_at(self, study: int) -> None:
        """Start only the next pass at this study of the rank's share."""
        ...


def image_reader(source: object) -> Callable[[Study], NDArray[Any]] | None:
    """A data source's own reader of pixels; None if its images are files."""
    return source.read_image if isinstance(source, ReadsImages) else None


def mask_reader(source: object) -> Callable[[Study], NDArray[np.uint8] | None] | None:
    """A data source's reader of annotated regions; None if it has none."""
    return source.read_mask if isinstance(source, ReadsMasks) else None
