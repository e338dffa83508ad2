"""A third party's package that takes its time to be imported."""

import time

time.sleep(3)


class SlowFilter:
    """Worth the wait, nobody knows."""
