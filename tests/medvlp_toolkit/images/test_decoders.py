"""Compressed DICOM: which decoder reads it, and what happens when one dies, hangs or fails."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import code_stream_of, write_radiograph, write_sample
from PIL import Image
from pydicom import uid

from medvlp_toolkit.images import ImageReadError, decoders, read_image
from medvlp_toolkit.images.decoder_process import GDCM_12_BIT
from medvlp_toolkit.images.decoders import DecodeError, DecoderProcess, decoders_for, is_harmless
from medvlp_toolkit.images.syntax_samples import SAMPLES, sample_values, working_decoders
from medvlp_toolkit.images.transfer_syntax import code_stream

EXTENDED, BASELINE, LOSSLESS = uid.JPEGExtended12Bit, uid.JPEGBaseline8Bit, uid.JPEGLosslessSV1

# Takes the place of the script that decodes.
ABORTS = "import os, sys; sys.stdin.buffer.read(1); os.abort()"
HANGS = "import time; time.sleep(600)"


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a test put another script in the place of the decoding process."""

    def replace(script: str) -> DecoderProcess:
        process = DecoderProcess()
        start = subprocess.Popen

        def started(command: list[str], **options: Any) -> Any:
            return start([sys.executable, "-c", script], **options)

        monkeypatch.setattr(decoders.subprocess, "Popen", started)
        monkeypatch.setattr(decoders, "_beside", process)
        return process

    return replace


def syntax_of(syntax: str) -> uid.UID | None:
    stream = code_stream(code_stream_of(syntax))
    assert stream is None or (stream.rows, stream.columns, stream.samples) == (32, 32, 1)
    return stream and stream.syntax


@pytest.mark.parametrize("syntax", [s for s in SAMPLES if s != uid.RLELossless])
@pytest.mark.parametrize(
    "header",
    [{"Rows": 16}, {"Columns": 64}, {"Rows": 64, "Columns": 16}, {"SamplesPerPixel": 3, "PlanarConfiguration": 0}],
)
def test_compressed_data_of_another_size_than_the_header_says_is_refused(
    tmp_path: Path, syntax: str, header: dict[str, int]
) -> None:
    file = write_sample(tmp_path / "a.dcm", syntax)
    dataset = pydicom.dcmread(file)
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    dataset.save_as(file)
    with pytest.raises(
        ImageReadError, match="the compressed data is 32 × 32 pixels of 1 values, the DICOM header says"
    ):
        read_image(file)


def test_colour_in_the_compressed_data_of_a_grey_image_is_refused(tmp_path: Path) -> None:
    colour = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 10, 10)).save(colour, "JPEG")
    with pytest.raises(ImageReadError, match="32 × 32 pixels of 3 values"):
        read_image(write_sample(tmp_path / "a.dcm", BASELINE, content=colour.getvalue()))


class TestSyntaxes:
    def test_every_syntax_has_a_decoder_that_gives_the_sample(self) -> None:
        found = working_decoders()
        assert len(found) == len(SAMPLES)
        assert all(found.values()), found
        assert found[EXTENDED.name] == [GDCM_12_BIT]
        assert found[BASELINE.name][0] == "pillow"

    @pytest.mark.parametrize("syntax", SAMPLES)
    def test_every_syntax_is_read_like_the_uncompressed_picture(self, tmp_path: Path, syntax: str) -> None:
        plain = read_image(write_radiograph(tmp_path / "plain.dcm", sample_values())).astype(int)
        assert np.abs(read_image(write_sample(tmp_path / "a.dcm", syntax)) - plain).max() <= 3

    @pytest.mark.parametrize("stated", [BASELINE, EXTENDED, LOSSLESS, uid.JPEG2000, uid.RLELossless])
    @pytest.mark.parametrize("syntax", [s for s in SAMPLES if s != uid.RLELossless])
    def test_the_code_stream_says_what_it_is_where_the_header_does_not(
        self, tmp_path: Path, syntax: str, stated: str
    ) -> None:
        right = read_image(write_sample(tmp_path / "a.dcm", syntax))
        assert np.array_equal(read_image(write_sample(tmp_path / "b.dcm", syntax, stated)), right)

    def test_code_streams_are_told_apart(self) -> None:
        assert syntax_of(BASELINE) == BASELINE
        assert syntax_of(EXTENDED) == EXTENDED
        assert syntax_of(LOSSLESS) == LOSSLESS
        assert syntax_of(uid.JPEGLSLossless) == uid.JPEGLSLossless
        assert syntax_of(uid.JPEG2000Lossless) == uid.JPEG2000
        assert code_stream(code_stream_of(uid.RLELossless)) is None
        assert code_stream(b"") is None
        assert code_stream(b"\xff\xd8\xff") is None

    def test_video_is_refused_by_name(self, tmp_path: Path) -> None:
        path = write_sample(tmp_path / "a.dcm", uid.RLELossless, uid.MPEG2MPML, content=bytes(1000))
        with pytest.raises(ImageReadError, match="MPEG2"):
            read_image(path)


class TestDecoderThatDies:
    def test_native_decoders_run_outside_this_process(self) -> None:
        for syntax in SAMPLES:
            for name in decoders_for(uid.UID(syntax)):
                here = is_harmless(name, uid.UID(syntax))
                assert here == (name in ("pillow", "pydicom", "pylibjpeg") and "2000" not in uid.UID(syntax).name)

    def test_an_abort_costs_the_image_alone(self, tmp_path: Path, beside: Any) -> None:
        process = beside(ABORTS)
        path = write_sample(tmp_path / "a.dcm", LOSSLESS)
        for _ in range(2):
            with pytest.raises(ImageReadError, match="aborted") as error:
                read_image(path)
            assert error.value.path == path
        assert process.process is None
        assert read_image(write_sample(tmp_path / "b.dcm", BASELINE)).any()

    def test_a_hang_comes_to_an_end(self, tmp_path: Path, beside: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        beside(HANGS)
        monkeypatch.setattr(decoders, "PATIENCE", 0.2)
        with pytest.raises(ImageReadError, match="did not finish"):
            read_image(write_sample(tmp_path / "a.dcm", LOSSLESS))

    def test_a_process_that_was_killed_between_images_is_replaced(self, tmp_path: Path) -> None:
        path = write_sample(tmp_path / "a.dcm", LOSSLESS)
        right = read_image(path)
        process = decoders._beside.process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert np.array_equal(read_image(path), right)

    def test_one_process_serves_several_threads(self, tmp_path: Path) -> None:
        paths = [write_sample(tmp_path / f"{n}.dcm", LOSSLESS if n % 2 else uid.JPEG2000Lossless) for n in range(16)]
        right = read_image(paths[0])
        with ThreadPoolExecutor(4) as pool:
            assert all(np.array_equal(read, right) for read in pool.map(read_image, paths))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
    def test_a_forked_process_starts_its_own(self, tmp_path: Path) -> None:
        path = write_sample(tmp_path / "a.dcm", LOSSLESS)
        right = read_image(path)
        theirs = decoders._beside.process
        child = os.fork()
        if not child:
            status = 1
            try:
                assert decoders._beside.process is None
                status = 0 if np.array_equal(read_image(path), right) else 2
            finally:
                decoders._beside.stop()
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert decoders._beside.process is theirs
        assert np.array_equal(read_image(path), right)

    def test_it_ends_with_its_parent(self, tmp_path: Path) -> None:
        path = write_sample(tmp_path / "a.dcm", LOSSLESS)
        script = (
            "import os, sys; from medvlp_toolkit.images import decoders, read_image; read_image(sys.argv[1]); "
            "print(decoders._beside.process.pid, flush=True); os._exit(0)"
        )
        ran = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
        left, deadline = int(ran.stdout), time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                os.kill(left, 0)
            except ProcessLookupError:
                return
            threading.Event().wait(0.05)
        pytest.fail("the decoder outlives its parent")

    def test_nothing_of_the_data_is_in_the_message(self, tmp_path: Path) -> None:
        content = b"\xff\xd8\xff\xc3\0\x0b\x0c\0\x20\0\x20\1\1\x11\0" + b"Doe^Jane" * 20
        with pytest.raises(ImageReadError) as error:
            read_image(write_sample(tmp_path / "a.dcm", LOSSLESS, content=content))
        assert "Doe" not in str(error.value)

    def test_no_decoder_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoders, "decoders_for", lambda syntax: [])
        with pytest.raises(DecodeError, match="no decoder for it is installed"):
            decoders.decode_frame(LOSSLESS, b"", {})


@pytest.mark.slow
class TestDamage:
    @pytest.mark.parametrize("syntax", SAMPLES)
    def test_whatever_is_changed_gives_an_image_or_one_error(self, tmp_path: Path, syntax: str) -> None:
        rng = np.random.default_rng(0)
        content = code_stream_of(syntax)
        for _ in range(120):
            changed = bytearray(content)
            for place in rng.integers(0, len(content), rng.integers(1, 4)):
                changed[place] = rng.integers(0, 256)
            path = write_sample(tmp_path / "a.dcm", syntax, content=bytes(changed))
            try:
                assert read_image(path, 16).shape == (1, 16, 16)
            except ImageReadError:
                continue
