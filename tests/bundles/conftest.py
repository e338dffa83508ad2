"""A tiny synthetic store and a training run on it, made once for all bundle tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ignite.distributed import utils as ignite_distributed

from tests.bundles.running import demo_overrides, run_bundle


@pytest.fixture(autouse=True)
def undisturbed_process() -> Iterator[None]:
    """Bundles set an exception hook, log levels and determinism; tests after them must not notice."""
    import logging

    hook, level, disabled = sys.excepthook, logging.getLogger().level, logging.root.manager.disable
    deterministic = torch.backends.cudnn.deterministic
    yield
    # Ignite remembers a process group after it is gone.
    ignite_distributed._set_model(ignite_distributed._SerialModel())
    sys.excepthook = hook
    logging.getLogger().setLevel(level)
    logging.disable(disabled)
    torch.backends.cudnn.deterministic = deterministic


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a two-epoch training on 160 synthetic phantoms, its store in ``store``."""
    folder = tmp_path_factory.mktemp("demo")
    store, threads = folder / "store", torch.get_num_threads()
    torch.set_num_threads(1)
    run_bundle(
        "prepare",
        "demo",
        **{"dataset_dir": str(store), "source::count": 160, "image_size": 64, "workers": 0},
    )
    run_bundle("train", "demo", **demo_overrides(folder))
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run from a folder that has nothing to do with the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
