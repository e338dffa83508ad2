"""Every built-in checkpoint importer keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

from pathlib import Path

import torch
from seeded_weights import state_dict
from torch import Tensor

from medvlp_toolkit.testing import CheckpointImporterSuite

GOLDEN = Path(__file__).parents[1] / "golden"


class TestMedKLIP(CheckpointImporterSuite):
    plugin = "medklip"
    arguments = {"entity_embeddings": torch.zeros(75, 768), "position_embeddings": torch.zeros(51, 768)}

    def state_dict(self) -> dict[str, Tensor]:
        return state_dict(GOLDEN / "medklip_resnet18" / "keys.json")
