"""Decodes compressed DICOM pixel data in a separate process; run as a script, it imports nothing from the toolkit.

Native decoders abort their process on some damaged files (gdcm does). The parent writes requests to standard input and
reads replies from standard output: a JSON header of known length, then bytes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import struct
import sys
import warnings
from typing import IO, Any

import numpy as np

HEADER = struct.Struct("<IQ")  # number of bytes of the JSON and of the data after it
#: Limits memory: a damaged code stream can request any amount.
MOST_MEMORY = 8 * 2**30
#: Our own call of gdcm, in addition to pydicom's decoder names.
GDCM_12_BIT = "gdcm (12 bit)"


def decode(syntax: str, decoder: str, content: bytes, attributes: dict[str, Any]) -> np.ndarray:
    """The pixels of one frame through one decoder, in this machine's byte order; colour as RGB."""
    from pydicom.pixels import get_decoder

    if decoder == GDCM_12_BIT:
        return twelve_bits(content, attributes)
    # Bits that hold no value are cut off later: padding may need them.
    keep = {"raw": False, "correct_unused_bits": False, "view_only": True}
    pixels, described = get_decoder(syntax).as_array(
        content, index=0, decoding_plugin=decoder, pixel_keyword="PixelData", **keep, **attributes
    )
    colour = str(described["photometric_interpretation"])
    if pixels.ndim > 2 and colour != "RGB":
        raise ValueError(f"colour space {colour}")
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def twelve_bits(content: bytes, attributes: dict[str, Any]) -> np.ndarray:
    """JPEG Extended of 9 to 12 bits through gdcm, which pydicom does not use for it; exact on the files tried."""
    import gdcm
    from pydicom.encaps import get_frame

    if attributes["samples_per_pixel"] != 1:
        raise ValueError("colour of 12 bits")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(get_frame(content, 0, number_of_frames=1))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    rows, columns = attributes["rows"], attributes["columns"]
    signed = attributes["pixel_representation"]
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, signed))
    values = image.GetBuffer().encode("utf-8", "surrogateescape")
    if len(values) != 2 * rows * columns:
        raise ValueError("another number of pixels than declared")
    return np.frombuffer(values, "<i2" if signed else "<u2").reshape(rows, columns)


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None at the end of the stream."""
    head = stream.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    text_length, length = HEADER.unpack(head)
    text, content = stream.read(text_length), stream.read(length)
    if len(text) < text_length or len(content) < length:
        return None
    header: dict[str, Any] = json.loads(text)
    return header, content


def send(stream: IO[bytes], header: dict[str, Any], content: bytes | memoryview) -> None:
    text = json.dumps(header).encode()
    stream.write(HEADER.pack(len(text), len(content)) + text)
    stream.write(content)
    stream.flush()


def answer(header: dict[str, Any], content: bytes) -> tuple[dict[str, Any], memoryview]:
    """The reply to a request: the pixels, or the type of the exception (its message may quote the file)."""
    try:
        pixels = np.ascontiguousarray(decode(header["syntax"], header["decoder"], content, header["attributes"]))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # panics of decoders written in Rust are not an Exception
        return {"error": type(error).__name__}, memoryview(b"")
    return {"dtype": pixels.dtype.str, "shape": pixels.shape}, memoryview(pixels.data).cast("B")


def main() -> None:
    # Libraries may print to stdout or stderr, so replies use a separate descriptor.
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    logging.disable()
    while (request := receive(sys.stdin.buffer)) is not None:
        send(replies, *answer(*request))


if __name__ == "__main__":
    main()
