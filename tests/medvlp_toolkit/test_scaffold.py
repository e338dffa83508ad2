"""``medvlp new``: what it writes installs, keeps its contract and runs in a recipe as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from medvlp_toolkit.cli.main import app
from medvlp_toolkit.scaffold.kinds import KINDS
from medvlp_toolkit.scaffold.package import package_files
from tests.medvlp_toolkit.scaffold_packages import lay_out


def run(*arguments: object) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["new", *map(str, arguments)])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.stdout, ended.stderr


def test_the_example_package_is_what_the_command_writes(repository: Path) -> None:
    example = repository / "plugins" / "medvlp-example"
    made = package_files("medvlp-example", KINDS["report_filters"])
    there = {
        path.relative_to(example).as_posix(): path.read_text()
        for path in example.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith(".pyc")
    }
    assert there == made, "write it anew: medvlp new medvlp-example --kind report_filter --in plugins"


def test_every_kind_has_a_template(repository: Path) -> None:
    import medvlp_toolkit as mv

    assert set(KINDS) == set(mv.registries)


@pytest.mark.slow
def test_packages_of_every_kind_pass_their_own_tests(tmp_path: Path) -> None:
    folders = lay_out(tmp_path, tmp_path / "site")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    done = subprocess.run(
        [*command, *(str(folder) for folder in folders.values())],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "failed" not in done.stdout


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.registry)
def test_what_is_written_names_the_plugin_consistently(kind: object) -> None:
    files = package_files("Acme.Thing-2", kind)  # type: ignore[arg-type]
    assert f'acme_thing_2 = "acme_thing_2.acme_thing_2:{kind.object("acme_thing_2")}"' in files["pyproject.toml"]  # type: ignore[attr-defined]
    overlay = yaml.safe_load(files["overlay.yaml"])
    targets = [part["_target_"] for part in overlay.values() if isinstance(part, dict)]
    assert targets == [f"medvlp_toolkit.{kind.registry}.acme_thing_2"]  # type: ignore[attr-defined]
    for name, text in files.items():
        assert "{{" not in text, name
        assert text.endswith("\n"), name
        if name.endswith(".py"):
            compile(text, name, "exec")


def test_the_command_tells_what_to_do_next(tmp_path: Path) -> None:
    status, shown, _ = run("my-filter", "--kind", "report-filter", "--in", tmp_path)
    assert status == 0
    assert f"pip install -e {tmp_path / 'my-filter'}" in shown


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("my filter", "encoder", "not a distribution name"),
        ("2nd-filter", "encoder", "begin with a letter"),
        ("class", "encoder", "invalid Python name"),
        ("medvlp-register", "encoder", "belongs to the registry itself"),
        ("medvlp-resnet", "encoder", "medvlp-encoders has the image encoder 'resnet' already"),
        ("medvlp-toolkit", "encoder", "is installed already"),
        ("my-filter", "filtre", "no plugin kind 'filtre'"),
    ],
)
def test_names_that_cannot_be_are_refused(name: str, kind: str, told: str, tmp_path: Path) -> None:
    status, _, said = run(name, "--kind", kind, "--in", tmp_path)
    assert status == 2
    assert told in said
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    assert run("my-filter", "--kind", "encoder", "--in", tmp_path)[0] == 0
    (tmp_path / "my-filter" / "README.md").write_text("mine")
    status, _, said = run("my-filter", "--kind", "encoder", "--in", tmp_path)
    assert status == 2
    assert "nothing was written" in said
    assert (tmp_path / "my-filter" / "README.md").read_text() == "mine"
