"""Every built-in checkpoint importer keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

from pathlib import Path

import torch
from seeded_weights import state_dict
from torch import Tensor

from medvlp_arl.published_names import to_meter
from medvlp_toolkit.testing import CheckpointImporterSuite
from tests.plugins.medvlp_encoders.published_towers import biovil, clip, timm_trunk

GOLDEN = Path(__file__).parents[1] / "golden"


class TestMedKLIP(CheckpointImporterSuite):
    plugin = "medklip"
    arguments = {"entity_embeddings": torch.zeros(75, 768), "position_embeddings": torch.zeros(51, 768)}

    def state_dict(self) -> dict[str, Tensor]:
        return state_dict(GOLDEN / "medklip_resnet18" / "keys.json")


class TestKAD(CheckpointImporterSuite):
    plugin = "kad"
    arguments = {"entity_tokens": (torch.ones(5, 4, dtype=torch.long), torch.ones(5, 4, dtype=torch.long))}

    def state_dict(self) -> dict[str, Tensor]:
        state = state_dict(GOLDEN / "kad_resnet18" / "keys.json")
        copies = ("image_encoder.resnet.", "model.decoder_norm.", "model.logit_scale", "text_encoder.logit_scale")
        return {name: value for name, value in state.items() if not name.startswith(copies)}


class TestARL(CheckpointImporterSuite):
    plugin = "arl"

    def state_dict(self) -> dict[str, Tensor]:
        return state_dict(GOLDEN / "arl" / "keys.json")


class TestM3AE(CheckpointImporterSuite):
    plugin = "m3ae"

    def state_dict(self) -> dict[str, Tensor]:
        return without_knowledge(state_dict(GOLDEN / "arl" / "keys.json"))


class TestMETER(CheckpointImporterSuite):
    plugin = "meter"

    def state_dict(self) -> dict[str, Tensor]:
        state = without_knowledge(state_dict(GOLDEN / "arl" / "keys.json"))
        return {to_meter(name): value for name, value in state.items() if not name.startswith("mim_head.")}


class TestCheXzero(CheckpointImporterSuite):
    plugin = "chexzero"

    def state_dict(self) -> dict[str, Tensor]:
        return clip()


class TestOpenClip(CheckpointImporterSuite):
    plugin = "open_clip"

    def state_dict(self) -> dict[str, Tensor]:
        return clip(patch=16)


class TestBiomedCLIP(CheckpointImporterSuite):
    plugin = "biomedclip"

    def state_dict(self) -> dict[str, Tensor]:
        return timm_trunk()


class TestBioViL(CheckpointImporterSuite):
    plugin = "biovil"

    def state_dict(self) -> dict[str, Tensor]:
        return biovil()


def without_knowledge(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in state.items()
        if not (name.startswith("align_head.") or ".knowledge" in name or ".image2knowledge" in name)
    }
