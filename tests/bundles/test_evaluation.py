"""What an evaluation of the demo leaves behind, and what training shows on its way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medvlp_toolkit.evaluation.report.page import write_report
from medvlp_toolkit.evaluation.results.results import Results
from tests.bundles.running import demo_overrides, run_bundle


@pytest.fixture(scope="module")
def evaluated(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the demo with probes."""
    folder = tmp_path_factory.mktemp("evaluated")
    overrides = {key: demo_overrides(demo_run)[key] for key in ("dataset_dir", "output_dir", "image_size")}
    run_bundle(
        *("evaluate", "demo", "probes"),
        **overrides,
        results_dir=str(folder),
        grid=[8, 8],
        cases=1,
        title="A small demo",
    )
    return folder


def test_results_hold_scores_metrics_cases_and_the_record_of_the_run(evaluated: Path) -> None:
    results = Results.read(evaluated)
    assert set(results.run["files"]) == {"scores.parquet", "metrics.json", "cases.parquet"}
    assert results.run["bundle"] == "MedKLIP"
    assert results.run["config"]["threshold_split"] == "validate"
    assert set(results.metrics) >= {"zero_shot", "zero_shot_held_out", "subgroups", "grounding", "laterality", "probes"}
    assert set(results.metrics["subgroups"]) == {"sex", "age", "view"}
    row = results.metrics["zero_shot"]["labels"]["effusion"]
    assert row["operating_point"]["split"] == "validate"
    assert results.scores["split"].unique().to_pylist() == ["test"]


def test_probes_cover_words_images_and_sides(evaluated: Path) -> None:
    probes = Results.read(evaluated).metrics["probes"]
    assert next(iter(probes["prompts"]["variants"])) == "description"
    assert len(probes["prompts"]["variants"]) == 6
    assert list(probes["image_probes"]) == ["as it is", "mirrored", "shuffled", "blank"]
    assert probes["laterality"]
    assert probes["images"] == len(Results.read(evaluated).scores)


def test_cases_carry_the_reports_sentences_and_no_id(evaluated: Path) -> None:
    cases = Results.read(evaluated).cases
    assert cases is not None
    assert {"found", "claimed"} <= set(cases["kind"].to_pylist())
    first = cases.slice(0, 1).to_pylist()[0]
    assert first["text"]
    assert all(first["text"][m["start"] : m["end"]] for m in first["marks"])
    assert "phantom-" not in json.dumps(cases.drop_columns(["image"]).to_pylist())


def test_the_report_shows_it_all(evaluated: Path, tmp_path: Path) -> None:
    page = write_report(evaluated, tmp_path / "page.html").read_text()
    for section in ("overview", "zero_shot", "curves", "calibration", "subgroups", "grounding", "probes", "cases"):
        assert f'id="{section}"' in page
    assert "A small demo" in page


def test_keeping_no_cases_keeps_no_image_and_no_text(demo_run: Path, tmp_path: Path) -> None:
    overrides = {key: demo_overrides(demo_run)[key] for key in ("dataset_dir", "output_dir", "image_size")}
    run_bundle("evaluate", "demo", **overrides, results_dir=str(tmp_path), grid=[8, 8], cases=0, overlays=0)
    assert Results.read(tmp_path).cases is None
    assert not (tmp_path / "cases.parquet").exists()


def test_figures_from_reports_are_marked_in_the_table_the_folder_and_the_page(
    demo_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = {key: demo_overrides(demo_run)[key] for key in ("dataset_dir", "output_dir", "image_size")}
    run_bundle("evaluate", "demo", **overrides, results_dir=str(tmp_path), grid=[8, 8], labels="stated", overlays=0)
    note = "labels derived from the reports by `rules`, not annotations"
    assert note in " ".join(capsys.readouterr().out.split())
    results = Results.read(tmp_path)
    assert results.metrics["labels"]["note"] == results.run["labels"]["note"] == note
    assert results.metrics["zero_shot"]["macro"]["auc"] > 0
    assert 0 <= results.metrics["zero_shot_held_out"]["labels"]["edema"]["auc"] <= 1
    page = write_report(tmp_path, tmp_path / "page.html").read_text()
    assert "Labels derived from the reports by `rules`, not annotations" in page


def test_training_shows_attention_on_the_same_studies_after_every_epoch(demo_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(demo_run / "tensorboard"), {"images": 0})
    events.Reload()
    assert [image.step for image in events.Images("attention")] == [1, 2]
    sheets = sorted((demo_run / "attention").glob("epoch_*.png"))
    assert [sheet.name for sheet in sheets] == ["epoch_001.png", "epoch_002.png"]
    assert sheets[0].read_bytes() != sheets[1].read_bytes()


def test_mlflow_keeps_track_where_it_is_installed(demo_run: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs MLflow: pip install medvlp-toolkit[mlflow]")
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    changes = {"output_dir": str(tmp_path), "epochs": 1, "mlflow": uri}
    run_bundle("train", "demo", **demo_overrides(demo_run, **changes))
    client = mlflow.MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "medvlp_toolkit"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["seed"] == "0"
    assert {"existence", "position", "entity_auc"} <= set(run.data.metrics)
