"""The ARL bundle, from raw synthetic phantoms to what was learned, as a user runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medvlp_toolkit.data.batches.mismatches import Mismatches
from medvlp_toolkit.data.knowledge_graph import KnowledgeGraph
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.errors import user_message
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.weights.weights import read_weights
from tests.bundles.running import make_workflow, run_bundle

ABLATIONS = ("no_alignment", "no_injection", "no_whole_entities", "no_knowledge")


def overrides(run: Path, **more: Any) -> dict[str, Any]:
    """Overrides that point the demo at the tiny store and keep it short."""
    return {
        "dataset_dir": str(run / "store"),
        "graph_file": str(run / "graph.safetensors"),
        "output_dir": str(run),
        "image_size": 64,
        "steps": 12,
        "batch_size": 16,
        "log_every": 3,
        **more,
    }


@pytest.fixture(scope="module")
def arl_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a two-epoch training on 120 synthetic phantoms, with its store and graph."""
    folder, threads = tmp_path_factory.mktemp("arl"), torch.get_num_threads()
    torch.set_num_threads(1)
    store, graph = str(folder / "store"), str(folder / "graph.safetensors")
    prepare = {"dataset_dir": store, "source::count": 120, "image_size": 64, "prepare::workers": 0}
    run_bundle("prepare", "demo", bundle="arl", **prepare)
    small = {"threshold": 3, "entity_width": 16, "embedding_epochs": 1}
    run_bundle("graph", "demo", bundle="arl", dataset_dir=store, graph_file=graph, **small)
    run_bundle("train", "demo", bundle="arl", **overrides(folder))
    torch.set_num_threads(threads)
    return folder


def test_training_leaves_checkpoints_and_weights_with_the_graph_in_them(arl_run: Path) -> None:
    assert {"best.pt", "checkpoint_epoch=2.pt", "model.pt", "model.safetensors", "training.json"} <= {
        path.name for path in arl_run.iterdir()
    }
    graph = KnowledgeGraph.read(arl_run / "graph.safetensors")
    state = read_weights(arl_run / "best.pt", key="model")
    assert np.array_equal(state["model.knowledge_encoder.edge_index"].numpy(), graph.edge_index)


def test_the_store_keeps_the_linked_entities_of_every_report(arl_run: Path) -> None:
    store = PackedStore.open(arl_run / "store")
    found = {finding.entity for row in range(len(store)) for finding in store.findings_of(row, "links")}
    assert {"effusion", "pneumothorax", "cardiomegaly", "pacemaker"} <= found


def test_evaluation_sets_each_task_with_its_floor(
    arl_run: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_bundle("evaluate", "demo", bundle="arl", workflow_type="infer", **overrides(arl_run, results_dir="results"))
    metrics = Results.read(elsewhere / "results").metrics
    told = metrics["pretext"]
    for task in ("masked_token", "masked_entity", "matching"):
        assert 0 <= told[f"{task}_accuracy"] <= 1
        assert 0 < told[f"{task}_floor"] <= 1
    assert 0.5 < told["masked_image"] < 1.5
    assert {"alignment_image_auc", "alignment_image_f1", "alignment_text_auc", "alignment_text_f1"} <= set(told)
    assert set(metrics["probe"]) == {"trained", "untrained"}
    assert len(metrics["probe"]["trained"]["auc"]) == 9
    assert "most frequent answer" in capsys.readouterr().out


def test_mismatches_are_drawn_in_evaluation_as_in_training(arl_run: Path, elsewhere: Path) -> None:
    run_bundle("train", "demo", bundle="arl", **overrides(arl_run, output_dir="run", steps=2, matching="patients"))
    options = overrides(arl_run, output_dir="run", results_dir="results")
    workflow = make_workflow("evaluate", "demo", bundle="arl", workflow_type="infer", **options)
    dataset = workflow.parser.get_parsed_content("dataset")
    by_patient, by_label = Mismatches(list(dataset.patient_ids)), dataset.replace(matching="labels").mismatches
    assert np.array_equal(dataset.mismatches.size, by_patient.size)
    assert not np.array_equal(dataset.mismatches.size, by_label.size)


def test_the_findings_of_reports_are_probed_where_they_are_the_labels(
    arl_run: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = overrides(arl_run, results_dir="results", labels="stated")
    run_bundle("evaluate", "demo", bundle="arl", workflow_type="infer", **changes)
    results, note = Results.read(elsewhere / "results"), "labels derived from the reports by `rules`, not annotations"
    assert results.metrics["probe"]["trained"]["mean_auc"] > 0
    assert results.metrics["labels"]["note"] == results.run["labels"]["note"] == note
    assert note in " ".join(capsys.readouterr().out.split())


def test_resuming_goes_on_to_the_same_weights(arl_run: Path, tmp_path: Path) -> None:
    fixed = {"schedule::total_steps": 18, "schedule::warmup_steps": 1}
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    run_bundle("train", "demo", bundle="arl", **overrides(arl_run, output_dir=str(straight), epochs=2, **fixed))
    run_bundle("train", "demo", bundle="arl", **overrides(arl_run, output_dir=str(cut), epochs=1, **fixed))
    run_bundle("train", "demo", "resume", bundle="arl", **overrides(arl_run, output_dir=str(cut), epochs=2, **fixed))
    one, other = (read_weights(run / "checkpoint_epoch=2.pt", key="model") for run in (straight, cut))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=f"{name} differs after resuming")


def test_a_radiograph_is_scored_for_every_entity_of_the_graph(arl_run: Path, elsewhere: Path) -> None:
    Image.fromarray(np.asarray(PackedStore.open(arl_run / "store").images[0, 0])).save("radiograph.png")
    options = overrides(arl_run, images="radiograph.png", weights=str(arl_run / "model.pt"), output_dir="out")
    run_bundle("inference", "demo", bundle="arl", workflow_type="infer", **options)
    rows = list(csv.DictReader((elsewhere / "out" / "probabilities.csv").open()))
    graph = KnowledgeGraph.read(arl_run / "graph.safetensors")
    assert len(rows) == 1
    assert list(rows[0])[1:] == list(graph.entity_ids)
    assert all(0 <= float(rows[0][name]) <= 1 for name in graph.entity_ids)


def test_features_are_written_per_study(arl_run: Path, elsewhere: Path) -> None:
    options = overrides(arl_run, features_dir="features", results_dir="results")
    run_bundle("evaluate", "demo", "features", bundle="arl", workflow_type="infer", **options)
    assert np.load(elsewhere / "features" / "features.npy").shape == (120, 64)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_every_part_can_be_left_out(arl_run: Path, elsewhere: Path, ablation: str) -> None:
    options = overrides(arl_run, output_dir="run", steps=6, results_dir="results")
    trained = run_bundle("train", "demo", f"ablations/{ablation}", bundle="arl", **options)
    losses = set(trained.parser.get_parsed_content("losses"))
    assert ("alignment" in losses) == (ablation in ("no_injection", "no_whole_entities"))
    run_bundle("evaluate", "demo", f"ablations/{ablation}", bundle="arl", workflow_type="infer", **options)
    told = Results.read(elsewhere / "results").metrics["pretext"]
    assert {"masked_entity_accuracy", "matching_accuracy", "masked_image"} <= set(told)
    assert ("alignment_image_auc" in told) == ("alignment" in losses)


def test_medklips_losses_train_over_arls_encoders_and_fusion(arl_run: Path, elsewhere: Path) -> None:
    options = overrides(arl_run, output_dir="run", steps=6)
    trained = run_bundle("train", "demo", "medklip_losses", bundle="arl", **options)
    model = trained.parser.get_parsed_content("pretraining_model")
    assert set(model.losses) == {"existence", "position"}
    assert type(model.model.fusion).__name__ == "KnowledgeCoAttention"
    assert (elsewhere / "run" / "model.pt").is_file()


def test_arls_alignment_trains_in_the_medklip_bundle(arl_run: Path, elsewhere: Path) -> None:
    options = {
        "dataset_dir": str(arl_run / "store"), "graph_file": str(arl_run / "graph.safetensors"), "output_dir": "run",
        "image_size": 64, "epochs": 1, "batch_size": 16, "log_every": 4, "min_positives": 1,
    }  # fmt: skip
    trained = run_bundle("train", "demo", "arl_alignment", **options)
    model = trained.parser.get_parsed_content("pretraining_model")
    assert set(model.losses) == {"existence", "position", "alignment"}
    assert json.loads((elsewhere / "run" / "training.json").read_text())["epoch"] == 1


@pytest.mark.parametrize(
    ("configs", "kind"),
    [
        (("train", "demo"), "train"),
        (("train", "demo", "resume"), "train"),
        (("train", "demo", "multi_gpu_train"), "train"),
        (("evaluate", "demo"), "infer"),
    ],
)
def test_every_property_that_monai_asks_for_is_there(
    configs: tuple[str, ...], kind: str, arl_run: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29519"}.items():
        monkeypatch.setenv(key, value)
    workflow = make_workflow(*configs, bundle="arl", workflow_type=kind, **overrides(arl_run))
    try:
        assert workflow.check_properties() == []
    finally:
        workflow.finalize()


def failure(*configs: str, **options: Any) -> str:
    with pytest.raises(Exception) as caught:
        run_bundle(*configs, bundle="arl", **options)
    message = user_message(caught.value) or ""
    assert "\n" not in message
    return message


def test_a_store_without_linked_entities_is_named(arl_run: Path, elsewhere: Path) -> None:
    bare = {"dataset_dir": "bare", "source::count": 40, "image_size": 64, "prepare::workers": 0}
    run_bundle("prepare", "demo", bundle="arl", **{**bare, "prepare::entity_linker": None})
    message = failure("train", "demo", **overrides(arl_run, dataset_dir="bare", output_dir="run"))
    assert "no linked entities; prepare the store with an entity_linker" in message


def test_a_graph_that_does_not_match_the_checkpoint_is_named(arl_run: Path, elsewhere: Path) -> None:
    small = {"threshold": 8, "entity_width": 16, "embedding_epochs": 1}
    run_bundle("graph", "demo", bundle="arl", dataset_dir=str(arl_run / "store"), graph_file="other", **small)
    options = overrides(arl_run, graph_file="other", results_dir="results")
    message = failure("evaluate", "demo", workflow_type="infer", **options)
    assert "knowledge graph" in message


def test_a_missing_graph_is_named_before_any_model_is_loaded(arl_run: Path, elsewhere: Path) -> None:
    message = failure("train", "demo", **overrides(arl_run, graph_file="nowhere", output_dir="run"))
    assert "no knowledge graph at nowhere" in message
