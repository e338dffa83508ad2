"""Pictures of a few studies of a packed store, with their labels.

File names are running numbers; neither ids nor report text are drawn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medvlp_toolkit.data.boxes import corners
from medvlp_toolkit.data.records import Presence
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.data.store.store_summary import rows_of_split
from medvlp_toolkit.evaluation.maps.overlays import displayed
from medvlp_toolkit.evaluation.maps.volume_slices import picture_of
from medvlp_toolkit.evaluation.results.names import readable
from medvlp_toolkit.images.picture_colours import BACKGROUND, BOX, FAINT, TEXT

SHEET_FILE = "examples.png"

_SIDE = 256  # longer side of a picture in pixels
_LINES = 4
_TEXT_SIZE = 12
_LINE = 15
_GAP = 8
_PRESENCE = {1: Presence.PRESENT, 0: Presence.ABSENT, -1: Presence.UNCERTAIN}
_NOT_THERE = {Presence.ABSENT: "no {}", Presence.UNCERTAIN: "{}?"}


def write_examples(
    store: PackedStore, folder: Path | str, count: int = 12, split: str | None = None, columns: int = 4
) -> list[Path]:
    """Draw studies spread evenly over a split (or the store): ``examples.png``, and ``example_001.png`` …

    Returns the path of the sheet, then those of the pictures; pictures of an earlier call in ``folder`` are removed.

    Raises ValueError if the store has no images or the split has no study.
    """
    if not store.has_images:
        raise ValueError(f"{store.path}: a store of reports only has no pictures to draw")
    rows = rows_of_split(store, split)
    chosen = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("example*.png"):
        if re.fullmatch(r"examples\.png|example_\d{3,}\.png", old.name):
            old.unlink()
    paths = [folder / SHEET_FILE]
    pictures = []
    for number, row in enumerate(chosen.tolist(), start=1):
        picture = draw_study(store, row, f"{number}")
        paths.append(folder / f"example_{number:03d}.png")
        picture.save(paths[-1])
        pictures.append(picture)
    _sheet(pictures, columns).save(paths[0])
    return paths


def draw_study(store: PackedStore, row: int, heading: str) -> Image.Image:
    """One study: its image (or the middle slice of its volume) with boxes; below it present, then other findings."""
    affine = store.array("affines")[row] if store.images.ndim == 5 else None
    image = Image.fromarray(displayed(picture_of(np.asarray(store.images[row]), affine)))
    scale = _SIDE / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale)))).convert("RGB")
    canvas = Image.new("RGB", (image.width, image.height + _LINE * (_LINES + 1) + 4), BACKGROUND)
    canvas.paste(image, (0, 0))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_TEXT_SIZE)
    if store.images.ndim == 4:
        for x, y, width, height in map(corners, store.boxes_of(row)):
            sides = (image.width, image.height) * 2
            draw.rectangle(
                [at * side for at, side in zip((x, y, x + width, y + height), sides, strict=True)], outline=BOX
            )
    split = store.table("studies", ["split"]).column("split")[row].as_py()
    draw.text((2, image.height + 2), f"{heading}  {split or ''}", fill=FAINT, font=font)
    present, others = _statements(store, row)
    lines = [(line, TEXT) for line in _wrapped(present, image.width - 4, draw, font)]
    lines += [(line, FAINT) for line in _wrapped(others, image.width - 4, draw, font)]
    for number, (line, colour) in enumerate(lines[:_LINES], start=1):
        more = number == _LINES and len(lines) > _LINES
        draw.text((2, image.height + 2 + number * _LINE), f"{line} …" if more else line, fill=colour, font=font)
    return canvas


def _statements(store: PackedStore, row: int) -> tuple[list[str], list[str]]:
    """Present findings (with position), then uncertain and absent ones; from reports, else from the source's labels."""
    findings, names = store.findings_of(row), store.meta.get("names", {})
    if findings:
        said = [(readable(f.entity, names), f.presence, f.position and readable(f.position, names)) for f in findings]
    else:
        values = ((name, store.studies.column(f"label:{name}")[row].as_py()) for name in store.labels)
        said = [(readable(name, names), _PRESENCE[value], None) for name, value in values if value is not None]
    placed = {name for name, presence, position in said if presence is Presence.PRESENT and position}
    present = [
        f"{name} ({position})" if position else name
        for name, presence, position in said
        if presence is Presence.PRESENT and (position or name not in placed)
    ]
    others = [_NOT_THERE[presence].format(name) for name, presence, _ in said if presence in _NOT_THERE]
    return list(dict.fromkeys(present)), list(dict.fromkeys(others))


def _wrapped(words: Sequence[str], width: int, draw: ImageDraw.ImageDraw, font: Any) -> list[str]:
    """Words joined by commas and wrapped to a width."""
    lines: list[str] = []
    for word in words:
        joined = f"{lines[-1]}, {word}" if lines else word
        if lines and draw.textlength(joined, font=font) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def _sheet(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    columns = min(columns, len(pictures))
    lines = -(-len(pictures) // columns)
    width, height = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, lines * (height + _GAP) + _GAP), BACKGROUND)
    for number, picture in enumerate(pictures):
        line, column = divmod(number, columns)
        sheet.paste(picture, (_GAP + column * (width + _GAP), _GAP + line * (height + _GAP)))
    return sheet
