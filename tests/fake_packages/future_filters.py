"""A third party's package made for a toolkit to come."""


class FutureFilter:
    """Speaks a contract that this toolkit does not know."""
