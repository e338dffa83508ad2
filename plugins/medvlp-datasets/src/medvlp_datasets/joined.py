"""Several data sources as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from medvlp_toolkit.data.contracts import RejectsRecords, image_reader
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.store.rejected import Rejected


class JoinedSource:
    """The studies of several data sources, one source after the other.

    Args:
        sources: data sources whose images are files; a source with its own ``read_image`` cannot be joined.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.joined
          sources: ["@radiographs", "@more_radiographs"]
    """

    fingerprint = ""

    def __init__(self, sources: Sequence[Iterable[Study]]) -> None:
        self.sources = list(sources)
        if not self.sources:
            raise ValueError("joined needs at least one data source")
        drawing = [type(source).__name__ for source in self.sources if image_reader(source) is not None]
        if drawing:
            raise ValueError(f"joined takes sources of files; {', '.join(drawing)} reads its images itself")

    def __iter__(self) -> Iterator[Study]:
        for source in self.sources:
            yield from source

    @property
    def rejected(self) -> list[Rejected]:
        """The records that the sources rejected in the latest pass."""
        return [one for source in self.sources if isinstance(source, RejectsRecords) for one in source.rejected]
