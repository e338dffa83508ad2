"""Every built-in fusion module keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

from medvlp_toolkit.testing import FusionModuleSuite


class TestEntityQueryDecoder(FusionModuleSuite):
    plugin = "entity_query_decoder"
    arguments = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 24}
    reads_text_mask = False
    torchscript = True
