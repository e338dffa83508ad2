"""The Python of how-to pages, with the commands that read what it writes."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp_phantom import Phantom
from medvlp_toolkit.evaluation import Results
from tests.docs.scenes import dicom
from tests.docs.test_documentation import ROOT, blocks
from tests.docs.test_report_filters import own_programs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    return tmp_path


def run_python(page: str) -> None:
    names = {"__name__": page}
    for code in blocks(ROOT / "docs" / page, "python"):
        exec(compile(code, page, "exec"), names)


def test_the_page_on_dicom_shows_the_file_upright_and_bright_where_it_is_dense(here: Path) -> None:
    image = Phantom(seed=3, size=96).study(0).image
    dicom(here / "my" / "radiograph.dcm", image)
    run_python("dicom.md")
    seen = np.asarray(Image.open("seen.png").resize((96, 96))).astype(float)
    assert np.corrcoef(seen.ravel(), image.astype(float).ravel())[0, 1] > 0.95


def test_the_page_on_scores_ends_in_pages_of_figures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    their_scores(here / "my" / "their_scores.csv")
    labelled_store(here)
    run_python("scores.md")
    assert "'effusion': 1.0" in capsys.readouterr().out
    assert Results.read("runs/on_store/evaluation").labels == ("effusion", "cardiomegaly")
    (here / "runs/other").symlink_to(here / "runs/theirs")
    environment = {**os.environ, "PATH": os.pathsep.join([str(own_programs(here / "bin")), os.environ["PATH"]])}
    for command in blocks(ROOT / "docs/scores.md", "bash"):
        done = subprocess.run(
            ["bash", "-e", "-c", command], env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
    assert "1.000" in Path("report.html").read_text()
    assert "Theirs" in Path("comparison.html").read_text()


def their_scores(path: Path) -> None:
    """Effusion in perfect order, cardiomegaly at random."""
    draw = np.random.default_rng(0)
    header = ["study_id", "patient_id", "effusion", "effusion_score", "cardiomegaly", "cardiomegaly_score"]
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(header)
        for number in range(60):
            effusion, heart = int(draw.random() < 0.4), int(draw.random() < 0.4)
            table.writerow(
                [f"s{number}", f"p{number // 2}", effusion, effusion + draw.random() / 2, heart, draw.random()]
            )


def labelled_store(here: Path) -> None:
    import medvlp_toolkit as mv
    from medvlp_toolkit.preparing import Prepare, SplitByPatient

    folder, phantom = here / "my", Phantom(seed=3, size=48)
    rows: list[list[object]] = [["image", "report", "patient_id", "effusion", "cardiomegaly"]]
    for number in range(40):
        study = phantom.study(number)
        Image.fromarray(study.image).save(folder / f"{number}.png")
        rows.append([f"{number}.png", study.report.text, f"p{number}", *(int(number % n == 0) for n in (2, 3))])
    with (folder / "studies.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    labels, split = ["effusion", "cardiomegaly"], {"train": 0.5, "validate": 0.1, "test": 0.4}
    source = mv.data_sources.csv(file=folder / "studies.csv", report_column="report", label_columns=labels)
    rules, by_patient = mv.report_filters.rules(), SplitByPatient(fractions=split)
    Prepare(source, "data/labelled", report_filter=rules, image_size=48, workers=0, split=by_patient).run()
