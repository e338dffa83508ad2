"""What a training needs is looked at before anything is loaded, one line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_toolkit.cli.main import app
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.model import EntityBank
from medvlp_toolkit.preparing import Prepare
from medvlp_toolkit.shipped_bundles import bundles_folder
from medvlp_toolkit.verification import estimates
from medvlp_toolkit.verification.preflight import preflight

MEDKLIP = bundles_folder() / "medklip"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "store"
    source = mv.data_sources.phantom(seed=1, count=20, size=32)
    Prepare(source, report_filter=mv.report_filters.rules(), output_dir=folder, image_size=32, workers=0).run()
    return folder


def doctor(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["doctor", "--bundle", str(MEDKLIP), *arguments])
    return done.exit_code, done.stdout


def test_a_training_that_lacks_nothing_has_a_line_each(store: Path, tmp_path: Path) -> None:
    status, shown = doctor("--config", "demo.yaml", "--set", f"dataset_dir={store}", "--set", f"output_dir={tmp_path}")
    lines = shown.splitlines()
    assert status == 0, shown
    assert [line.split()[:2] for line in lines] == [["✓", "store:"], ["✓", "disk:"], ["✓", "memory:"]]
    assert "20 rows of 20 studies, 1 × 32 × 32 uint8; test 2, train 16, validate 2" in lines[0]


def test_what_is_missing_is_shown_with_its_fix(tmp_path: Path) -> None:
    settings = {"dataset_dir": str(tmp_path / "none"), "text_model::pretrained": "./no/bert"}
    status, shown = doctor(*(word for pair in settings.items() for word in ("--set", "=".join(pair))), "--json")
    told = json.loads(shown)
    assert status == 1
    assert not told["ok"]
    model, missing_store, disk, memory = told["checks"]
    assert model["what"] == "text_model::pretrained"
    assert "./no/bert does not exist" in model["found"]
    assert "--text_model::pretrained FOLDER" in model["fix"]
    assert "no store" in missing_store["found"]
    assert disk["ok"]
    assert "14.5 million parameters" in disk["found"]
    assert "batch of 48" in memory["found"]


def test_offline_a_model_of_the_hub_is_missing_until_it_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = preflight(MEDKLIP, settings={"text_model::pretrained": "owner/never-downloaded"})[0]
    assert found.ok is False
    assert "HF_HUB_OFFLINE is set" in found.found
    assert "--local-dir FOLDER" in found.fix


def test_a_split_that_the_store_lacks_is_shown(store: Path) -> None:
    checks = preflight(MEDKLIP, ["demo.yaml"], {"dataset_dir": str(store), "validation_split": "later"})
    assert "has no split later" in checks[0].found


def test_a_full_disk_and_a_small_memory_are_shown(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda path: usage(1, 1, 0))
    monkeypatch.setattr(estimates, "_available", lambda: 0)
    monkeypatch.setattr(estimates, "best_device", lambda: __import__("torch").device("cpu"))
    _, disk, memory = preflight(MEDKLIP, ["demo.yaml"], {"dataset_dir": str(store)})
    assert (disk.ok, memory.ok) == (False, False)
    assert "keep_checkpoints" in disk.fix
    assert "batch_size" in memory.fix


def test_a_missing_graph_and_checkpoint_are_shown() -> None:
    graph = {check.what: check for check in preflight(bundles_folder() / "arl", ["demo.yaml"], {"graph_file": "no"})}
    assert graph["graph_file"].ok is False
    assert graph["disk and memory"].ok is None
    weights = {check.what: check for check in preflight(bundles_folder() / "vqa", settings={"checkpoint": "no.pt"})}
    assert "there is no no.pt" in weights["checkpoint"].found


def test_stores_and_data_sets_show_counts_and_no_ids(store: Path, tmp_path: Path) -> None:
    from medvlp_toolkit.data import StudyDataset
    from medvlp_toolkit.data.batches.pairs import PairTable

    opened, dataset = PackedStore.open(store), StudyDataset(store, splits=["train"])
    ids = [*opened.values("study_id", opened.rows()), *opened.values("patient_id", opened.rows())]  # type: ignore[misc]
    for shown in (repr(opened), repr(dataset)):
        assert not any(str(one) in shown.replace(str(store), "") for one in ids)
    assert f"{len(dataset)} images of {len(dataset)} studies, splits ['train']" in repr(dataset)
    assert "not readable" in repr(PackedStore(tmp_path))
    table = PairTable.of([{"id": "secret-id", "row": 0, "text": "secret text", "answer": "no"}])
    assert repr(table) == "PairTable(1 texts of 1 images)"


def test_a_text_encoder_may_be_given_to_a_bank_or_what_makes_one(tmp_path: Path) -> None:
    texts = ["fluid in the pleural space", "air in the pleural space"]

    def make() -> Any:
        config = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        return mv.encoders.transformers_text(config=config, corpus=texts, seed=0)

    made, given = EntityBank(make)(texts), EntityBank(make(), cache_dir=tmp_path)(texts)
    assert made.equal(given)
    assert len(list(tmp_path.iterdir())) == 1
    other = make()
    next(other.parameters()).data.add_(1)
    assert not EntityBank(other, cache_dir=tmp_path)(texts).equal(given), "other weights have a cache of their own"


def test_load_bundle_shows_its_options() -> None:
    import inspect

    names = list(inspect.signature(mv.load_bundle).parameters)
    assert names == ["folder", "overlays", "weights", "device", "overrides"]
