"""Every built-in fusion module keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

from medvlp_toolkit.testing import FusionModuleSuite


class TestEntityQueryDecoder(FusionModuleSuite):
    plugin = "entity_query_decoder"
    arguments = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 24}
    reads_text_mask = False
    torchscript = True


class TestKnowledgeCoAttention(FusionModuleSuite):
    plugin = "knowledge_co_attention"
    arguments = {
        "width": 16,
        "layers": 2,
        "heads": 2,
        "feed_forward": 24,
        "knowledge_width": 8,
        "knowledge_heads": 2,
        "knowledge_feed_forward": 12,
    }
    knowledge_width = 8
    torchscript = True


class TestCoAttentionWithoutKnowledge(FusionModuleSuite):
    plugin = "knowledge_co_attention"
    arguments = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 24, "knowledge": False}
    torchscript = True
