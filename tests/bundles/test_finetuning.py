"""Fine-tuning as a user runs it: classification and segmentation, from pre-trained and from random weights."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.errors import user_message
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.weights.weights import read_weights
from tests.bundles.running import demo_overrides, make_workflow, run_bundle

CLASSIFICATION = ("finetune_classification", "demo", "finetune_demo")
SEGMENTATION = ("finetune_segmentation", "demo", "segmentation_demo")


def classification_overrides(demo_run: Path, **more: Any) -> dict[str, Any]:
    return demo_overrides(
        demo_run, **{"output_dir": "run", "checkpoint": str(demo_run / "best.pt"), "epochs": 1, **more}
    )


def encoder_of(path: Path, prefix: str) -> dict[str, torch.Tensor]:
    state = read_weights(path, key="model")
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@pytest.fixture(scope="session")
def mask_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 synthetic phantoms with masks of consolidation."""
    folder = tmp_path_factory.mktemp("segmentation") / "store"
    sizes = {"source::count": 60, "image_size": 64, "workers": 0}
    run_bundle("prepare", "demo", "segmentation_demo", **{"dataset_dir": str(folder), **sizes})
    return folder


def segmentation_overrides(mask_store: Path, **more: Any) -> dict[str, Any]:
    return {"dataset_dir": str(mask_store), "output_dir": "run", "image_size": 64, "epochs": 1, **more}


# -- classification ---------------------------------------------------------------------------


def test_full_fine_tuning_leaves_results_of_the_test_split(demo_run: Path, elsewhere: Path) -> None:
    run_bundle(*CLASSIFICATION, **classification_overrides(demo_run, label_fraction=0.5))
    store = PackedStore.open(demo_run / "store")
    results = Results.read(elsewhere / "run" / "evaluation")
    assert results.scores["study_id"].to_pylist() == store.values("study_id", store.rows("test"))
    assert results.labels == store.labels
    assert "f1_threshold_from_validate" in results.metrics["fine_tuned"]["macro"]
    assert results.run["checkpoint"] == "best.pt"
    assert results.run["config"]["training_studies"] == len(store.rows("train")) // 2
    assert results.metrics["seconds"]["training"] > 0
    ids = (elsewhere / "run" / "training_ids.txt").read_text().split()
    assert len(ids) == len(store.rows("train")) // 2
    assert set(ids) <= set(store.values("study_id", store.rows("train")) or [])


def test_the_encoder_starts_from_pretraining_and_learns(demo_run: Path, elsewhere: Path) -> None:
    workflow = make_workflow(*CLASSIFICATION, **classification_overrides(demo_run))
    start = workflow.network_def.image_encoder.state_dict()
    pretrained = encoder_of(demo_run / "best.pt", "model.image_encoder.")
    assert all(torch.equal(start[name], value) for name, value in pretrained.items())
    workflow.run()
    learned = encoder_of(elsewhere / "run" / "best.pt", "image_encoder.")
    assert not torch.equal(learned["conv1.weight"], pretrained["conv1.weight"])


def test_linear_probing_changes_the_last_layer_alone(demo_run: Path, elsewhere: Path) -> None:
    run_bundle(*CLASSIFICATION, **classification_overrides(demo_run, freeze=True))
    pretrained = encoder_of(demo_run / "best.pt", "model.image_encoder.")
    probed = encoder_of(elsewhere / "run" / "best.pt", "image_encoder.")
    assert all(torch.equal(probed[name], value) for name, value in pretrained.items())


def test_random_weights_are_a_baseline(demo_run: Path, elsewhere: Path) -> None:
    workflow = make_workflow(*CLASSIFICATION, **classification_overrides(demo_run, checkpoint="null"))
    start = workflow.network_def.image_encoder.state_dict()
    assert not torch.equal(
        start["conv1.weight"], encoder_of(demo_run / "best.pt", "model.image_encoder.")["conv1.weight"]
    )


def test_an_own_list_of_studies_is_taken_as_it_is(demo_run: Path, elsewhere: Path) -> None:
    store = PackedStore.open(demo_run / "store")
    chosen = (store.values("study_id", store.rows("train")) or [])[:7]
    (elsewhere / "chosen.txt").write_text("\n".join(chosen))
    workflow = make_workflow(*CLASSIFICATION, **classification_overrides(demo_run, id_list="chosen.txt"))
    assert sorted(workflow.train_dataset.study_ids) == sorted(chosen)
    workflow.run()  # fewer studies than one batch: nothing is dropped
    assert workflow.trainer.state.iteration == 1


def test_the_evaluation_alone_gives_the_same_figures(demo_run: Path, elsewhere: Path) -> None:
    run_bundle(*CLASSIFICATION, **classification_overrides(demo_run))
    first = json.loads((elsewhere / "run" / "evaluation" / "metrics.json").read_text())
    shutil.rmtree(elsewhere / "run" / "evaluation")
    run_bundle(*CLASSIFICATION, run_id="evaluate", **classification_overrides(demo_run))
    again = json.loads((elsewhere / "run" / "evaluation" / "metrics.json").read_text())
    assert again["fine_tuned"] == first["fine_tuned"]


def test_the_test_set_is_seen_whole_and_without_augmentation(demo_run: Path, elsewhere: Path) -> None:
    """Published evaluation drops the last batch and augments validation."""
    overrides = classification_overrides(demo_run, batch_size=7)
    workflow = make_workflow(*CLASSIFICATION, **overrides)
    dataset = workflow.parser.get_parsed_content("test::dataset")
    loader = workflow.parser.get_parsed_content("test::loader")
    assert len(dataset) % 7 != 0
    assert sum(len(batch["row"]) for batch in loader) == len(dataset)
    step = workflow.parser.get_parsed_content("validate::step")
    batch = next(iter(loader))
    other = {**batch, "augmentation_draws": torch.rand_like(batch["augmentation_draws"])}
    assert torch.equal(step.transform(batch)["image"], step.transform(other)["image"])


def test_the_published_network_has_four_stages_and_the_probe_three(demo_run: Path, elsewhere: Path) -> None:
    overrides = {"dataset_dir": str(demo_run / "store"), "output_dir": "run", "checkpoint": "null"}
    whole = make_workflow("finetune_classification", **overrides).network_def
    assert whole.head.in_features == 2048
    probe = make_workflow("finetune_classification", freeze=True, **overrides).network_def
    assert probe.head.in_features == 1024


def test_published_defaults_of_optimisation(demo_run: Path, elsewhere: Path) -> None:
    overrides = {"dataset_dir": str(demo_run / "store"), "output_dir": "run", "checkpoint": "null"}
    workflow = make_workflow("finetune_classification", **overrides)
    optimizer = workflow.parser.get_parsed_content("optimizer")
    scheduler = workflow.parser.get_parsed_content("lr_scheduler")
    assert [group["lr"] for group in optimizer.param_groups] == [1e-5, 1e-5]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.02, 0.0]
    assert [scheduler.lr_lambdas[0](step) for step in (0, 1000, 10**6)] == [1, 1, 1]
    assert workflow.parser.get_parsed_content("batch_size") == 64


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"label_names": ["oedema"]}, "no label oedema"),
        ({"label_fraction": 0}, "label_fraction is 0"),
        ({"id_list": "absent.txt"}, "no list of ids"),
        ({"checkpoint": "absent.pt"}, "no checkpoint at absent.pt"),
        ({"activation": "relu"}, "sigmoid, softmax"),
        ({"validation_split": "val"}, "no study in split val"),
    ],
)
def test_a_mistake_ends_in_one_line(
    overrides: dict[str, object], expected: str, demo_run: Path, elsewhere: Path
) -> None:
    with pytest.raises(Exception) as caught:
        run_bundle(*CLASSIFICATION, **classification_overrides(demo_run, **overrides))
    message = user_message(caught.value)
    assert message is not None
    assert expected in message


@pytest.mark.parametrize("freeze", [False, True])
def test_radiographs_with_labels_are_fine_tuned_after_weak_pairs(freeze: bool, elsewhere: Path) -> None:
    """The overlay on a table of the layout that it expects: evaluation images stay apart, both ways of training run."""
    from PIL import Image

    draw = np.random.default_rng(0)
    (elsewhere / "nih" / "images").mkdir(parents=True)
    with (elsewhere / "nih" / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "split", "patient_id", "age", "sex", "view", "labels"])
        for number in range(60):
            Image.fromarray(draw.integers(0, 255, (48, 48), np.uint8)).save(elsewhere / "nih/images" / f"{number}.png")
            labels = "Effusion|Mass" if number % 3 == 0 else ""
            writer.writerow([f"{number}.png", "eval" if number >= 40 else "train", number, 50, "F", "PA", labels])
    overlays = ("weak_pairs", "weak_pairs_finetune")
    sizes: dict[str, Any] = {
        "nih_dir": "nih",
        "dataset_dir": "store",
        "stored_size": 40,
        "image_size": 32,
        "workers": 0,
    }
    run_bundle("prepare", *overlays, **sizes)
    store = PackedStore.open("store")
    assert set(store.meta["counts"]["splits"]) == {"train", "validate", "eval"}
    more: dict[str, Any] = {"checkpoint": "null", "freeze": freeze, "epochs": 1, "output_dir": "run"}
    workflow = run_bundle("finetune_classification", *overlays, **sizes, **more)
    results = Results.read(elsewhere / "run" / "evaluation")
    assert results.scores["study_id"].to_pylist() == store.values("study_id", store.rows("eval"))
    assert workflow.network_def.image_encoder.conv1.weight.requires_grad != freeze


# -- segmentation -----------------------------------------------------------------------------


def test_segmentation_leaves_overlap_per_image_and_pictures(
    mask_store: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_bundle(*SEGMENTATION, **segmentation_overrides(mask_store))
    store = PackedStore.open(mask_store)
    results = Results.read(elsewhere / "run" / "evaluation")
    measured = results.metrics["segmentation"]
    test = store.rows("test")
    assert measured["n"] == len(test)
    assert measured["positives"] == int(store.masks[test].any(axis=(1, 2, 3)).sum())
    assert results.labels == ("consolidation",)
    rows = list(csv.DictReader((elsewhere / "run" / "evaluation" / "segmentation.csv").open()))
    assert [row["study_id"] for row in rows] == store.values("study_id", test)
    assert (elsewhere / "run" / "evaluation" / "overlays" / "overlays.png").exists()
    assert "Segmentation of consolidation" in capsys.readouterr().out


def test_segmentation_starts_from_the_pretrained_encoder(demo_run: Path, mask_store: Path, elsewhere: Path) -> None:
    workflow = make_workflow(*SEGMENTATION, **segmentation_overrides(mask_store, checkpoint=str(demo_run / "best.pt")))
    start = workflow.network_def.image_encoder.state_dict()
    pretrained = encoder_of(demo_run / "best.pt", "model.image_encoder.")
    assert all(torch.equal(start[name], value) for name, value in pretrained.items())


def test_a_store_without_masks_is_refused_in_one_line(demo_run: Path, elsewhere: Path) -> None:
    with pytest.raises(Exception) as caught:
        run_bundle(*SEGMENTATION, **segmentation_overrides(demo_run / "store"))
    assert "this store has no masks" in (user_message(caught.value) or "")


def test_the_best_epoch_of_validation_is_the_one_evaluated(mask_store: Path, elsewhere: Path) -> None:
    workflow = run_bundle(*SEGMENTATION, **segmentation_overrides(mask_store, epochs=3))
    evaluator = workflow.parser.get_parsed_content("validate::evaluator")
    best = evaluator.state.best_metric_epoch
    kept = read_weights(elsewhere / "run" / "best.pt")
    last = torch.load(elsewhere / "run" / "checkpoint_epoch=3.pt", weights_only=True)["model"]
    same = all(torch.equal(kept[name], last[name]) for name in kept)
    assert same == (best == 3)


@pytest.mark.parametrize("configs", [CLASSIFICATION, SEGMENTATION])
def test_every_property_that_monai_asks_for_is_there(
    configs: tuple[str, ...], demo_run: Path, mask_store: Path, elsewhere: Path
) -> None:
    chosen = classification_overrides(demo_run) if configs is CLASSIFICATION else segmentation_overrides(mask_store)
    assert make_workflow(*configs, **chosen).check_properties() == []


@pytest.mark.slow
def test_the_segmentation_demo_outlines_consolidation(elsewhere: Path) -> None:
    run_bundle("prepare", "demo", "segmentation_demo")
    run_bundle(*SEGMENTATION)
    measured = Results.read(elsewhere / "runs" / "segmentation_demo" / "evaluation").metrics["segmentation"]
    assert measured["dice_positives"] >= 0.80


# -- the encoder is named once, at pre-training ---------------------------------------------------


@pytest.fixture(scope="module")
def transformer_run(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pre-training whose one overlay names another image encoder."""
    folder = tmp_path_factory.mktemp("transformer")
    overlay = folder / "mine.yaml"
    overlay.write_text(
        "image_size: 32\n"
        "image_encoder: {_target_: medvlp_toolkit.encoders.clip_vit, image_size: '@image_size', patch_size: 8,"
        " width: 32, layers: 2, heads: 2, in_channels: 1}\n"
    )
    overrides = {**demo_overrides(demo_run, output_dir=str(folder), epochs=1, attention_images=0)}
    del overrides["image_size"]
    run_bundle("train", "demo", str(overlay.with_suffix("")), **overrides)
    return folder


def small_overrides(demo_run: Path, pretraining: Path, **more: Any) -> dict[str, Any]:
    """What a user of the pre-trained weights sets: nothing of the model."""
    known = {"dataset_dir": str(demo_run / "store"), "checkpoint": str(pretraining / "best.pt"), "output_dir": "run"}
    return {**known, "epochs": 1, "batch_size": 16, **more}


@pytest.mark.parametrize("freeze", [False, True])
def test_an_encoder_without_stages_is_fine_tuned_as_pretraining_described_it(
    freeze: bool, transformer_run: Path, demo_run: Path, elsewhere: Path
) -> None:
    overrides = small_overrides(demo_run, transformer_run, freeze=freeze)
    workflow = run_bundle("finetune_classification", **overrides)
    assert type(workflow.network_def.image_encoder).__name__ == "ClipVisionTransformer"
    transform = workflow.parser.get_parsed_content("evaluation_transform")
    assert (transform.image_size, transform.mean.tolist()) == (32, pytest.approx([0.45]))
    assert workflow.parser.get_parsed_content("augmentation").mean.tolist() == pytest.approx([0.45])
    assert Results.read(elsewhere / "run" / "evaluation").metrics["fine_tuned"]["macro"]


def test_another_image_size_resamples_what_was_pretrained(
    transformer_run: Path, demo_run: Path, elsewhere: Path
) -> None:
    workflow = make_workflow("finetune_classification", **small_overrides(demo_run, transformer_run, image_size=64))
    assert workflow.network_def.image_encoder.positional_embedding.shape == (65, 32)
    start = workflow.network_def.image_encoder.state_dict()
    pretrained = encoder_of(transformer_run / "best.pt", "model.image_encoder.")
    assert torch.equal(start["blocks.0.ln_1.weight"], pretrained["blocks.0.ln_1.weight"])


def test_a_residual_network_gains_its_fourth_stage_where_it_has_one(demo_run: Path, elsewhere: Path) -> None:
    """The demo's has three; the published one four, of which three are pre-trained."""
    overrides = small_overrides(demo_run, demo_run)
    small = make_workflow("finetune_classification", **overrides).network_def.image_encoder
    assert small.feature_channels == (32, 32, 64, 128)
    wide = elsewhere / "wide.yaml"
    wide.write_text(
        "image_encoder: {_target_: medvlp_toolkit.encoders.resnet, depth: 10, in_channels: 1, widths: [8, 8, 8, 16]}\n"
    )
    pretraining = demo_overrides(demo_run, output_dir="wide", epochs=1, attention_images=0)
    run_bundle("train", "demo", str(wide.with_suffix("")), **pretraining)
    overrides["checkpoint"] = "wide/best.pt"
    whole = make_workflow("finetune_classification", **overrides).network_def.image_encoder
    assert whole.feature_channels == (8, 8, 8, 8, 16)
    probe = make_workflow("finetune_classification", freeze=True, **overrides).network_def.image_encoder
    assert probe.feature_channels == (8, 8, 8, 8)


def test_a_fine_tuned_encoder_is_fine_tuned_further(transformer_run: Path, demo_run: Path, elsewhere: Path) -> None:
    run_bundle("finetune_classification", **small_overrides(demo_run, transformer_run))
    shutil.move("run", "first")
    further = make_workflow("finetune_classification", **small_overrides(demo_run, elsewhere / "first"))
    learned = encoder_of(elsewhere / "first" / "best.pt", "image_encoder.")
    start = further.network_def.image_encoder.state_dict()
    assert all(torch.equal(start[name], value) for name, value in learned.items())


@pytest.mark.parametrize(
    ("given", "both"),
    [
        ({"image_encoder::depth": 18}, ("image_encoder::depth is 18", "trained with 10")),
        ({"image_encoder": {"_target_": "medvlp_toolkit.encoders.resnet"}}, ("image_encoder::depth is absent", "10")),
        ({"evaluation_transform": {"mean": [0.2]}}, ("mean::0 is 0.2", "trained with 0.45")),
    ],
)
def test_an_encoder_that_contradicts_pretraining_is_refused(
    given: dict[str, Any], both: tuple[str, str], demo_run: Path, elsewhere: Path
) -> None:
    with pytest.raises(Exception) as caught:
        make_workflow("finetune_classification", **small_overrides(demo_run, demo_run, **given))
    message = user_message(caught.value)
    assert message is not None
    assert "\n" not in message
    assert all(part in message for part in both)


def test_segmentation_takes_the_encoder_as_pretraining_described_it(
    demo_run: Path, transformer_run: Path, mask_store: Path, elsewhere: Path
) -> None:
    overrides = {**small_overrides(demo_run, demo_run), "dataset_dir": str(mask_store)}
    workflow = run_bundle("finetune_segmentation", **overrides)
    assert workflow.network_def.image_encoder.feature_channels == (32, 32, 64, 128)
    assert "segmentation" in Results.read(elsewhere / "run" / "evaluation").metrics
    overrides["checkpoint"] = str(transformer_run / "best.pt")
    with pytest.raises(Exception) as caught:
        make_workflow("finetune_segmentation", **overrides)
    assert "offers no feature_maps" in (user_message(caught.value) or "")
