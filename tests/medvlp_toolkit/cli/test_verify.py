"""``medvlp verify``: lines for people, JSON for programs, an exit status for scripts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medvlp_toolkit.cli.main import app

CLEAN = Path(__file__).parents[1] / "verification" / "bundle"


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    shutil.copytree(CLEAN, tmp_path / "small")
    return tmp_path / "small"


def test_a_bundle_without_a_mistake_has_status_0(bundle: Path) -> None:
    status, shown, _ = run(bundle)
    assert status == 0
    assert shown.splitlines()[-1].startswith("✓ no problem in ")


def test_problems_are_reported_with_file_line_id_and_fix(bundle: Path) -> None:
    train = bundle / "configs" / "train.yaml"
    train.write_text(train.read_text().replace("depth: 18", "depht: 18"))
    status, shown, _ = run(bundle)
    assert status == 1
    told = "configs/train.yaml:22: encoder::depht: medvlp_toolkit.encoders.resnet takes no argument depht; did you mean"
    assert told in shown
    status, shown, _ = run(bundle, "--json")
    assert status == 1
    (problem,) = [one for one in json.loads(shown)["problems"] if one["id"] == "encoder::depht"]
    assert (problem["file"], problem["line"], problem["fix"]) == ("configs/train.yaml", 22, "did you mean 'depth'?")
    assert problem["mend"] == problem["fix"]  # the key's earlier name
    assert json.loads(shown)["ok"] is False


def test_configurations_and_settings_are_those_of_a_run(bundle: Path) -> None:
    options = ("--config", "configs/train.yaml,configs/overlay.yaml", "--set", "batch_size=2")
    status, shown, _ = run(bundle, *options, "--json")
    assert (status, json.loads(shown)["checked"]) == (0, [["configs/train.yaml", "configs/overlay.yaml"]])
    status, shown, _ = run(bundle, *options, "--set", "batch_sise=2")
    assert status == 1
    assert "--set: batch_sise: no id 'batch_sise' in configs/train.yaml, configs/overlay.yaml" in shown


def test_a_configuration_may_be_named_instead_of_the_folder(bundle: Path) -> None:
    status, shown, _ = run(bundle / "configs" / "train.yaml", "--json")
    assert (status, json.loads(shown)["checked"]) == (0, [["configs/train.yaml"]])


def test_mistakes_in_the_call_have_status_2(bundle: Path) -> None:
    for arguments in ((bundle / "nowhere",), (bundle, "--config", "nothing.yaml"), (bundle, "--set", "word")):
        status, shown, said = run(*arguments)
        assert (status, shown) == (2, "")
        assert said.startswith("medvlp: ")
