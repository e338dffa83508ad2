"""What goes wrong while a training runs ends it with one message, and saved checkpoints stay intact."""

from __future__ import annotations

import json
import resource
import shutil
import time
from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.engines.checkpoint_files import checkpoints_in
from tests.medvlp_toolkit.engines.training import (
    At,
    fail,
    kill_worker,
    log_of,
    losses_of,
    make_store,
    run_training,
    spoil_loss,
)

EPOCH = 11  # iterations of an epoch


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two epochs, both checkpoints in its folder."""
    folder = tmp_path_factory.mktemp("finished")
    assert run_training(store, folder, every=0) == [0], log_of(folder)
    return folder


def names(folder: Path) -> list[str]:
    return [path.name for path in checkpoints_in(folder)]


def all_whole(folder: Path) -> bool:
    return all(torch.load(path, weights_only=True)["model"] for path in checkpoints_in(folder))


def test_a_full_disk_ends_the_run_and_keeps_what_was_saved(store: Path, finished: Path, tmp_path: Path) -> None:
    """The system refuses the write in the middle of a file, as it does on a full disk."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(finished / "checkpoint_epoch=1.pt", folder)
    size = (folder / "checkpoint_epoch=1.pt").stat().st_size
    limits = {resource.RLIMIT_FSIZE: (size // 2, resource.RLIM_INFINITY)}
    assert run_training(store, folder, every=0, limits=limits) == [1]
    assert "could not be written" in log_of(folder)
    assert "the earlier checkpoints are intact" in log_of(folder)
    assert names(folder) == ["checkpoint_epoch=1.pt"]
    assert all_whole(folder)
    assert not list(folder.glob("*.unfinished"))
    assert run_training(store, folder, every=0) == [0]
    assert torch.equal(*(_final(run) for run in (folder, finished)))


def _final(folder: Path) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in torch.load(folder / "weights.pt").values()])


@pytest.mark.parametrize("damage", ["cut off", "a byte changed", "another model", "no checkpoint"])
def test_a_broken_checkpoint_falls_back_to_the_one_before_and_says_so(
    damage: str, store: Path, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for path in checkpoints_in(finished):
        shutil.copy(path, folder)
    newest = folder / "checkpoint_epoch=2.pt"
    content = bytearray(newest.read_bytes())
    if damage == "cut off":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "a byte changed":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    elif damage == "another model":
        state = torch.load(newest, weights_only=True)
        torch.save({**state, "model": {"weight": torch.zeros(3)}}, newest)
    else:
        torch.save({"epoch": 2}, newest)
    assert run_training(store, folder, every=0) == [0]
    assert f"resuming from {folder / 'checkpoint_epoch=1.pt'}" in log_of(folder)
    assert min(losses_of(folder)) == EPOCH + 1
    assert torch.equal(*(_final(run) for run in (folder, finished)))


def test_when_every_checkpoint_is_broken_the_run_says_why(store: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint_epoch=1.pt").write_bytes(b"torn")
    assert run_training(store, tmp_path) == [1]
    assert "checkpoint_epoch=1.pt cannot be read as a checkpoint" in log_of(tmp_path)
    assert names(tmp_path) == ["checkpoint_epoch=1.pt"]


def test_a_new_run_puts_an_earlier_ones_checkpoints_aside(store: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "checkpoint_epoch=2.pt", tmp_path)
    assert run_training(store, tmp_path, resume=False, epochs=1, every=0) == [0]
    assert names(tmp_path) == ["checkpoint_epoch=1.pt"]
    assert names(tmp_path / "previous" / "1") == ["checkpoint_epoch=2.pt"]


def test_a_changed_configuration_is_reported_as_a_diff(store: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "checkpoint_epoch=2.pt", tmp_path)
    assert run_training(store, tmp_path, epochs=3, every=0) == [0]
    assert "the configuration has changed since the checkpoint:\n  epochs: 2 → 3\n" in log_of(tmp_path)


def test_a_killed_worker_ends_the_run_with_a_message(store: Path, tmp_path: Path) -> None:
    handlers = {Events.ITERATION_COMPLETED: At(EPOCH + 2, 0, kill_worker)}
    assert run_training(store, tmp_path, num_workers=1, handlers=handlers, every=0) == [1]
    assert "error: a process that reads data was killed" in log_of(tmp_path)
    assert names(tmp_path) == ["checkpoint_epoch=1.pt"]
    assert all_whole(tmp_path)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_loss_that_is_no_number_names_its_batch_in_a_file(ranks: int, store: Path, tmp_path: Path) -> None:
    epoch = EPOCH if ranks == 1 else 5
    handlers = {Events.ITERATION_STARTED: At(epoch + 2, ranks - 1, spoil_loss)}
    assert set(run_training(store, tmp_path, ranks, handlers=handlers, every=0)) == {1}
    told = log_of(tmp_path, ranks - 1)
    ids = PackedStore.open(store).studies.column("study_id").to_pylist()
    file = tmp_path / ("nan_batch.json" if ranks == 1 else "nan_batch_rank1.json")
    assert f"loss existence, position is not finite at epoch 2, iteration {epoch + 2}" in told
    assert str(file) in told
    assert not any(study in told for study in ids)
    batch = json.loads(file.read_text())
    assert (batch["iteration"], batch["losses"]) == (epoch + 2, ["loss", "existence", "position"])
    assert len(batch["study_id"]) == 2
    assert set(batch["study_id"]) <= set(ids)
    assert names(tmp_path) == ["checkpoint_epoch=1.pt"]
    weights = torch.load(tmp_path / "checkpoint_epoch=1.pt", weights_only=True)["model"]
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())


class ReplaceStore:
    """Puts another store in the place of the one that is trained on."""

    def __init__(self, store: Path, other: Path) -> None:
        self.store, self.other = store, other

    def __call__(self, engine: object) -> None:
        self.store.rename(self.store.with_name("moved"))
        shutil.copytree(self.other, self.store)


def test_a_store_changed_underneath_stops_the_run_and_is_not_gone_on_with(store: Path, tmp_path: Path) -> None:
    used, other, run = tmp_path / "used", make_store(tmp_path / "other", studies=24), tmp_path / "run"
    shutil.copytree(store, used)
    handlers = {Events.ITERATION_COMPLETED: At(3, 0, ReplaceStore(used, other))}
    assert run_training(used, run, handlers=handlers, every=0) == [1]
    assert "has changed since this training began" in log_of(run)
    assert max(losses_of(run)) == EPOCH
    assert run_training(used, run, every=0, epochs=3, batch_size=2) == [1]
    assert "is not the store that this run was trained on" in log_of(run)
    assert names(run) == ["checkpoint_epoch=1.pt"]
    assert all_whole(run)


def pause(engine: object) -> None:
    time.sleep(600)


def test_a_second_run_into_the_same_folder_is_refused(store: Path, tmp_path: Path) -> None:
    handlers = {Events.ITERATION_COMPLETED: At(2, 0, pause)}
    (first,) = run_training(store, tmp_path, wait=False, handlers=handlers, every=1, accumulation_steps=1)
    try:
        while not names(tmp_path):
            time.sleep(0.1)
        before = (tmp_path / names(tmp_path)[0]).read_bytes()
        assert run_training(store, tmp_path) == [1]
        assert f"another run is training into {tmp_path} (process {first.pid} on " in log_of(tmp_path)
        assert (tmp_path / names(tmp_path)[0]).read_bytes() == before
    finally:
        first.kill()
        first.join()
    assert run_training(store, tmp_path, accumulation_steps=1) == [0]  # a killed run leaves no lock behind


def test_a_failing_rank_ends_the_run_with_its_message(store: Path, tmp_path: Path) -> None:
    handlers = {Events.ITERATION_STARTED: At(3, 1, fail)}
    assert run_training(store, tmp_path, 2, handlers=handlers) == [1, 1]
    assert "this rank fails" in log_of(tmp_path, 1)
    assert "error: another process of this training has ended" in log_of(tmp_path, 0)
