"""The contrastive bundle, from raw synthetic phantoms to zero-shot scores and retrieval, as a user runs it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import medvlp_toolkit as mv
from medvlp_toolkit.errors import user_message
from medvlp_toolkit.evaluation.results import Results
from medvlp_toolkit.weights import read_weights
from tests.bundles.running import BUNDLES, make_workflow, run_bundle
from tests.bundles.whole_run import SHORT, Data, Run, prepare

LOSSES = ("siglip", "convirt", "gloria")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    store = prepare(tmp_path_factory.mktemp("phantoms"), recipe="contrastive")
    return Data(store, store.parent / "none")


@pytest.fixture(scope="module")
def trained(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs of the demo on 48 phantoms."""
    made = Run("contrastive", tmp_path_factory.mktemp("trained"), data, {"image_size": 64})
    made.train(epochs=2)
    return made


@pytest.fixture(scope="module")
def results(trained: Run) -> Results:
    trained.after("evaluate")
    return Results.read(trained.output / "evaluation")


def overrides(trained: Run, **more: Any) -> dict[str, Any]:
    where = {"dataset_dir": str(trained.data.store), "output_dir": str(trained.output), "image_size": 64}
    return {**where, "precision": "fp32", **SHORT["contrastive"], **more}


# -- training ---------------------------------------------------------------------------------------


def test_training_exports_the_prompts_that_the_best_weights_embed(trained: Run, results: Results) -> None:
    exported = read_weights(trained.output / "model.pt")
    assert exported["prompts"].shape == (9, 128)
    assert not any(name.startswith("text") for name in exported)
    images = {row["image"]: row for row in rows_of(trained.output / "evaluation" / "probabilities.csv")}
    study = trained.data.radiograph(trained.folder / "radiograph.png")
    bundle = mv.load_bundle(BUNDLES / "contrastive", weights=trained.output / "model.pt", device="cpu")
    for finding, score in bundle.score(trained.folder / "radiograph.png").items():
        assert float(images[study][finding]) == pytest.approx(score, abs=1e-3)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_resuming_goes_on_to_the_same_weights(trained: Run, tmp_path: Path) -> None:
    shutil.copytree(trained.output, tmp_path / "run")
    (tmp_path / "run" / "checkpoint_epoch=2.pt").unlink()
    options = overrides(trained, output_dir=str(tmp_path / "run"), epochs=2)
    run_bundle("train", "demo", "resume", bundle="contrastive", **options)
    one, other = (
        read_weights(run / "checkpoint_epoch=2.pt", key="model") for run in (trained.output, tmp_path / "run")
    )
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=f"{name} differs after resuming")


@pytest.mark.parametrize("overlay", LOSSES)
def test_the_other_losses_take_the_place_of_clips(overlay: str, data: Data, tmp_path: Path) -> None:
    made = Run("contrastive", tmp_path, data, {"image_size": 64}, [overlay])
    model = made.train().parser.get_parsed_content("pretraining_model")
    assert type(model.losses["contrast"]).__name__.lower().startswith(overlay)
    made.after("evaluate")
    assert Results.read(made.output / "evaluation").metrics["zero_shot"]["labels"]
    assert (made.output / "model.safetensors").is_file()


# -- evaluation -------------------------------------------------------------------------------------


def test_findings_are_scored_by_prompts_and_by_description(results: Results) -> None:
    by_prompts, by_description = results.metrics["zero_shot"], results.metrics["zero_shot_by"]["description"]
    assert set(by_prompts["labels"]) == set(by_description["labels"])
    assert any(
        by_prompts["labels"][name]["auc"] != by_description["labels"][name]["auc"] for name in by_prompts["labels"]
    )


def test_reports_are_retrieved_by_images_and_images_by_reports(results: Results) -> None:
    (measured,) = results.metrics["retrieval"].values()
    assert measured["image_to_text"]["queries"] == 16
    assert measured["text_to_image"]["queries"] == measured["image_to_text"]["candidates"] <= 16
    assert 0 <= measured["image_to_text"]["R@1"] <= measured["image_to_text"]["R@10"] <= 1


def test_evaluation_prints_each_way_of_asking(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained.after("evaluate", results_dir=str(tmp_path / "results"))
    told = capsys.readouterr().out
    for title in ("Zero-shot classification", "Zero-shot classification by description", "Retrieval"):
        assert title in told


def test_findings_never_thought_of_in_training_are_asked_for(trained: Run, tmp_path: Path) -> None:
    mine = {"hernia": "Hernia: part of the stomach lies in the chest.", "effusion": "Effusion: fluid in the chest."}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    trained.after("evaluate", results_dir=str(tmp_path / "results"), entities=str(tmp_path / "mine.yaml"))
    assert set(rows_of(tmp_path / "results" / "probabilities.csv")[0]) == {"image", "hernia", "effusion"}
    assert list(Results.read(tmp_path / "results").metrics["zero_shot"]["labels"]) == ["effusion"]


def test_other_words_ask_otherwise(trained: Run, results: Results, tmp_path: Path) -> None:
    words = {"positive": "{name} is seen", "negative": "{name} is not seen"}
    trained.after("evaluate", results_dir=str(tmp_path / "results"), **words)
    one, other = (
        rows_of(trained.output / "evaluation" / "probabilities.csv"),
        rows_of(tmp_path / "results" / "probabilities.csv"),
    )
    assert [row["image"] for row in one] == [row["image"] for row in other]
    assert [row["effusion"] for row in one] != [row["effusion"] for row in other]


def test_features_are_written_per_study(trained: Run, tmp_path: Path) -> None:
    trained.after("evaluate", "features", features_dir=str(tmp_path / "features"))
    assert np.load(tmp_path / "features" / "features.npy").shape == (80, 128)


def test_the_report_page_takes_its_results(results: Results, trained: Run, tmp_path: Path) -> None:
    from medvlp_toolkit.evaluation.report.page import render

    page = render(Results.read(trained.output / "evaluation"))
    assert "Zero-shot" in page


# -- inference --------------------------------------------------------------------------------------


def test_a_radiograph_is_scored_for_every_finding(trained: Run, tmp_path: Path) -> None:
    trained.data.radiograph(tmp_path / "radiograph.png")
    trained.infer(tmp_path / "radiograph.png", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out" / "probabilities.csv")
    assert len(row) == 10
    assert all(0 < float(value) < 1 for name, value in row.items() if name != "image")


# -- MONAI and mistakes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configs", "kind"),
    [
        (("train", "demo"), "train"),
        (("train", "demo", "resume"), "train"),
        (("train", "demo", "multi_gpu_train"), "train"),
        (("evaluate",), "infer"),
    ],
)
def test_every_property_that_monai_asks_for_is_there(
    configs: tuple[str, ...], kind: str, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29523"}.items():
        monkeypatch.setenv(key, value)
    options = overrides(trained) if kind == "train" else {"output_dir": str(trained.output)}
    workflow = make_workflow(*configs, bundle="contrastive", workflow_type=kind, **options)
    try:
        assert workflow.check_properties() == []
    finally:
        workflow.finalize()


def test_a_loss_that_reads_the_fusion_module_is_refused_by_name(trained: Run, tmp_path: Path) -> None:
    losses = {"existence": {"_target_": "medvlp_toolkit.pretext_losses.entity_existence", "width": 128}}
    options = overrides(trained, output_dir=str(tmp_path / "run"), losses=losses, loss_weights={"existence": 1.0})
    with pytest.raises(Exception) as caught:
        run_bundle("train", "demo", bundle="contrastive", **options)
    message = user_message(caught.value) or ""
    assert "the loss 'existence' (EntityExistence) reads the fusion, and the model has none" in message


def test_pairs_of_a_dual_encoder_have_no_feature_and_that_is_said(trained: Run) -> None:
    from medvlp_toolkit.downstream import PairEncoder, PretrainedBundle

    given = PretrainedBundle(BUNDLES / "contrastive", checkpoint=trained.output / "best.pt")
    with pytest.raises(ValueError, match="a dual encoder without a fusion module"):
        PairEncoder(given.model)
