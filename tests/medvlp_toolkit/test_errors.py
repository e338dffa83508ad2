"""What a person reads when a run ends in an error."""

from __future__ import annotations

from types import ModuleType

import pytest

import medvlp_toolkit as mv
from medvlp_toolkit.errors import unwrapped, user_message


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_that_dies_while_it_hands_over_a_batch_is_named(error: Exception) -> None:
    loader: dict[str, object] = {"__name__": "torch.utils.data.dataloader", "error": error}
    exec("def next_batch():\n    raise error", loader)
    with pytest.raises(type(error)) as caught:
        loader["next_batch"]()  # type: ignore[operator]
    assert (user_message(caught.value) or "").startswith("a process that reads data was killed")


def test_an_end_of_file_elsewhere_is_no_dead_worker() -> None:
    with pytest.raises(EOFError) as caught:
        raise EOFError
    assert user_message(caught.value) is None


def raised(statement: str, module: str = "medvlp_somewhere") -> Exception:
    """The error of a statement in a function of a module."""
    code = ModuleType(module)
    exec(f"def run():\n    {statement}", vars(code))
    with pytest.raises(Exception) as caught:
        code.run()
    return caught.value


def test_what_the_toolkit_raises_is_shown_and_what_fails_in_its_code_is_a_bug() -> None:
    assert user_message(raised("raise ValueError('size is -1; give a positive size')")) is not None
    for bug in ("int('a word')", "{}['key']", "[].pop()", "raise NotImplementedError", "raise TypeError('a bug')"):
        assert user_message(raised(bug)) is None, bug


def test_the_package_of_any_registered_plugin_raises_to_be_read() -> None:
    statement = "raise ValueError('word is empty; give a word')"
    assert user_message(raised(statement, "somewhere_else")) is None

    class Filter:
        __module__ = "somewhere_else.filters"

    mv.report_filters.register("of_somewhere_else", Filter)
    try:
        assert user_message(raised(statement, "somewhere_else")) == "word is empty; give a word"
    finally:
        mv.report_filters.unregister("of_somewhere_else")


def test_a_mistake_is_raised_without_what_a_library_wraps_around_it() -> None:
    mistake = raised("raise ValueError('depth is 17; expected 18, 34 or 50')")
    with pytest.raises(ValueError, match="depth is 17") as caught, unwrapped():
        raise RuntimeError("Failed to instantiate component") from mistake
    assert caught.value.__suppress_context__
    bug = raised("int('a word')")
    with pytest.raises(RuntimeError, match="Failed to instantiate"), unwrapped():
        raise RuntimeError("Failed to instantiate component") from bug
