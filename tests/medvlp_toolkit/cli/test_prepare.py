"""``medvlp prepare``: the store that ``python -m monai.bundle run`` would write, with meaningful exit statuses."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from medvlp_toolkit.cli.main import app
from medvlp_toolkit.data.store.store import PackedStore
from tests.rejections import read_rejected

CONFIG = """
count: 12
image_size: 32
dataset_dir: {store}
source:
  _target_: medvlp_toolkit.data_sources.phantom
  seed: 5
  count: "@count"
  size: "@image_size"
prepare:
  _target_: medvlp_toolkit.preparing.prepare.Prepare
  source: "@source"
  report_filter:
    _target_: medvlp_toolkit.report_filters.rules
  output_dir: "@dataset_dir"
  image_size: "@image_size"
  workers: 0
run:
  - $@prepare.run()
"""
SECRET = "Smith-4711"


@pytest.fixture(autouse=True)
def undisturbed_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command sets the exception hook and log levels of its process."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "path", list(sys.path))
    loggers = [logging.getLogger(name) for name in (None, "ignite", "monai.bundle.workflows")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["prepare", *map(str, arguments)])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "prepare.yaml"
    path.write_text(CONFIG.format(store=tmp_path / "store"))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_store_is_the_one_that_monai_writes(config: Path, tmp_path: Path) -> None:
    status, shown, said = run(config)
    assert (status, said) == (0, "")
    assert shown.startswith(f"{tmp_path / 'store'}: 12 of 12 studies stored")
    from monai.bundle import run as run_bundle

    run_bundle(config_file=str(config), dataset_dir=str(tmp_path / "other"))
    assert content(tmp_path / "store") == content(tmp_path / "other")


def test_the_shipped_recipe_is_prepared_with_its_overlay(repository: Path, tmp_path: Path) -> None:
    configs = repository / "bundles" / "medklip" / "configs"
    settings = ["--set", "source::count=24", "--set", "image_size=32", "--set", f"dataset_dir={tmp_path / 'a'}"]
    overlaid = f"{configs / 'prepare.yaml'},{configs / 'demo.yaml'}"
    assert run(overlaid, *settings, "--workers", 0)[0] == 0
    assert PackedStore.open(tmp_path / "a").images.shape == (24, 1, 32, 32)


def test_overlays_come_one_after_the_other_or_joined_by_commas(config: Path, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("image_size: 40\n")
    (tmp_path / "few.yaml").write_text("count: 6\n")
    assert run(config, f"{tmp_path / 'small.yaml'},{tmp_path / 'few.yaml'}")[0] == 0
    assert PackedStore.open(tmp_path / "store").images.shape == (6, 1, 40, 40)


def test_a_setting_replaces_an_id_or_adds_an_argument(config: Path, tmp_path: Path) -> None:
    assert run(config, "--set", "count=8", "--set", "prepare::sections=[impression]")[0] == 0
    store = PackedStore.open(tmp_path / "store")
    assert store.meta["counts"]["listed"] == 8
    assert store.meta["made_by"]["sections"] == ["impression"]


def test_options_reach_the_preparation(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medvlp_toolkit.preparing.prepare import Prepare

    made: list[Any] = []
    monkeypatch.setattr(Prepare, "run", lambda self: made.append(self))
    options = ["--workers", 3, "--scheduler", "tcp://host:8786", "--overwrite", "--max-rejected", 7]
    assert run(config, *options)[0] == 0
    [prepare] = made
    assert (prepare.workers, prepare.scheduler) == (3, "tcp://host:8786")
    assert (prepare.overwrite, prepare.max_rejected) == (True, 7)
    assert run(config)[0] == 0
    assert (made[1].workers, made[1].scheduler, made[1].overwrite, made[1].max_rejected) == (0, None, False, None)


def test_workers_of_their_own_give_the_same_store(config: Path, tmp_path: Path) -> None:
    run(config, "--set", f"dataset_dir={tmp_path / 'alone'}", "--set", "count=70")
    run(config, "--set", "count=70", "--workers", 2)
    assert content(tmp_path / "store") == content(tmp_path / "alone")


def test_a_complete_store_is_left_as_it_is(config: Path, tmp_path: Path) -> None:
    run(config)
    before = content(tmp_path / "store")
    status, shown, _ = run(config)
    assert status == 0
    assert "already complete" in shown
    assert content(tmp_path / "store") == before


def test_a_store_made_otherwise_is_replaced_only_when_asked(config: Path, tmp_path: Path) -> None:
    run(config)
    status, shown, said = run(config, "--set", "count=6")
    assert (status, shown) == (1, "")
    assert "a complete store made with other settings" in said
    assert "--overwrite" in said
    assert len(PackedStore.open(tmp_path / "store")) == 12
    assert run(config, "--set", "count=6", "--overwrite")[0] == 0
    assert len(PackedStore.open(tmp_path / "store")) == 6


@pytest.fixture
def own_table(tmp_path: Path) -> Path:
    """A config over a CSV with one unreadable image, and a patient in two splits."""
    for number in range(4):
        Image.new("L", (40, 40), 50 + 40 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    rows = ["image,report,study_id,patient_id,split"]
    rows += [f"{number}.png,Effusion.,{SECRET}-{number},{SECRET},train" for number in range(4)]
    (tmp_path / "studies.csv").write_text("\n".join(rows) + "\n")
    path = tmp_path / "own.yaml"
    text = CONFIG.format(store=tmp_path / "store").partition("source:")
    own = f"""source:
  _target_: medvlp_toolkit.data_sources.csv
  file: {tmp_path / "studies.csv"}
  report_column: report
prepare:{text[2].partition("prepare:")[2]}"""
    path.write_text(text[0] + own)
    return path


def test_what_is_left_out_is_counted_and_the_status_is_zero(own_table: Path, tmp_path: Path) -> None:
    status, shown, said = run(own_table)
    assert status == 0
    assert "3 of 4 studies stored; left out: 1 unreadable image" in shown
    assert f"what was left out, and why: {tmp_path / 'store' / 'rejected.csv'}" in shown
    assert len(read_rejected(tmp_path / "store" / "rejected.csv")) == 1
    assert SECRET not in shown + said


def test_more_left_out_than_allowed_is_status_one(own_table: Path, tmp_path: Path) -> None:
    status, shown, said = run(own_table, "--max-rejected", 0)
    assert (status, shown) == (1, "")
    assert said.startswith("medvlp: 1 items rejected, max_rejected is 0: see")
    assert not (tmp_path / "store").exists()
    assert SECRET not in said


def test_a_patient_in_two_splits_is_status_one_and_not_named(own_table: Path, tmp_path: Path) -> None:
    table = tmp_path / "studies.csv"
    table.write_text(table.read_text().replace(f"{SECRET}-1,{SECRET},train", f"{SECRET}-1,{SECRET},test"))
    status, shown, said = run(own_table)
    assert (status, shown) == (1, "")
    assert "1 patient in more than one split: see" in said
    assert SECRET not in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "imagesize=16"], "--set: imagesize: no id 'imagesize' in "),
        (["--set", "imagesize=16"], "did you mean 'image_size'"),
        (["--set", "sourc::seed=16"], "--set: sourc::seed: no id 'sourc::seed' in "),
        (["--set", "source::seed::x=16"], "no id 'source::seed::x' in "),
        (["--set", "source::sead=16"], "unexpected keyword argument 'sead'"),
        (["--set", "count"], "--set count: expected key=value"),
        (["--set", "count=[1"], "--set count: not readable as YAML"),
        (["--set", "count=@nothing"], "the referring item `@nothing` is not defined"),
        (["--set", "source::_target_=medvlp_toolkit.data_sources.fantom"], "no data_sources plugin named 'fantom'"),
        (["--set", "source::_target_=medvlp_toolkit.nothing"], "medvlp_toolkit.nothing"),
        (["--set", "count=0"], "count is 0; a phantom data source needs at least one study"),
        (["--set", "prepare::on_leak=ask"], "on_leak is 'stop' or 'report', not 'ask'"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line_and_status_two(
    config: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    status, shown, said = run(config, *arguments)
    assert status == 2
    assert message in said
    assert len(said.splitlines()) == 1
    assert "Traceback" not in shown + said
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nowhere.yaml", None, "nowhere.yaml: no such file; expected a prepare.yaml"),
        ("notes.txt", "", "notes.txt: expected a .yaml, .yml or .json file"),
        ("bad.yaml", "a: [1\n", "bad.yaml, line 2: not readable as YAML"),
        ("empty.yaml", "seed: 0\n", "run ID 'run' doesn't exist in the config file."),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    status, _, said = run(tmp_path / name)
    assert status == 2
    assert message in said
    assert len(said.splitlines()) == 1


def test_options_of_a_preparation_need_one_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("run: [$1 + 1]\n")
    status, _, said = run(tmp_path / "other.yaml", "--workers", 1, "--max-rejected", 3)
    assert status == 2
    assert "no mapping `prepare` in it, which --workers, --max-rejected would change" in said


def test_a_missing_table_is_named(own_table: Path, tmp_path: Path) -> None:
    (tmp_path / "studies.csv").unlink()
    status, _, said = run(own_table)
    assert status == 2
    assert str(tmp_path / "studies.csv") in said
    assert len(said.splitlines()) == 1


def test_a_bug_keeps_its_traceback(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medvlp_toolkit.preparing.prepare import Prepare

    def broken(self: Prepare) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Prepare, "run", broken)
    ended = CliRunner().invoke(app, ["prepare", str(config)])
    assert ended.exit_code != 2
    chain: BaseException | None = ended.exception
    while chain is not None and not isinstance(chain, ZeroDivisionError):
        chain = chain.__cause__ or chain.__context__
    assert isinstance(chain, ZeroDivisionError)


def test_a_users_mistake_shows_its_traceback_for_the_asking(config: Path) -> None:
    ended = CliRunner().invoke(app, ["--traceback", "prepare", str(config), "--set", "count=0"])
    assert ended.exception is not None
    assert not isinstance(ended.exception, SystemExit)


def test_an_interruption_says_how_to_go_on(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medvlp_toolkit.preparing.prepare import Prepare

    def interrupted(self: Prepare) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Prepare, "run", interrupted)
        status, _, said = run(config)
    assert status == 130
    assert said == "medvlp: interrupted; run the same command to resume\n"
    assert run(config)[0] == 0
