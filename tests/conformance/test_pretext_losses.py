"""Every built-in pretext loss keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

from typing import Any

import torch
from torch import nn

from medvlp_toolkit.interfaces import UNCERTAIN
from medvlp_toolkit.testing import PretextLossSuite

SIZES = PretextLossSuite.sizes
WIDTH = SIZES.width
POSITION_BANK = torch.randn(PretextLossSuite.sizes.positions, 12, generator=torch.Generator().manual_seed(0))


class TestEntityExistence(PretextLossSuite):
    plugin = "entity_existence"
    arguments = {"width": WIDTH}


class TestEntityPosition(PretextLossSuite):
    plugin = "entity_position"
    arguments = {"position_bank": POSITION_BANK, "width": WIDTH}


class TestEntityPositionOfUnitNorm(PretextLossSuite):
    plugin = "entity_position"
    arguments = {"position_bank": POSITION_BANK, "width": WIDTH, "normalize": True}


class TestKnowledgeAlignment(PretextLossSuite):
    plugin = "knowledge_alignment"
    arguments = {"width": WIDTH, "entity_width": WIDTH}


class TestKnowledgeAlignmentOfTheImageAlone(PretextLossSuite):
    plugin = "knowledge_alignment"
    arguments = {"width": WIDTH, "entity_width": WIDTH, "text": False}


class TestMaskedLanguageModelling(PretextLossSuite):
    plugin = "masked_language_modelling"
    arguments = {"width": WIDTH, "vocabulary_size": SIZES.vocabulary}


class TestMaskedImageModelling(PretextLossSuite):
    plugin = "masked_image_modelling"
    arguments = {
        "width": WIDTH,
        "grid": (SIZES.image // SIZES.patch, SIZES.image // SIZES.patch),
        "image_size": SIZES.image,
        "in_channels": 1,
        "stop_after": 1,
        "decoder_width": 12,
        "decoder_layers": 2,
        "decoder_heads": 2,
    }


class TestImageTextMatching(PretextLossSuite):
    plugin = "image_text_matching"
    arguments = {"pooled_width": SIZES.pooled_width}


class TestImageTextMatchingWithoutKnowledge(PretextLossSuite):
    plugin = "image_text_matching"
    arguments = {"pooled_width": SIZES.pooled_width, "knowledge": False}


class TestFeatureContrast(PretextLossSuite):
    plugin = "feature_contrast"
    couples_samples = True


class TestEntityExistenceInTheReport(PretextLossSuite):
    plugin = "entity_existence"
    arguments = {"width": WIDTH, "image": "report", "unmentioned": "absent"}

    def empty_batch(self, loss: nn.Module) -> dict[str, Any]:
        """Every entity uncertain: what is not mentioned counts as absent."""
        batch = self.batch(loss)
        return {**batch, "entity_presence": torch.full_like(batch["entity_presence"], UNCERTAIN)}


class Contrastive(PretextLossSuite):
    """Every study is set against the others, and has a term whatever its report says."""

    couples_samples = True

    def empty_batch(self, loss: nn.Module) -> dict[str, Any] | None:
        return None


class TestClip(Contrastive):
    plugin = "clip"


class TestClipWithEqualFindings(Contrastive):
    plugin = "clip"
    arguments = {"equal": "findings"}


class TestSiglip(Contrastive):
    plugin = "siglip"


class TestConvirt(Contrastive):
    plugin = "convirt"


class TestGloriaLocal(Contrastive):
    plugin = "gloria_local"


class TestGloriaLocalWithEqualTexts(Contrastive):
    plugin = "gloria_local"
    arguments = {"equal": "text"}
