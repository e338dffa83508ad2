"""The transfer syntax of DICOM pixel data, detected from the data: headers may state it wrongly, or not at all."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

_ITEM = b"\xfe\xff\x00\xe0"
_SEARCHED = 1 << 16  # a code stream begins within this many bytes of the data
_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a segment


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
    seen = code_stream(bytes(element.value[:_SEARCHED]))
    if seen is None:
        return uid.UID(stated) if compressed else uid.RLELossless
    families = (uid.JPEG2000TransferSyntaxes, uid.JPEGLSTransferSyntaxes, [uid.JPEGLossless, uid.JPEGLosslessSV1])
    same_family = any(stated in family and seen in family for family in families)
    return uid.UID(stated) if same_family else seen


def code_stream(content: bytes) -> UID | None:
    """The transfer syntax of an encapsulated JPEG, JPEG-LS or JPEG 2000 code stream; None for anything else."""
    from pydicom import uid

    jpeg, jpeg_2000 = content.find(b"\xff\xd8\xff"), content.find(b"\xff\x4f\xff\x51")
    if jpeg_2000 >= 0 and not 0 <= jpeg < jpeg_2000:
        return uid.JPEG2000
    if jpeg < 0:
        return None
    place = jpeg + 2
    while place + 5 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xF7:
            return uid.JPEGLSLossless
        if marker in (0xC0, 0xC1, 0xC2):  # baseline, extended, progressive; distinguished by the depth
            return uid.JPEGBaseline8Bit if content[place + 4] == 8 else uid.JPEGExtended12Bit
        if marker == 0xC3:
            return uid.JPEGLosslessSV1
        if marker in _NO_LENGTH:
            place += 2
        elif marker == 0xFF:  # a fill byte
            place += 1
        else:
            place += 2 + struct.unpack_from(">H", content, place + 2)[0]
    return None
