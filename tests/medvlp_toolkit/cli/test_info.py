"""``medvlp info``: what a plugin is and how to write it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_toolkit.cli.info import example_yaml
from medvlp_toolkit.cli.main import app


def run(*arguments: str) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["info", *arguments])
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.mark.usefixtures("fake_packages")
def test_shows_signature_documentation_source_and_the_documented_example() -> None:
    status, shown, _ = run("report_filters", "acme")
    assert status == 0
    assert "report_filters.acme  Finds the word 'effusion' and nothing else." in shown
    assert "acme-filters 0.1" in shown
    assert "acme_filters.py" in shown
    assert "  word: str = 'effusion'" in shown
    assert yaml.safe_load(shown.partition("\nYAML\n")[2]) == {
        "report_filter": {"_target_": "medvlp_toolkit.report_filters.acme", "word": "effusion"}
    }


@pytest.mark.usefixtures("fake_packages")
def test_without_a_documented_example_one_is_made_from_the_signature() -> None:
    _, shown, _ = run("encoders", "acme_tower", "--json")
    told = json.loads(shown)
    assert told["arguments"] == ["depth: int", "width: int = 8"]
    assert told["example"] == (
        "acme_tower:\n  _target_: medvlp_toolkit.encoders.acme_tower\n  depth: ...  # required: int\n  width: 8"
    )


@pytest.mark.usefixtures("fake_packages")
def test_conflicting_plugin_is_shown_by_distribution_with_the_path_to_write() -> None:
    status, shown, said = run("report_filters", "shouting")
    assert (status, shown) == (2, "")
    assert "offered by 2 distributions" in said
    status, shown, _ = run("report_filters", "rival-filters:shouting")
    assert status == 0
    assert "_target_: rival_filters.shouting" in shown


@pytest.mark.usefixtures("fake_packages")
def test_broken_and_unknown_plugins_are_refused_in_a_line() -> None:
    for name, why in (("broken", "a_package_that_nobody_installed"), ("acmee", "did you mean 'acme'?")):
        status, shown, said = run("report_filters", name)
        assert (status, shown) == (2, "")
        assert why in said
        assert len(said.splitlines()) == 1


def made(default: Any) -> Any:
    """What the made YAML says for a default."""

    def plugin(value: Any = default) -> None:
        """Takes a value."""

    return yaml.safe_load(example_yaml(plugin, "mine", "a.b"))["mine"]["value"]


@pytest.mark.parametrize("default", [None, True, 3, 1e-5, 0.02, "text", "true", "1e-3", [], [1, 2], {"a": [1]}, ""])
def test_made_yaml_reads_back_as_the_default(default: Any) -> None:
    assert made(default) == default
    assert type(made(default)) is type(default)


def test_made_yaml_writes_tuples_as_lists_and_objects_as_text() -> None:
    assert made((1, 2)) == [1, 2]
    assert made(object).startswith("<class")


def test_made_yaml_leaves_out_what_has_no_name() -> None:
    def plugin(*parts: int, width: int = 3, **options: int) -> None:
        """Takes anything."""

    assert yaml.safe_load(example_yaml(plugin, "mine", "a.b")) == {"mine": {"_target_": "a.b", "width": 3}}


def test_example_of_every_built_in_plugin_addresses_it() -> None:
    for kind, registry in mv.registries.items():
        for ref in registry.refs():
            if ref.distribution.startswith("medvlp-"):
                path = f"medvlp_toolkit.{kind}.{ref.name}"
                example = yaml.safe_load(example_yaml(ref.load(), ref.name, path))
                assert path in str(example), path


def test_documentation_in_square_brackets_is_shown_as_written() -> None:
    def plugin() -> None:
        """Takes [bold] and [/] and [0, 1)."""

    mv.fusion_modules.register("bracketed", plugin)
    try:
        assert "Takes [bold] and [/] and [0, 1)." in run("fusion_modules", "bracketed")[1]
    finally:
        mv.fusion_modules.unregister("bracketed")
