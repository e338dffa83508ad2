"""The filter satisfies its contract, and finds its entities."""

from medvlp_example.example import Example
from medvlp_toolkit.data import Presence, Report
from medvlp_toolkit.testing import ReportFilterSuite


class TestExample(ReportFilterSuite):
    plugin = "example"


def test_negation_and_side_are_read() -> None:
    (found,) = Example()([Report("1", "Small left effusion. No pneumothorax.")])
    assert [(one.entity, one.presence, one.position) for one in found] == [
        ("effusion", Presence.PRESENT, "left_lung_unspec"),
        ("pneumothorax", Presence.ABSENT, None),
    ]
