"""What a compressed DICOM frame is, read from the data: headers state it wrongly, or not at all."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

_ITEM = b"\xfe\xff\x00\xe0"
_SEARCHED = 1 << 16  # a code stream begins within this many bytes of the data
_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a segment
_LOSSLESS, _LS = 0xC3, 0xF7
_DISCRETE_COSINE = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; what tells is the depth


@dataclass(frozen=True)
class CodeStream:
    """What a JPEG, JPEG-LS or JPEG 2000 code stream says of itself; ``rows`` is 0 where it leaves them open."""

    syntax: UID
    rows: int
    columns: int
    samples: int


def transfer_syntax(dataset: Dataset) -> UID:
    """The transfer syntax of a dataset's pixel data: the one stated, unless the data disagrees."""
    from pydicom import uid

    stated = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    compressed = stated is not None and uid.UID(stated).is_transfer_syntax and uid.UID(stated).is_encapsulated
    element = dataset["PixelData"]
    if not (element.is_undefined_length or (compressed and element.value[:4] == _ITEM)):
        if stated is not None and not compressed:
            return uid.UID(stated)
        implicit, little = dataset.original_encoding
        if little is False:
            return uid.ExplicitVRBigEndian
        return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
    stream = code_stream(element.value)
    if stream is None:
        return uid.UID(stated) if compressed else uid.RLELossless
    seen = stream.syntax
    families = (uid.JPEG2000TransferSyntaxes, uid.JPEGLSTransferSyntaxes, [uid.JPEGLossless, uid.JPEGLosslessSV1])
    same_family = any(stated in family and seen in family for family in families)
    return uid.UID(stated) if same_family else seen


def code_stream(content: bytes) -> CodeStream | None:
    """The first code stream of encapsulated pixel data; None where there is none that is known."""
    from pydicom import uid

    content = content[:_SEARCHED]
    jpeg, jpeg_2000 = content.find(b"\xff\xd8\xff"), content.find(b"\xff\x4f\xff\x51")
    try:
        if jpeg_2000 >= 0 and not 0 <= jpeg < jpeg_2000:
            right, bottom, left, top = struct.unpack_from(">4I", content, jpeg_2000 + 8)
            (samples,) = struct.unpack_from(">H", content, jpeg_2000 + 40)
            return CodeStream(uid.JPEG2000, bottom - top, right - left, samples)
        return None if jpeg < 0 else _jpeg(content, jpeg + 2)
    except (struct.error, IndexError):  # cut off within its header
        return None


def _jpeg(content: bytes, place: int) -> CodeStream | None:
    """By its frame header (ITU-T T.81, B.2.2), which follows tables and comments."""
    from pydicom import uid

    while content[place : place + 1] == b"\xff":
        marker = content[place + 1]
        if marker in (*_DISCRETE_COSINE, _LOSSLESS, _LS):
            depth, rows, columns, samples = struct.unpack_from(">BHHB", content, place + 4)
            syntax = {_LOSSLESS: uid.JPEGLosslessSV1, _LS: uid.JPEGLSLossless}.get(marker)
            return CodeStream(
                syntax or (uid.JPEGBaseline8Bit if depth == 8 else uid.JPEGExtended12Bit), rows, columns, samples
            )
        if marker in _NO_LENGTH:
            place += 2
        elif marker == 0xFF:  # a fill byte
            place += 1
        else:
            place += 2 + struct.unpack_from(">H", content, place + 2)[0]
    return None
