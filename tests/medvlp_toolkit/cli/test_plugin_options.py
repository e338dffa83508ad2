"""Options on the command line become a plugin's arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import medvlp_toolkit as mv
from medvlp_toolkit.cli.plugin_options import make_plugin, read_value


class Plugin:
    """Keeps what it is given."""

    def __init__(
        self,
        name: str = "",
        path: str | Path | None = None,
        count: int = 0,
        share: float = 0.0,
        flag: bool = False,
        limit: int | None = 5,
        sections: Sequence[str] = (),
        kinds: Collection[str] | None = None,
        anything: Any = None,
        part: dict[str, int] | None = None,
    ) -> None:
        self.given = {name: value for name, value in locals().items() if name != "self"}


def open_ended(**options: Any) -> dict[str, Any]:
    """Takes any option."""
    return options


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    mv.report_filters.register("kept", Plugin)
    mv.report_filters.register("open_ended", open_ended)
    yield
    mv.report_filters.unregister("kept")
    mv.report_filters.unregister("open_ended")


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("name=2020", "2020"),
        ("name=a=b: c", "a=b: c"),
        ("path=/data/graphs 1.json", "/data/graphs 1.json"),
        ("path=null", None),
        ("count=3", 3),
        ("share=1e-4", 1e-4),
        ("share=2", 2.0),
        ("flag=true", True),
        ("limit=null", None),
        ("limit=7", 7),
        ("sections=impression", ["impression"]),
        ("sections=[findings, impression]", ["findings", "impression"]),
        ("kinds=finding", ["finding"]),
        ("kinds=null", None),
        ("anything=[1, 2]", [1, 2]),
        ("anything=text", "text"),
        ("part={a: 1}", {"a": 1}),
    ],
)
def test_a_value_is_read_as_the_signature_says(pair: str, value: Any) -> None:
    name = pair.partition("=")[0]
    given = make_plugin("report_filters", "kept", [pair]).given[name]
    assert given == value
    assert type(given) is type(value)


@pytest.mark.parametrize("pair", ["count=many", "count=1.5", "count=true", "share=high", "flag=1", "limit=none at all"])
def test_a_value_of_another_type_is_refused(pair: str) -> None:
    with pytest.raises(ValueError, match=f"--option {pair}: expected"):
        make_plugin("report_filters", "kept", [pair])


def test_a_mapping_with_a_target_is_built() -> None:
    built = make_plugin("report_filters", "kept", ["anything={_target_: fractions.Fraction, numerator: 3}"])
    assert built.given["anything"] == 3
    inner = make_plugin(
        "report_filters", "kept", ["anything=[{_target_: medvlp_toolkit.report_filters.kept, count: 2}]"]
    )
    assert inner.given["anything"][0].given["count"] == 2


def test_a_plugin_that_takes_any_option_gets_all() -> None:
    assert make_plugin("report_filters", "open_ended", ["a=1", "b=x"]) == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ("yes", True),
        ("text", "text"),
        ("e", "e"),
        ("@source::count", "@source::count"),
        ("$lambda x: [x", "$lambda x: [x"),
    ],
)
def test_values_are_yaml_and_references_and_expressions_stay(text: str, value: Any) -> None:
    assert read_value("--set a", text) == value
