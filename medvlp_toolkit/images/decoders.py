"""Selects and runs the decoder of compressed DICOM pixel data.

Pillow and the RLE decoder fail with an error on damaged data and run in this process. The others are native code that
may abort, so they run in a child process (`decoder_process`), which is started on first use, decodes one image at a
time, and is replaced when it dies.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.images import decoder_process
from medvlp_toolkit.images.decoder_process import GDCM_12_BIT

if TYPE_CHECKING:
    from pydicom.uid import UID

Array = npt.NDArray[Any]
#: Decoders in the order of trial; Pillow first, because gdcm aborts on a damaged JPEG.
ORDER = ("pillow", "pyjpegls", "pylibjpeg", GDCM_12_BIT, "gdcm", "pydicom")
#: Seconds after which a decoder is considered to hang.
PATIENCE = 120.0


class DecodeError(Exception):
    """No decoder can read the data; the message is a short reason without any of the data."""


def decoders_for(syntax: UID) -> list[str]:
    """The installed decoders of a compressed transfer syntax, in order of trial."""
    from pydicom import uid
    from pydicom.pixels import get_decoder

    try:
        installed = set(get_decoder(syntax).available_plugins)
    except NotImplementedError:
        return []
    if syntax == uid.JPEGExtended12Bit and "gdcm" in installed:
        installed.add(GDCM_12_BIT)
    ordered = [name for name in ORDER if name in installed]
    if syntax in uid.JPEG2000TransferSyntaxes and "pillow" in installed:
        ordered = [name for name in ordered if name != "pillow"] + ["pillow"]  # it converts to 8 or 16 bits first
    return ordered


def decode_frame(syntax: UID, content: bytes, attributes: dict[str, Any]) -> tuple[Array, str]:
    """One frame's pixels, and the name of the decoder that read them.

    ``content`` is encapsulated pixel data, ``attributes`` the options of pydicom's decoders.

    Raises:
        DecodeError: when every installed decoder fails, or none is installed.
    """
    failures = []
    for decoder in decoders_for(syntax):
        try:
            return decode_with(decoder, syntax, content, attributes), decoder
        except DecodeError as error:
            failures.append(f"{decoder}: {error}")
    raise DecodeError(", ".join(failures) or "no decoder for it is installed")


def decode_with(decoder: str, syntax: UID, content: bytes, attributes: dict[str, Any]) -> Array:
    """Like `decode_frame`, with one given decoder."""
    if not is_harmless(decoder, syntax):
        return _beside.decode(syntax, decoder, content, attributes)
    try:
        return decoder_process.decode(syntax, decoder, content, attributes)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # panics of decoders written in Rust are not an Exception
        raise DecodeError(type(error).__name__) from None


def is_harmless(decoder: str, syntax: UID) -> bool:
    """Whether a decoder never aborts the process, whatever the data: Pillow for JPEG, and those for RLE."""
    from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

    return syntax == RLELossless or (decoder == "pillow" and syntax in (JPEGBaseline8Bit, JPEGExtended12Bit))


class DecoderProcess:
    """The decoder's child process; one request at a time."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()

    def decode(self, syntax: str, decoder: str, content: bytes, attributes: dict[str, Any]) -> Array:
        header = {"syntax": str(syntax), "decoder": decoder, "attributes": attributes}
        with self.lock:
            reply = self.ask(header, content)
        described, pixels = reply
        if "error" in described:
            raise DecodeError(described["error"])
        return np.frombuffer(pixels, described["dtype"]).reshape(described["shape"])

    def ask(self, header: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        process = self.started()
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(PATIENCE, end)
        timer.daemon = True
        timer.start()
        try:
            decoder_process.send(process.stdin, header, content)
            reply = decoder_process.receive(process.stdout)
        except (BrokenPipeError, ValueError):
            reply = None
        except BaseException:
            self.stop()  # interrupted in the middle of a reply
            raise
        finally:
            timer.cancel()
        if reply is None:
            self.stop()
            raise DecodeError("did not finish" if late.is_set() else "aborted")
        return reply

    def started(self) -> subprocess.Popen[bytes]:
        if self.process is not None and self.process.poll() is not None:
            self.stop()
        if self.process is None:
            # -P keeps the script's folder, whose modules have common names, off the path.
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(Path(decoder_process.__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,  # Ctrl-C is for the parent; the process ends when its input does
            )
        return self.process

    def stop(self) -> None:
        """End the process; a later request starts another."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # data written but not read
                    stream.close()
        process.wait()

    def forget(self) -> None:
        """In a forked process: drop the decoder, which belongs to the parent."""
        self.process = None
        self.lock = threading.Lock()


_beside = DecoderProcess()
atexit.register(_beside.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_beside.forget)
