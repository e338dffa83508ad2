"""A third party's package that lacks one of its own dependencies."""

import a_package_that_nobody_installed  # noqa: F401


class BrokenFilter:
    """Never seen."""
