"""Every built-in data source keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

from medvlp_toolkit.testing import DataSourceSuite


class TestPhantom(DataSourceSuite):
    plugin = "phantom"
    arguments = {"seed": 3, "count": 12, "size": 48}
