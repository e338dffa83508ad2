"""Every built-in pretext loss keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

import torch

from medvlp_toolkit.testing import PretextLossSuite

WIDTH = PretextLossSuite.sizes.width
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
