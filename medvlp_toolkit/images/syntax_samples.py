"""A small picture in each compressed transfer syntax, to test the installed decoders."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.images.decoders import decode_with, decoders_for

if TYPE_CHECKING:
    from pydicom.uid import UID

SIDE = 32
#: Code streams of `sample_values`, deflated, base64. Written by dcmtk's dcmcjpeg and dcmcjpls, and by pydicom.
SAMPLES = {
    "1.2.840.10008.1.2.4.50": (
        "eNr7f+P/AwYBLzdPNwZGRgYGRiBk+H+bwZmBmYkJhICABYhYOVhZWVhYudjZ2Th4uHh4uLm4uXn5hAR4+QT5uLkFxAQEhUVERUV5"
        "+MUlxEQkhERERf4fYODmYFBgUGBkFGT4f4RBDGg+0GwkwMbACRSXFGBgZEURZ2BlUzZc+P8WAwdIgz3DeZdrru5NW+DEEiDRMuvE"
        "ig9hcCIEREyOFJXjugwnQFyhbKXFB6PgRBCQOPz/JgBqIjp0"
    ),
    "1.2.840.10008.1.2.4.51": (
        "eNr7f+P/AwYBLzdPNwZGRgYGRiBk+H+bwZmBmYkJhICABYhYOVhZWVhYudjZ2Th4uHh4uLm4uXn5hAR4+QT5uLkFxAQEhUVERUV5"
        "+MUlxEQkhERERf4fZODmYVBgUGBkFGT4f4RBDGg+0GwkwMXACxSXFmBgYEeV4ORSM3UJevj/FgMHSIs9w/kQ3S1erhs2BzeGTrul"
        "qnQjcuWBVadzhSbm6Fx5EOq6rdNjm1hWAYzW2nTbZUk0t6mFaGTuoiDd1llzuFZsu6gpduisHweUZg2LzpjSnZi2nGk13GAxiMEH"
        "xTAsSIUZvAhqsP3//zcB6jJXyw=="
    ),
    "1.2.840.10008.1.2.4.57": (
        "eNr7f+P/AwYBLzdPNwZGRgYGRiBk+H+YgVuAQYFBgZFRkOH/EQYxoBRQGAmwsQv8v8XAARRlY2A4IaDg0MjEwoGF4mZm45EwSDjY"
        "jIU6dACrMITagEMTiNLBaeTB5lELRy0coRba//9/EwAv+A8L"
    ),
    "1.2.840.10008.1.2.4.70": (
        "eNr7f+P/AwYBLzdPNwZGRgYGRiBk+H+YgVuAQYFBgZFRkOH/EQYxoBRQGAmwsQv8v8XAwQhWfkJAwaGRiYUDC8WNXRhMNR1oxC27"
        "AaeRLBw6HKMWjlo4aiEaZf///00AqUCYwQ=="
    ),
    "1.2.840.10008.1.2.4.80": (
        "eNr7f+P/dwZuAQYFBgVGRkGG/z8YeBn//2cQYnBmFGFw+H+LgYORkQEIFv6xb9/wT+544Zl72fwP35TLnH222bJn37Z1y+ZN62ur"
        "K8tLS4tLcOGolXMP7txyKdVg3ZpVK5YtWbRg3pxZM2ZMWxu01CtkpQtno1Mrl/Byv7lGKScnq/lM1QpZCZRY1aWxqEvxy75FQLpz"
        "2axMCFKZ5AlGHp/2TJqyVNMrKAhMQgnZcDArNDRQEAqEux4pgQBEl6fabbAJq4Bg5bJLQHL//2Ld6f/r/9ccTgSS9bHrQOSaa0Di"
        "f2jWfiCZZSoPJEtu5QPJKl91IFkr1g0k65odQUpt54HIOedAGnzTQBrSjEEaiiVBGipTloM0pIBsqHVpB5PlYDIdRKqEg0l3MGkO"
        "Ihn+/78JAP4jv2w="
    ),
    "1.2.840.10008.1.2.4.81": (
        "eNr7f+P/dwZuHgYFBgVGRkGG/7cYOBgZGZgYGLbffb/b69Le99lRQVOW/6//vXt36t5zhj5BU1oVOZ6Ul5Wlp6WmFWxS85mtdtPs"
        "du62277buXO33Mo1uRW0VCtox8ygqVpTg1aFzu3c+fn5/7ol8//X/8/xBBJ1R0DMLDATLJrhCmbGg0TBzJZ4mGj9CXsgGdAMJGo5"
        "QMxKdpCoAog4vx9IVr8HafgN4u+DCxafBxI1n0F8G7CgPUyw6jWIz/D/JgMASneSTg=="
    ),
    "1.2.840.10008.1.2.4.90": (
        "eNr77/8/kEGTAQQUoBgGUPmM3IyM/4MYeEBMBlYWFgbG/zEMwg4JGRkFyOh/CoMqA6NzUWpiSWqKQlKlgn9Bap5XgKu7QllqUXFm"
        "fp6CkZ6pntH/CQxcYGNzgOZMPv6GhUP08Dem/iccLMmMCQd/Njl/Y2XgZWKz57bsdas/8IdxwZ+DB5SkOGJzzzPXde3c1l5/oHah"
        "gD3DArOFM9clL06pt12mLxo9ZYPxPf4Ddgsi+LdIxC8/3rF77hrNWJ/z/28yAADKGEfB"
    ),
    "1.2.840.10008.1.2.4.91": (
        "eNr77/8/kEGTAQQUoBgGUPmM3IyM/4MYeEBMBlYWFgaG/zEMyk7TFaZ9AMID/Qz9DH0P2gOAMKOAFQjdyy8DYdL/FAZVBkbnotTE"
        "ktQUhaRKBf+C1DyvAFd3hbLUouLM/DwFIz1TPaP/Exi4wNZcYmD8P/nwf1bGBo7O+wf+O1jUP3RIYIiqZ5azP/DvwIf6AwW8zHod"
        "J9Lkua348hcq7Dxgr8ghf2CCkoSy1TRzRb4QhkPri3h085nr05ad0tl6XPbfpP3enb2Hr8cfsDtYIT9hh9nCxvOxiaIvGT2EnASf"
        "/GmeuzDooGDFfdtlxq9Mb1Z/6WATXLXTRf2FL7PWdvfniw/wz9jD/EaGIX75caXDidPW1e4RajXWsmC1yWT6OGt199w1mnbHt/vs"
        "OrCf9WcLQ/WDqb9tNuT0GBdX602o/3+TAQCg+4Ax"
    ),
    "1.2.840.10008.1.2.5": (
        "eNrt0MsNgzAQRdGBYDCYTwmmFEqhjCwpJaVQStoYf4PM20XBUtYgoXMlL540JREtx/8s6K+PiQsu+eFgqCLKVibJFQmP8oJQRtgk"
        "i1gHlKtPuXYwNBFlG5PkhqRHeUkoI22SZWwDyrWn3DoYuoiynUlyR8qjvCKUUTbJKvYB5fpT7h0MQ0TZwSR5oNGj/EgoM9okj3EK"
        "KDdpmpd1e+3vX+rL10N9+XqoMwukMwurzizsOrMw68zCdt/hvsN9h28/dpNZ0A=="
    ),
}
#: Maximum error of a lossy code stream, of 4096 levels.
_OFF = {
    "1.2.840.10008.1.2.4.50": 16,
    "1.2.840.10008.1.2.4.51": 40,
    "1.2.840.10008.1.2.4.81": 2,
    "1.2.840.10008.1.2.4.91": 40,
}


def sample_values() -> npt.NDArray[np.uint16]:
    """(32, 32) of 12 bits: a ramp down and across."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    return (rows * 96 + columns * 32).astype(np.uint16)


def working_decoders() -> dict[str, list[str]]:
    """Transfer syntax -> the installed decoders that read its sample, in the order of trial."""
    from pydicom.uid import UID

    return {
        UID(syntax).name: [name for name in decoders_for(UID(syntax)) if reads(UID(syntax), name)] for syntax in SAMPLES
    }


def reads(syntax: UID, decoder: str) -> bool:
    """Whether a decoder reproduces the sample's values."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    eight = syntax == JPEGBaseline8Bit
    attributes = {
        "rows": SIDE,
        "columns": SIDE,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": 8 if eight else 16,
        "bits_stored": 8 if eight else 12,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_vr": "OB",
    }
    content = encapsulate([zlib.decompress(base64.b64decode(SAMPLES[syntax]))])
    try:
        pixels = decode_with(decoder, syntax, content, attributes)
    except Exception:
        return False
    values = pixels.astype(np.int32) * (16 if eight else 1)
    return values.shape == (SIDE, SIDE) and int(np.abs(values - sample_values()).max()) <= _OFF.get(syntax, 0)
