"""A killed prepare resumes where it stopped, and gives the same bytes."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed_prepare
import pytest
from killed_prepare import job
from small_studies import SmallSource, write_images

from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.preparing.prepare import PrepareError

SCRIPT = killed_prepare.__file__
CHUNK = 64


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed") / "images"
    write_images(folder, 3 * CHUNK)
    return folder


@pytest.fixture(scope="module")
def calls(images: Path) -> int:
    """Calls into the package that the uninterrupted work takes; the store is left beside the images."""
    return int(run_until(images, images.parent / "whole", 0).stdout)


def run_until(images: Path, output: Path, calls: int, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, str(images), str(output), str(calls), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.8, 0.9, 0.97, 0.995])
def test_killed_once_and_run_again(images: Path, tmp_path: Path, calls: int, share: float) -> None:
    killed = run_until(images, tmp_path / "store", int(calls * share))
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "store" / "store.json").exists() or share > 0.99
    job(images, tmp_path / "store").run()
    assert content(tmp_path / "store") == content(images.parent / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_again_and_again(images: Path, tmp_path: Path, calls: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(6):
        run_until(images, tmp_path / "store", chance.randint(1, calls))
    job(images, tmp_path / "store").run()
    assert content(tmp_path / "store") == content(images.parent / "whole")
    assert not (tmp_path / "store.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize("step", range(12))
def test_killed_near_the_end(images: Path, tmp_path: Path, calls: int, step: int) -> None:
    run_until(images, tmp_path / "store", calls - 10 * step - 1)
    job(images, tmp_path / "store").run()
    assert content(tmp_path / "store") == content(images.parent / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("step", range(0, 60, 6))
def test_killed_while_replacing_another_store(images: Path, tmp_path: Path, calls: int, step: int) -> None:
    other = job(images, tmp_path / "store")
    other.text_length, other.require_findings = 4, False
    other.run()
    run_until(images, tmp_path / "store", calls - step, "overwrite")
    job(images, tmp_path / "store", overwrite=True).run()
    assert content(tmp_path / "store") == content(images.parent / "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_with_worker_processes(images: Path, tmp_path: Path, calls: int, seed: int) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom killed_prepare import job\n"
        "if __name__ == '__main__': job(Path(sys.argv[2]), Path(sys.argv[3]), workers=2).run()"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(script), str(Path(SCRIPT).parent), str(images), str(tmp_path / "store")]
    )
    time.sleep(random.Random(seed).uniform(0.5, 3.0))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    job(images, tmp_path / "store", workers=2).run()
    assert content(tmp_path / "store") == content(images.parent / "whole")


def test_work_done_is_not_done_again(images: Path, tmp_path: Path, calls: int) -> None:
    run_until(images, tmp_path / "store", int(calls * 0.5))
    summary = job(images, tmp_path / "store").run()
    assert summary.resumed_from in (CHUNK, 2 * CHUNK)


def test_other_settings_begin_anew_and_say_so(
    images: Path, tmp_path: Path, calls: int, caplog: pytest.LogCaptureFixture
) -> None:
    run_until(images, tmp_path / "store", int(calls * 0.8))
    other = job(images, tmp_path / "store")
    other.require_findings = False
    with caplog.at_level(logging.WARNING):
        assert other.run().resumed_from == 0
    assert "settings changed since the interrupted run (require_findings)" in caplog.text


def test_damaged_bytes_are_made_again(images: Path, tmp_path: Path, calls: int) -> None:
    run_until(images, tmp_path / "store", int(calls * 0.8))
    with (tmp_path / "store.partial" / "images.npy").open("r+b") as file:
        file.seek(4000)
        file.write(b"power cut")
    job(images, tmp_path / "store").run()
    assert content(tmp_path / "store") == content(images.parent / "whole")


def test_changed_records_are_made_again_and_the_others_kept(images: Path, tmp_path: Path, calls: int) -> None:
    run_until(images, tmp_path / "store", int(calls * 0.85))
    changed = job(images, tmp_path / "store")
    assert isinstance(changed.source, SmallSource)
    changed.source.changes[CHUNK + 30] = {"id": "another"}
    assert changed.run().resumed_from in (CHUNK, 2 * CHUNK)
    ids = PackedStore.open(tmp_path / "store").studies.column("study_id").to_pylist()
    assert "another" in ids
    assert len(ids) == 3 * CHUNK - 4


def test_fewer_records_than_before(images: Path, tmp_path: Path, calls: int) -> None:
    run_until(images, tmp_path / "store", int(calls * 0.9))

    class Short(SmallSource):
        def __iter__(self):  # type: ignore[no-untyped-def]
            studies = list(super().__iter__())
            return iter(studies[: CHUNK + 5])

    whole = job(images, tmp_path / "store")
    assert isinstance(whole.source, SmallSource)
    whole.source = Short(images, changes=whole.source.changes)
    assert whole.run().stored == CHUNK + 4
    assert PackedStore.open(tmp_path / "store").images.shape[0] == CHUNK + 4


def test_full_disk_at_any_file_leaves_a_state_to_go_on_from(
    images: Path, tmp_path: Path, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from medvlp_toolkit.preparing import prepare as module

    for name in ("write_tables", "write_tokens", "write_rejected", "sha256_of"):
        with monkeypatch.context() as patch:

            def full(*_: object, **__: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(module, name, full)
            with pytest.raises(PrepareError, match=r"disk is full"):
                job(images, tmp_path / "store").run()
    job(images, tmp_path / "store").run()
    assert content(tmp_path / "store") == content(images.parent / "whole")
