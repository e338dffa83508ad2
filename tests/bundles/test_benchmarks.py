"""Every benchmark's overlay runs from the published layout to results: stored, scored zero-shot, fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.evaluation.results.results import Results
from tests.bundles.benchmark_files import BENCHMARKS
from tests.bundles.running import make_workflow, run_bundle

SMALL = {
    "image_size": 32,
    "stored_size": 40,
    "width": 16,
    "text_width": 16,
    "grid": [2, 2],
    "epochs": 1,
    "batch_size": 8,
    "workers": 0,
    "image_encoder": {"_target_": "medvlp_toolkit.encoders.resnet", "depth": 10, "widths": [4, 8, 8]},
    "fusion": {
        "_target_": "medvlp_toolkit.fusion_modules.entity_query_decoder", "width": "@width", "layers": 1,
        "heads": 2, "feed_forward": 16,
    },
    "text_model": {
        "_target_": "medvlp_toolkit.encoders.transformers_text", "_mode_": "callable", "seed": 0,
        "config": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
        "corpus": ["a viral infection of the lungs with opacities"],
    },
}  # fmt: skip
ZERO_SHOT = ["chestxray14", "rsna_pneumonia", "siim_pneumothorax", "covidx_cxr2", "covid_rural"]
CLASSIFIED = ["chestxray14", "rsna_pneumonia", "siim_pneumothorax", "covidx_cxr2", "edema_severity"]
SEGMENTED = ["rsna_pneumonia", "siim_pneumothorax", "covid_rural"]


class Stores:
    """Stores of the benchmarks, each prepared when it is first asked for, and a model with random weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.small = folder / "small.yaml"
        self.small.write_text(yaml.safe_dump(SMALL))
        self.made: dict[str, dict[str, str]] = {}

    def arguments(self, name: str, **more: Any) -> dict[str, Any]:
        """Overrides that point a benchmark's overlay at its store."""
        if name not in self.made:
            own = BENCHMARKS[name](self.folder / name / "published")
            self.made[name] = {**own, "dataset_dir": str(self.folder / name / "store")}
            run_bundle("prepare", f"benchmarks/{name}", str(self.small.with_suffix("")), **self.made[name])
        return {**self.made[name], "checkpoint": str(self.checkpoint), "output_dir": "run", **more}

    @property
    def checkpoint(self) -> Path:
        path = self.folder / "pretraining.pt"
        if not path.exists():
            torch.manual_seed(0)
            workflow = make_workflow("evaluate", str(self.small.with_suffix("")), workflow_type="infer")
            model = workflow.parser.get_parsed_content("pretraining_model")
            torch.nn.init.normal_(model.model.entity_bank)
            torch.save({"model": model.state_dict()}, path)
        return path

    def run(self, config: str, name: str, **more: Any) -> Results:
        arguments = self.arguments(name, **more)
        kind = "infer" if config == "evaluate" else "train"
        run_bundle(config, f"benchmarks/{name}", str(self.small.with_suffix("")), workflow_type=kind, **arguments)
        return Results.read(Path("run") / "evaluation")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores(tmp_path_factory.mktemp("benchmarks"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_image_is_stored_in_a_split_without_a_patient_in_two(name: str, stores: Stores, elsewhere: Path) -> None:
    store = PackedStore.open(stores.arguments(name)["dataset_dir"])
    splits = store.meta["counts"]["splits"]
    assert set(splits) == {"train", "validate", "test"}
    assert not store.meta["counts"]["rejected"]
    of_patient: dict[str, set[str]] = {}
    studies = store.studies
    for patient, split in zip(studies["patient_id"].to_pylist(), studies["split"].to_pylist(), strict=True):
        of_patient.setdefault(patient, set()).add(split)
    assert all(len(found) == 1 for found in of_patient.values())


@pytest.mark.parametrize("name", ZERO_SHOT)
def test_zero_shot_evaluation_runs(name: str, stores: Stores, elsewhere: Path) -> None:
    results = stores.run("evaluate", name)
    described = name in ("covidx_cxr2", "covid_rural")
    metrics = results.metrics["zero_shot_held_out" if described else "zero_shot"]
    assert 0 <= metrics["macro"]["auc"] <= 1
    store = PackedStore.open(stores.arguments(name)["dataset_dir"])
    assert results.scores.num_rows == len(store.rows("test"))
    honest = {key for key in metrics["macro"] if key.endswith("_threshold_from_validate")}
    assert honest == (set() if name == "covid_rural" else {f"{m}_threshold_from_validate" for m in ("f1", "accuracy")})


def test_chestxray14_is_scored_by_the_published_mapping(stores: Stores, elsewhere: Path) -> None:
    results = stores.run("evaluate", "chestxray14")
    assert len(results.labels) == 14
    assert results.metrics["zero_shot"]["labels"]["Fibrosis"]["positives"] == 5
    assert results.metrics["grounding"]["findings"]["Effusion"]["n"] == 1


@pytest.mark.parametrize("name", ["siim_pneumothorax", "covid_rural"])
def test_grounding_is_judged_by_masks_where_there_are_any(name: str, stores: Stores, elsewhere: Path) -> None:
    results = stores.run("evaluate", name)
    store = PackedStore.open(stores.arguments(name)["dataset_dir"])
    test = store.rows("test")
    assert results.metrics["grounding"]["groups"]["all"]["n"] == int(store.masks[test].any(axis=(1, 2, 3)).sum())
    share = results.metrics["grounding"]["groups"]["all"]["truth_share"]
    assert share == pytest.approx(float(store.masks[test].mean(axis=(1, 2, 3))[1:].max()), abs=0.02)


@pytest.mark.parametrize("name", CLASSIFIED)
def test_classification_is_fine_tuned(name: str, stores: Stores, elsewhere: Path) -> None:
    results = stores.run("finetune_classification", name, whole_encoder=False, label_fraction=0.5)
    assert 0 <= results.metrics["fine_tuned"]["macro"]["auc"] <= 1
    assert results.run["config"]["label_fraction"] == 0.5


def test_grades_of_edema_exclude_each_other(stores: Stores, elsewhere: Path) -> None:
    results = stores.run("finetune_classification", "edema_severity", whole_encoder=False)
    assert results.score_matrix().sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (results.target_matrix().sum(axis=1) == 1).all()


@pytest.mark.parametrize("name", SEGMENTED)
def test_segmentation_is_fine_tuned(name: str, stores: Stores, elsewhere: Path) -> None:
    results = stores.run("finetune_segmentation", name)
    measured = results.metrics["segmentation"]
    assert 0 < measured["positives"] < measured["n"]
    assert results.labels == ({"covid_rural": "Opacity", "rsna_pneumonia": "Pneumonia"}.get(name, "Pneumothorax"),)


def test_boxes_become_masks_where_a_benchmark_has_boxes_only(stores: Stores, elsewhere: Path) -> None:
    arguments = stores.arguments("rsna_pneumonia")
    small = str(stores.small.with_suffix(""))
    workflow = make_workflow("finetune_segmentation", "benchmarks/rsna_pneumonia", small, **arguments)
    dataset = workflow.parser.get_parsed_content("test::dataset")
    batch = dataset.__getitems__(list(range(len(dataset))))
    share = batch["mask"].float().mean(dim=(1, 2, 3))
    expected = 300 / 1024 * 400 / 1024
    boxed = set(dataset.store.boxes["study"].to_pylist())
    for row, value in zip(batch["row"].tolist(), share.tolist(), strict=True):
        assert value == pytest.approx(expected if row in boxed else 0, abs=0.02)
