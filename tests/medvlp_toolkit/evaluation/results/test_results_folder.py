from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medvlp_toolkit.evaluation.results import results as results_module
from medvlp_toolkit.evaluation.results.results import Results, ResultsError, write_probabilities
from medvlp_toolkit.evaluation.results.run_record import config_sha256, run_record, split_sha256
from medvlp_toolkit.evaluation.zero_shot.classification import score_table

CONFIG = {"batch_size": 4, "network": {"_target_": "x.y", "width": 8}}


def table(scores: tuple[float, float] = (0.9, 0.2)) -> pa.Table:
    return score_table(
        ["s1", "s2"], [[1], [-1]], [[scores[0]], [scores[1]]], ["nodule"], patient_id=["p1", "p1"], split="test"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "evaluation"
    Results.write(path, table(), {"auc": np.float32(0.5), "bad": float("nan")}, run_record(CONFIG, device="cpu"))
    return path


def test_what_is_written_is_read_again(folder: Path) -> None:
    results = Results.read(folder)
    assert results.scores.equals(table())
    assert results.labels == ("nodule",)
    assert results.target_matrix().tolist() == [[1], [-1]]
    assert results.score_matrix() == pytest.approx(np.array([[0.9], [0.2]], np.float32))
    assert results.metrics == {"auc": 0.5, "bad": None}
    assert results.run["config"] == CONFIG
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "run.json", "scores.parquet"]


def test_the_returned_results_equal_the_ones_read(tmp_path: Path) -> None:
    written = Results.write(tmp_path, table(), {"pair": (1, np.arange(2))}, {})
    read = Results.read(tmp_path)
    assert (written.metrics, written.run) == (read.metrics, read.run)
    assert written.scores.equals(read.scores)


def test_columns_may_come_as_a_dict_and_unknown_ones_are_filled(tmp_path: Path) -> None:
    columns = {"score:a": [0.5, 0.25], "study_id": ["x", "y"], "target:a": [1, None]}
    results = Results.write(tmp_path, columns, {}, {})
    assert results.scores.column_names == [
        "study_id", "patient_id", "split", "sex", "age", "view", "target:a", "score:a",
    ]  # fmt: skip
    assert results.scores["patient_id"].to_pylist() == ["x", "y"]
    assert results.scores["target:a"].to_pylist() == [1, -1]
    assert str(results.scores.schema.field("score:a").type) == "float"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"score:a": [0.5]}, "column study_id"),
        ({"study_id": ["x"], "score:a": [0.5]}, "a has only one"),
        ({"study_id": ["x"], "name": ["Doe"]}, "no columns name"),
        ({"study_id": ["x", "x"]}, "there twice"),
    ],
)
def test_a_table_outside_the_contract_is_refused_before_anything_is_written(tmp_path, columns, message) -> None:
    with pytest.raises(ValueError, match=message):
        Results.write(tmp_path / "new", columns, {}, {})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("missing", ["scores.parquet", "metrics.json", "run.json"])
def test_an_incomplete_folder_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ResultsError, match=f"incomplete, it lacks {missing}"):
        Results.read(folder)


def test_no_folder_or_no_results_in_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such folder"):
        Results.read(tmp_path / "nowhere")
    with pytest.raises(ResultsError, match="no results in it"):
        Results.read(tmp_path)


def test_files_of_two_evaluations_mixed_are_refused(folder: Path, tmp_path: Path) -> None:
    Results.write(tmp_path / "other", table((0.1, 0.3)), {}, {})
    (folder / "scores.parquet").write_bytes((tmp_path / "other/scores.parquet").read_bytes())
    with pytest.raises(ResultsError, match=r"scores\.parquet is not the file that run\.json lists"):
        Results.read(folder)


def test_another_schema_version_and_a_damaged_record_are_refused(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"schema_version": 99}))
    with pytest.raises(ResultsError, match="schema 99, this version reads 1"):
        Results.read(folder)
    (folder / "run.json").write_text("{")
    with pytest.raises(ResultsError, match=r"run\.json: damaged"):
        Results.read(folder)


def test_an_evaluation_cut_short_leaves_no_folder_that_reads_as_whole(folder: Path, monkeypatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(results_module.json, "dumps", full_disk)
    with pytest.raises(OSError, match="No space"):
        Results.write(folder, table((0.1, 0.3)), {}, {})
    monkeypatch.undo()
    with pytest.raises(ResultsError, match="incomplete"):
        Results.read(folder)
    assert not list(folder.glob(".*"))


def test_other_files_in_the_folder_stay(folder: Path) -> None:
    (folder / "overlays").mkdir()
    Results.write(folder, table((0.1, 0.3)), {}, {})
    assert (folder / "overlays").is_dir()
    assert Results.read(folder).score_matrix()[0, 0] == pytest.approx(0.1)


def test_the_run_records_what_it_was_made_of(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    run = run_record(CONFIG, tmp_path / "model.pt", "cpu", {"training": 3.5}, bundle="medklip")
    results = Results.write(tmp_path / "out", table(), {}, run)
    record = results.run
    assert record["hashes"]["config"] == config_sha256(CONFIG)
    assert record["hashes"]["checkpoint"] == hashlib.sha256(b"weights").hexdigest()
    assert record["hashes"]["data_split"] == split_sha256(["s2", "s1"], ["test", "test"])
    assert record["checkpoint"] == "model.pt"
    assert record["bundle"] == "medklip"
    assert record["seconds"] == {"training": 3.5}
    assert {"python", "torch", "numpy", "scikit-learn"} <= set(record["versions"])
    assert record["device"].startswith("cpu")


def test_hashes_do_not_depend_on_order_but_on_content() -> None:
    assert config_sha256({"a": 1, "b": 2}) == config_sha256({"b": 2, "a": 1})
    assert config_sha256({"a": 1}) != config_sha256({"a": 2})
    assert split_sha256(["x", "y"], ["train", "test"]) == split_sha256(["y", "x"], ["test", "train"])
    assert split_sha256(["x", "y"], ["train", "test"]) != split_sha256(["x", "y"], ["test", "train"])


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.pt: no such checkpoint"):
        run_record({}, tmp_path / "model.pt")


def test_probabilities_are_labelled_by_image(tmp_path: Path) -> None:
    path = write_probabilities(
        tmp_path / "sub" / "probabilities.csv", ["i,1", "i2"], np.array([[0.25, 1], [0, 0.125]]), ["nodule", "edema"]
    )
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "nodule", "edema"]
    assert [rows[1][0], *map(float, rows[1][1:])] == ["i,1", 0.25, 1]
    assert [rows[2][0], *map(float, rows[2][1:])] == ["i2", 0, 0.125]


def test_probabilities_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 images and 1 labels"):
        write_probabilities(tmp_path / "p.csv", ["a", "b"], np.zeros((1, 1)), ["x"])
    with pytest.raises(ValueError, match="differ"):
        write_probabilities(tmp_path / "p.csv", ["a"], np.zeros((1, 2)), ["x", "x"])


def test_the_table_is_ordinary_parquet(folder: Path) -> None:
    assert pq.read_table(folder / "scores.parquet").num_rows == 2


def rewritten(folder: Path, **changes: object) -> None:
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | changes))


def test_a_folder_whose_record_names_no_files_is_refused(folder: Path) -> None:
    rewritten(folder, files={})
    with pytest.raises(ResultsError, match=r"does not list scores\.parquet, metrics\.json"):
        Results.read(folder)


def test_scores_of_another_data_set_are_refused_even_with_their_hash_in_place(folder: Path, tmp_path: Path) -> None:
    other = score_table(["t1", "t2"], [[1], [0]], [[0.5], [0.5]], ["nodule"], split="test")
    pq.write_table(other, folder / "scores.parquet")
    run = json.loads((folder / "run.json").read_text())
    run["files"]["scores.parquet"] = hashlib.sha256((folder / "scores.parquet").read_bytes()).hexdigest()
    rewritten(folder, files=run["files"])
    with pytest.raises(ResultsError, match="from another data set or split"):
        Results.read(folder)


def test_cases_are_kept_hashed_and_removed_with_the_next_results(folder: Path) -> None:
    cases = pa.table({"finding": ["nodule"]})
    Results.write(folder, table(), {}, {}, cases)
    assert Results.read(folder).cases.equals(cases)
    (folder / "cases.parquet").write_bytes(b"something else")
    with pytest.raises(ResultsError, match=r"cases\.parquet is not the file"):
        Results.read(folder)
    (folder / "cases.parquet").unlink()
    with pytest.raises(ResultsError, match=r"incomplete, it lacks cases\.parquet"):
        Results.read(folder)
    Results.write(folder, table(), {}, {})
    assert Results.read(folder).cases is None


def test_further_subgroups_are_columns_of_the_table() -> None:
    scores = score_table(["s1", "s2"], [[1], [0]], [[0.9], [0.2]], ["x"], sex=["F", None], groups={"scanner": ["A", 7]})
    results = Results(scores, {}, {})
    assert results.groups["scanner"] == ["A", "7"]
    assert results.groups["sex"] == ["F", None]
    assert results.labels == ("x",)
