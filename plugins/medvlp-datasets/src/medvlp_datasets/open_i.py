"""Open-i: the Indiana University chest X-ray collection (Demner-Fushman et al., JAMIA 2016)."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from medvlp_datasets.source import FileSource, existing
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.sections import report_from_open_i
from medvlp_toolkit.tables.content import open_bytes


class OpenISource(FileSource):
    """Reports, and radiographs where given, of the Open-i collection of Indiana University.

    Args:
        path: ``NLMCXR_reports.tgz``, or a folder with its XML files.
        images: the folder of ``NLMCXR_png``. A report with several images is one study. Without this folder, each
            report is a study without image.

    A study's id is the collection's ``uId`` (``CXR1``), and so is its report's; the XML names no patient, so the uId
    is also the patient id. ``image_id`` is the id of the image. See `report_from_open_i` for the composition of the
    text. ``metadata["mesh"]`` has the manually assigned MeSH codes joined by ``|``.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.open_i
          path: /data/NLMCXR_reports.tgz
          images: /data/NLMCXR_png
    """

    def __init__(self, path: Path | str, images: Path | str | None = None) -> None:
        super().__init__()
        self.path = existing(path, "the Open-i archive or folder")
        self.images = None if images is None else existing(images, "the folder of Open-i images")

    def studies(self) -> Iterator[Study]:
        found = False
        for name, content in self.documents():
            found = True
            try:
                studies = self.studies_of(content)
            except (ElementTree.ParseError, ValueError, LookupError):
                # LookupError: the XML declares an unknown encoding
                self.reject(Path(name).stem, name, "not a well-formed Open-i XML file")
                continue
            yield from studies
        if not found:
            raise ValueError(f"{self.path}: no .xml file of Open-i in it")

    def documents(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of every XML file."""
        if self.path.is_dir():
            for path in sorted(self.path.rglob("*.xml")):
                yield str(path), path.read_bytes()
            return
        try:
            # tarfile's own decompression treats a truncated stream as the end of the archive; gzip raises.
            with open_bytes(self.path) as content, tarfile.open(fileobj=content, mode="r|*") as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isfile() and member.name.endswith(".xml") else None
                    if file is not None:
                        yield member.name, file.read()
                while content.read(1 << 20):
                    pass
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{self.path}: the archive is damaged ({type(error).__name__}); download again") from None

    def studies_of(self, content: bytes) -> list[Study]:
        """The studies of one XML document."""
        report = report_from_open_i(content)
        root = ElementTree.fromstring(content)
        mesh = [code.text for code in root.findall("MeSH/major") if code.text]
        metadata = {"mesh": "|".join(mesh)}
        pictures = [str(picture.get("id")) for picture in root.findall("parentImage") if picture.get("id")]
        if self.images is None or not pictures:
            return [Study(report.id, report.id, None, report, metadata=metadata)]
        return [
            Study(report.id, report.id, self.images / f"{name}.png", report, metadata=metadata, image_id=name)
            for name in pictures
        ]
