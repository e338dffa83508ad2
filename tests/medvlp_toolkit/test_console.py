"""What a person reads when a run ends in an error."""

from __future__ import annotations

import pytest

from medvlp_toolkit.console import readable_message


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_that_dies_while_it_hands_over_a_batch_is_named(error: Exception) -> None:
    loader: dict[str, object] = {"__name__": "torch.utils.data.dataloader", "error": error}
    exec("def next_batch():\n    raise error", loader)
    with pytest.raises(type(error)) as caught:
        loader["next_batch"]()  # type: ignore[operator]
    assert (readable_message(caught.value) or "").startswith("a process that reads data was killed")


def test_an_end_of_file_elsewhere_is_no_dead_worker() -> None:
    with pytest.raises(EOFError) as caught:
        raise EOFError
    assert readable_message(caught.value) is None
