"""Every built-in report filter keeps its contract."""

from medvlp_toolkit.testing import ReportFilterSuite


class TestRules(ReportFilterSuite):
    plugin = "rules"
