"""``medvlp bundle``: the shipped bundles are listed and copied, and nothing is overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medvlp_toolkit import shipped_bundles
from medvlp_toolkit.cli.main import app


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["bundle", *map(str, arguments)])
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two bundles: one complete and used, one without metadata."""
    folder = tmp_path / "shipped"
    recipe = folder / "recipe"
    for name, text in {
        "configs/metadata.json": json.dumps({"version": "0.3.0", "task": "Pre-training"}),
        "configs/train.yaml": "seed: 0\n",
        "docs/README.md": "# Recipe\n",
        "LICENSE": "Apache-2.0\n",
        "models/model.pt": "weights",
        "eval/scores.parquet": "scores",
        "configs/__pycache__/x.pyc": "bytes",
    }.items():
        (recipe / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe / name).write_text(text)
    (folder / "bare").mkdir()
    (folder / "bare" / "LICENSE").write_text("Apache-2.0\n")
    monkeypatch.setattr(shipped_bundles, "bundles_folder", lambda: folder)
    return folder


def test_every_bundle_of_the_checkout_is_listed_with_version_and_task(repository: Path) -> None:
    _, shown, _ = run("list", "--json")
    listed = {entry["name"]: entry for entry in json.loads(shown)}
    in_checkout = {path.parents[1].name: path for path in repository.glob("bundles/*/configs/metadata.json")}
    assert set(in_checkout) <= set(listed)
    for name, path in in_checkout.items():
        metadata = json.loads(path.read_text())
        assert (listed[name]["version"], listed[name]["task"]) == (metadata["version"], metadata["task"])


@pytest.mark.usefixtures("shipped")
def test_list_shows_name_version_and_task_and_hides_no_incomplete_bundle() -> None:
    status, shown, _ = run("list")
    assert status == 0
    rows = [line.split() for line in shown.splitlines()]
    assert rows[1][:4] == ["bare", "-", "no", "configs/metadata.json"]
    assert rows[2][:3] == ["recipe", "0.3.0", "Pre-training"]


@pytest.mark.usefixtures("shipped")
def test_copy_takes_configs_documentation_and_licence_and_no_weights(tmp_path: Path) -> None:
    status, shown, _ = run("copy", "recipe", tmp_path / "mine" / "recipe")
    assert status == 0
    copied = {str(path.relative_to(tmp_path / "mine" / "recipe")) for path in (tmp_path / "mine").rglob("*.*")}
    assert copied == {"configs/metadata.json", "configs/train.yaml", "docs/README.md"}
    assert (tmp_path / "mine" / "recipe" / "LICENSE").read_text() == "Apache-2.0\n"
    assert shown.splitlines()[0] == f"4 files in {tmp_path / 'mine' / 'recipe'}"
    assert f"--bundle_root {tmp_path / 'mine' / 'recipe'}" in shown.splitlines()[1]


@pytest.mark.usefixtures("shipped")
def test_copy_into_an_empty_folder_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("copy", "recipe", tmp_path / "empty")[0] == 0


@pytest.mark.usefixtures("shipped")
def test_copy_never_touches_a_folder_with_something_in_it(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    for target in (mine, mine / "notes.txt"):
        status, shown, said = run("copy", "recipe", target)
        assert (status, shown) == (2, "")
        assert said.startswith(f"medvlp: {target} exists and is not an empty folder; nothing was copied")
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]
    assert (mine / "notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("shipped")
def test_unknown_bundle_is_refused_with_the_nearest(tmp_path: Path) -> None:
    status, _, said = run("copy", "recpie", tmp_path / "new")
    assert status == 2
    assert said == "medvlp: no shipped bundle named 'recpie'; did you mean 'recipe'? there are: bare, recipe\n"
    assert not (tmp_path / "new").exists()


def test_wheel_without_a_checkout_uses_its_package_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "medvlp_toolkit"
    (package / "bundles" / "recipe").mkdir(parents=True)
    monkeypatch.setattr(shipped_bundles, "__file__", str(package / "shipped_bundles.py"))
    assert shipped_bundles.bundles_folder() == package / "bundles"
    assert [bundle.name for bundle in shipped_bundles.shipped_bundles()] == ["recipe"]


def test_installation_without_bundles_says_how_to_fix_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped_bundles, "__file__", str(tmp_path / "medvlp_toolkit" / "shipped_bundles.py"))
    status, _, said = run("list")
    assert status == 2
    assert "pip install --force-reinstall medvlp-toolkit" in said


def test_damaged_metadata_does_not_hide_the_others(shipped: Path) -> None:
    (shipped / "bare" / "configs").mkdir()
    (shipped / "bare" / "configs" / "metadata.json").write_text("{ broken")
    status, shown, _ = run("list")
    assert status == 0
    assert "recipe" in shown


def test_copy_writes_json_where_asked(tmp_path: Path) -> None:
    status, shown, _ = run("copy", "medklip", tmp_path / "mine", "--json")
    assert status == 0
    assert "train.json" in shown
    configs = tmp_path / "mine" / "configs"
    assert json.loads((configs / "train.json").read_text())["epochs"] == 100
    assert (configs / "benchmarks" / "chestxray14.json").is_file()
    assert not list(configs.rglob("*.yaml"))
