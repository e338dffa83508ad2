"""Every built-in knowledge source keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

from medvlp_toolkit.testing import KnowledgeSourceSuite


class TestDefinitions(KnowledgeSourceSuite):
    plugin = "definitions"
    arguments = {"path": "chest_entities"}
