"""The example and the arguments of a docstring are found in the usual styles."""

from __future__ import annotations

import pytest

from medvlp_toolkit.docstring import example_of, undocumented_arguments

YAML = "loss:\n  _target_: a.b\n\n  width: 3"


@pytest.mark.parametrize(
    "documentation",
    [
        "Does it.\n\nExample::\n\n    loss:\n      _target_: a.b\n\n      width: 3\n\nMore prose.",
        "Does it.\n\nExample:\n    loss:\n      _target_: a.b\n\n      width: 3",
        "Does it.\n\nExamples\n--------\nloss:\n  _target_: a.b\n\n  width: 3",
    ],
)
def test_example_is_had_without_its_indentation(documentation: str) -> None:
    assert example_of(documentation) == YAML


@pytest.mark.parametrize("documentation", ["", "Does it.", "Does it.\n\nExample::\n\nMore prose.", "For example: x"])
def test_what_has_no_block_beneath_has_no_example(documentation: str) -> None:
    assert example_of(documentation) is None


def test_arguments_of_a_class_may_be_documented_at_its_constructor() -> None:
    class Plugin:
        """Reads ``width``."""

        def __init__(self, width: int, depth: int, *rest: int, heads: int = 1, **options: int) -> None:
            """``depth`` counts layers."""

    assert undocumented_arguments(Plugin) == ["heads"]
