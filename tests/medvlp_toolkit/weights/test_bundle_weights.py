"""Where the weights of a bundle are: one rule for a run of its configuration and for Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from medvlp_toolkit.weights import bundle_weights
from tests.bundles.running import BUNDLES


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ((), "model.pt"),
        (("model.safetensors",), "model.safetensors"),
        (("model.pt", "model.safetensors"), "model.pt"),
    ],
)
@pytest.mark.parametrize("recipe", ["medklip", "arl", "contrastive"])
def test_inference_finds_the_weights_that_python_finds(
    tmp_path: Path, recipe: str, there: tuple[str, ...], found: str
) -> None:
    (tmp_path / "models").mkdir()
    for name in there:
        (tmp_path / "models" / name).touch()
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / recipe / "configs" / "inference.yaml"))
    parser["bundle_root"] = str(tmp_path)
    assert parser.get_parsed_content("weights") == bundle_weights(tmp_path) == tmp_path / "models" / found
