"""How large an image may be, by what it declares and by the file: checked before memory is asked for."""

from __future__ import annotations

from pathlib import Path

from medvlp_toolkit.images.errors import ImageReadError

#: Pixels of a picture at most, Pillow's limit.
MOST_PIXELS = 178_956_970
#: Voxels of a volume at most: 1024 along each axis.
MOST_VOXELS = 2**30
#: Bytes that any file may unpack to.
_ALWAYS = 2**28
#: How many times its size a file may unpack to beyond that. Scans shrink to a third, masks to a fiftieth.
_MOST_TIMES = 64


def check_unpacked(unpacked: int, packed: int, path: Path) -> None:
    """Raise `ImageReadError` for a large image out of a small file: a damaged header, or one that is to do harm.

    Args:
        unpacked: bytes of the values that the file declares.
        packed: bytes of the file.
        path: of the file.
    """
    if unpacked > _ALWAYS and unpacked > _MOST_TIMES * packed:
        raise ImageReadError(
            path,
            f"{unpacked:,} bytes of values in {packed:,} bytes, more than {_MOST_TIMES} times as many: "
            "no image compresses so well; if it is one, save it uncompressed",
        )
