"""The gallery: images with a heat map that can be faded, true boxes, and the report's statements."""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.evaluation.maps.heat_maps import share_of, upsample
from medvlp_toolkit.evaluation.maps.overlays import STRONGEST, heat_colours
from medvlp_toolkit.evaluation.results.names import NO_NAMES, Names, readable
from medvlp_toolkit.evaluation.statistics.operating_points import called_present

if TYPE_CHECKING:
    import pyarrow as pa

#: Images are shown at most this large, in pixels; larger ones are stored larger.
_LARGEST = 448
_HEAT_SIDE = 96
_LEVELS = 64  # shades of a heat map: an indexed PNG of few colours is a few kilobytes

#: kind -> verdict where the score is on the wrong side of the threshold, on the right side, and without threshold;
#: each with the class of its colour.
_VERDICTS = {
    "found": (("Missed", "bad"), ("Found", "good"), ("Present, highest score", "")),
    "missed": (("Missed", "bad"), ("Found, lowest score", "good"), ("Present, lowest score", "")),
    "claimed": (("False alarm", "bad"), ("Rightly passed, highest score", "good"), ("Absent, highest score", "")),
}

_SAYS = {"present": "stated present", "absent": "stated absent", "uncertain": "stated uncertain", None: "mentioned"}


def gallery(
    cases: pa.Table | None,
    thresholds: Mapping[str, float | None],
    budget: int = 16_000_000,
    names: Names = NO_NAMES,
) -> tuple[list[dict[str, Any]], int]:
    """The cases for the template, and the number left out.

    Args:
        cases: of :func:`~medvlp_toolkit.evaluation.case_table`.
        thresholds: finding -> the operating point's; without one a picture is not called right or wrong.
        budget: characters that all pictures together may take; of every finding and kind the first cases come first.
        names: id of an entity -> its readable name.
    """
    if cases is None:
        return [], 0
    rows = cases.to_pylist()
    place: dict[tuple[str, str], int] = {}
    ranked = []
    for number, row in enumerate(rows):
        key = (row["finding"], row["kind"])
        place[key] = place.get(key, -1) + 1
        ranked.append((place[key], number))
    shown: dict[int, dict[str, Any]] = {}
    spent = 0
    for rank, number in sorted(ranked):
        case = _case(rows[number], rank, thresholds.get(rows[number]["finding"]), names)
        spent += len(case["image"]) + len(case["heat"] or "")
        if spent > budget:
            break
        shown[number] = case
    return [shown[number] for number in sorted(shown)], len(rows) - len(shown)


def marked_text(text: str, marks: Sequence[Mapping[str, Any]], entity: str, names: Names = NO_NAMES) -> str:
    """HTML of the sentences that mention an entity, with marked findings; the whole text if none does.

    Marks of the entity itself are highlighted; every mark states in words what was extracted.
    """
    kept = _sentences(text, [m for m in marks if m["entity"] == entity]) or [(0, len(text))]
    parts = []
    for start, end in kept:
        place = start
        for mark in sorted(marks, key=lambda m: (m["start"], -m["end"])):
            if mark["start"] < place or mark["end"] > end:
                continue
            says = f"{escape(readable(mark['entity'], names))}: {_SAYS.get(mark['presence'], 'mentioned')}"
            own = " own" if mark["entity"] == entity else ""
            words = escape(text[mark["start"] : mark["end"]])
            parts.append(escape(text[place : mark["start"]]))
            parts.append(
                f'<mark class="{escape(mark["presence"] or "mentioned")}{own}" title="{says}">{words}'
                f'<span class="sr"> ({says})</span></mark>'
            )
            place = mark["end"]
        parts.append(escape(text[place:end]))
    return "".join(parts).strip()


def _sentences(text: str, marks: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Start and end of the sentences in which a mark begins."""
    breaks = [found.end() for found in re.finditer(r"(?<=[.!?])\s+|\n+", text)]
    edges = [0, *breaks, len(text)]
    return [
        (start, end) for start, end in itertools.pairwise(edges) if any(start <= mark["start"] < end for mark in marks)
    ]


def _case(row: Mapping[str, Any], rank: int, threshold: float | None, names: Names) -> dict[str, Any]:
    from PIL import Image

    image = Image.open(io.BytesIO(row["image"])).convert("L")
    if max(image.size) > _LARGEST:
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    heat = None
    if row["heat"] is not None:
        grid = np.asarray(row["heat"], np.float32).reshape(row["grid"])
        width, height = image.size
        size = (round(_HEAT_SIDE * min(height / width, 1)), round(_HEAT_SIDE * min(width / height, 1)))
        heat = _data_url(_heat_png(upsample(grid, size, row["upsampling"], row["shift"])), "png")
    return {
        "finding": row["finding"],
        "kind": row["kind"],
        "verdict": _verdict(row["kind"], row["score"], threshold),
        "rank": rank,
        "score": row["score"],
        "image": _data_url(stream.getvalue(), "jpeg"),
        "width": image.size[0],
        "height": image.size[1],
        "heat": heat,
        "boxes": [{name: round(100 * value, 2) for name, value in box.items()} for box in row["boxes"] or []],
        "report": marked_text(row["text"], row["marks"] or [], row["entity"], names) if row["text"] else "",
        "mentioned": any(mark["entity"] == row["entity"] for mark in row["marks"] or []),
        "note": row["note"],
    }


def _verdict(kind: str, score: float, threshold: float | None) -> tuple[str, str]:
    wrong, right, open_ = _VERDICTS[kind]
    if threshold is None:
        return open_
    return right if called_present(score, threshold) == (kind != "claimed") else wrong


def _heat_png(pixels: NDArray[np.floating]) -> bytes:
    """The map as an indexed PNG, clear where attention is lowest."""
    from PIL import Image

    picture = Image.fromarray((share_of(pixels) * (_LEVELS - 1)).round().astype(np.uint8), "P")
    colours = heat_colours(np.linspace(0, 1, _LEVELS)[None])[0] * 255
    picture.putpalette(colours[:, :3].round().astype(np.uint8).tobytes())
    stream = io.BytesIO()
    # The page's slider fades the whole map; the strongest place is opaque.
    alpha = (colours[:, 3] / STRONGEST).round().astype(np.uint8)
    picture.save(stream, "PNG", transparency=alpha.tobytes(), optimize=True)
    return stream.getvalue()


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
