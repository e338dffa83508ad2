"""KAD's bundle: both stages, from a knowledge source and raw synthetic phantoms to scores, as a user runs it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import medvlp_toolkit as mv
from medvlp_kad.queries import PUBLISHED, PublishedQueries, QueryEncoder
from medvlp_toolkit.data import PackedStore
from medvlp_toolkit.errors import user_message
from medvlp_toolkit.evaluation.results import Results
from medvlp_toolkit.weights import read_weights
from tests.bundles.running import make_workflow, run_bundle
from tests.bundles.whole_run import SHORT, Data, Run, prepare, text_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("phantoms")
    store = prepare(folder, recipe="kad")
    return Data(store, folder / "none", text_model(folder))


@pytest.fixture(scope="module")
def trained(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs of the demo on 48 phantoms."""
    made = Run("kad", tmp_path_factory.mktemp("trained"), data, {"image_size": 64})
    made.train(epochs=2)
    return made


@pytest.fixture(scope="module")
def results(trained: Run) -> Results:
    trained.after("evaluate", "demo", dataset_dir=str(trained.data.store), image_size=64)
    return Results.read(trained.output / "evaluation")


def overrides(trained: Run, **more: Any) -> dict[str, Any]:
    where = {"dataset_dir": str(trained.data.store), "output_dir": str(trained.output), "image_size": 64}
    return {**where, "knowledge_dir": str(trained.data.text_model), **SHORT["kad"], **more}


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = (read_weights(file, key="model") for file in (one, other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], msg=f"{name} differs after resuming")


# -- training ---------------------------------------------------------------------------------------


def test_stage_two_begins_with_the_text_side_of_stage_one(trained: Run) -> None:
    workflow = make_workflow(
        "train", "demo", bundle="kad", **overrides(trained, output_dir=str(trained.folder / "new"))
    )
    model = workflow.parser.get_parsed_content("model")
    learned = read_weights(trained.data.text_model.parent / "best.pt", key="model")
    for part in ("text_encoder", "text_projection"):
        for name, value in getattr(model, part).state_dict().items():
            torch.testing.assert_close(value, learned[f"{part}.{name}"])
    workflow.finalize()


def test_training_exports_the_names_as_the_best_weights_embed_them(trained: Run) -> None:
    exported = read_weights(trained.output / "model.pt")
    assert not any(name.startswith("text") for name in exported)
    workflow = trained.after("evaluate", results_dir=str(trained.folder / "again"))
    best = workflow.parser.get_parsed_content("trained_model").model
    torch.testing.assert_close(exported["entity_bank"], best.entity_queries().detach())
    names = workflow.parser.get_parsed_content("as_trained")["entity_names"]
    torch.testing.assert_close(QueryEncoder(best)(names), exported["entity_bank"])


def test_what_describes_the_model_holds_no_text_of_reports(trained: Run) -> None:
    described = (trained.output / "model.json").read_text()
    reports = PackedStore.open(trained.data.store).studies.column("text").to_pylist()
    sentences = {sentence.strip() for text in reports for sentence in text.split(".") if len(sentence.split()) > 3}
    assert len(sentences) > 20
    assert not [sentence for sentence in sentences if sentence in described]


def test_resuming_goes_on_to_the_same_weights(trained: Run, tmp_path: Path) -> None:
    shutil.copytree(trained.output, tmp_path / "run")
    (tmp_path / "run" / "checkpoint_epoch=2.pt").unlink()
    run_bundle(
        "train", "demo", "resume", bundle="kad", **overrides(trained, output_dir=str(tmp_path / "run"), epochs=2)
    )
    assert_same_weights(trained.output / "checkpoint_epoch=2.pt", tmp_path / "run" / "checkpoint_epoch=2.pt")


def test_resuming_stage_one_goes_on_to_the_same_weights(data: Data, tmp_path: Path) -> None:
    ended = data.text_model.parent
    shutil.copytree(ended, tmp_path / "run")
    (tmp_path / "run" / "checkpoint_epoch=2.pt").unlink()
    text_model(tmp_path, output_dir=str(tmp_path / "run"), resume=True)
    assert_same_weights(ended / "checkpoint_epoch=2.pt", tmp_path / "run" / "checkpoint_epoch=2.pt")


def test_without_stage_one_that_is_said(trained: Run, tmp_path: Path) -> None:
    missing = str(tmp_path / "none" / "text_model")
    with pytest.raises(Exception) as caught:
        run_bundle("train", "demo", bundle="kad", **overrides(trained, knowledge_dir=missing, output_dir=str(tmp_path)))
    assert f"'{missing}' cannot be loaded" in (user_message(caught.value) or "")


def test_the_published_queries_are_findings_that_filters_know() -> None:
    queries = PublishedQueries()
    assert len(queries) == 41
    assert set(queries.ids) <= set(mv.report_filters.rules().entities)
    assert queries.descriptions("{name}") == list(PUBLISHED.values())


# -- evaluation and inference -----------------------------------------------------------------------


def test_findings_held_out_are_asked_for_by_name(results: Results) -> None:
    assert set(results.metrics["zero_shot_held_out"]["labels"]) == {"edema", "catheter"}


def test_findings_of_a_file_are_asked_for_by_name(trained: Run, tmp_path: Path) -> None:
    mine = {"hernia": "Hernia: part of the stomach lies in the chest."}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    new = {"_target_": "medvlp_toolkit.knowledge_sources.definitions", "path": str(tmp_path / "mine.yaml")}
    trained.after("evaluate", results_dir=str(tmp_path / "results"), held_out_entities=new)
    with (tmp_path / "results" / "probabilities.csv").open(newline="") as stream:
        row = next(csv.DictReader(stream))
    assert 0 < float(row["hernia"]) < 1


def test_boxes_are_pointed_at_and_sides_told_by_attention(results: Results) -> None:
    assert results.metrics["grounding"]["groups"]["all"]["n"] > 0
    assert set(results.metrics["laterality"]) == {"attention"}


def test_the_results_say_which_recipe_they_are_of(results: Results) -> None:
    assert results.run["bundle"] == "KAD"


@pytest.mark.parametrize(
    ("configs", "kind"),
    [
        (("train", "demo"), "train"),
        (("train", "demo", "resume"), "train"),
        (("train", "demo", "multi_gpu_train"), "train"),
        (("knowledge", "knowledge_demo"), "train"),
        (("evaluate",), "infer"),
    ],
)
def test_every_property_that_monai_asks_for_is_there(
    configs: tuple[str, ...], kind: str, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29524"}.items():
        monkeypatch.setenv(key, value)
    options = overrides(trained) if configs[0] == "train" else {"output_dir": str(trained.output)}
    workflow = make_workflow(*configs, bundle="kad", workflow_type=kind, **options)
    try:
        assert workflow.check_properties() == []
    finally:
        workflow.finalize()
