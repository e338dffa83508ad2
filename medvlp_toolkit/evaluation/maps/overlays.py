"""Heat map overlays: the image in grey, its heat map in colour, true boxes outlined.

File names consist of consecutive numbers and findings, never of study or patient ids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from medvlp_toolkit.data.boxes import AnyBox, corners
from medvlp_toolkit.evaluation.maps.heat_maps import Upsampling, share_of, upsample
from medvlp_toolkit.files import name_part
from medvlp_toolkit.images.picture_colours import BACKGROUND, BOX, FAINT, TEXT

SHEET_FILE = "overlays.png"

#: Opacity of a map's highest value, low enough to keep the anatomy visible.
STRONGEST = 0.75

_COLOURS = "inferno"
_PANEL = 3.2  # inches
_CAPTION = 0.42
_DPI = 160
_CHARACTERS = 36  # of a caption that fits over a panel


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """One picture.

    ``image`` (H, W), or (1 or 3, H, W), of any range; ``heat`` (h, w) on the token grid; ``boxes`` the truth, as
    fractions of the image; ``label`` and ``score`` make the caption ("nodule 0.93"), ``note`` a second, fainter
    part of it ("not there", "right lung"); ``name`` is shown instead of the label, which files are named by; ``shift``
    where tokens look within their cell (:func:`~medvlp_toolkit.evaluation.upsample`).
    """

    image: NDArray[Any]
    heat: NDArray[np.floating]
    label: str
    score: float | None = None
    boxes: Sequence[AnyBox] = ()
    note: str = ""
    shift: Sequence[float] = ()
    name: str = ""


def write_overlay(path: Path | str, overlay: Overlay, upsampling: Upsampling = "linear") -> Path:
    """Draw one picture as PNG. ``upsampling`` ``nearest`` shows the individual tokens."""
    path = Path(path)
    height, width = grey(overlay.image).shape
    figure = Figure(figsize=(_PANEL, _PANEL * height / width + _CAPTION), facecolor=BACKGROUND)
    share = _PANEL * height / width / (_PANEL * height / width + _CAPTION)
    _draw(figure.add_axes((0, 0, 1, share)), overlay, upsampling, text_size=11)
    _save(figure, path)
    return path


def write_contact_sheet(
    path: Path | str,
    overlays: Sequence[Overlay],
    title: str = "",
    columns: int = 4,
    upsampling: Upsampling = "linear",
    shows: str = "attention",
) -> Path:
    """Draw several pictures on one page as PNG, with a legend that says what the maps show. Raises ValueError without
    pictures."""
    if not overlays:
        raise ValueError("a contact sheet needs at least one picture")
    if columns < 1:
        raise ValueError(f"a contact sheet needs at least one column, got {columns}")
    path = Path(path)
    columns = min(columns, len(overlays))
    rows = -(-len(overlays) // columns)
    shapes = [grey(overlay.image).shape for overlay in overlays]
    panel, gap, head, foot = 2.3, 0.1, 0.42 if title else 0.1, 0.36
    tall = panel * max(height / width for height, width in shapes)
    page_width = columns * panel + (columns + 1) * gap
    page_height = head + rows * (tall + _CAPTION) + foot
    figure = Figure(figsize=(page_width, page_height), facecolor=BACKGROUND)
    for number, overlay in enumerate(overlays):
        row, column = divmod(number, columns)
        left = gap + column * (panel + gap)
        bottom = page_height - head - (row + 1) * (tall + _CAPTION)
        axes = figure.add_axes((left / page_width, bottom / page_height, panel / page_width, tall / page_height))
        _draw(axes, overlay, upsampling, text_size=9)
    if title:
        figure.text(gap / page_width, 1 - 0.17 / page_height, title, color=TEXT, size=12, weight="bold", va="top")
    _legend(figure, gap, page_width, page_height, any(overlay.boxes for overlay in overlays), shows)
    _save(figure, path)
    return path


def write_overlays(
    folder: Path | str,
    overlays: Sequence[Overlay],
    title: str = "",
    columns: int = 4,
    upsampling: Upsampling = "linear",
    shows: str = "attention",
) -> list[Path]:
    """Write every picture as ``overlay_001_<finding>.png`` …, and all on one sheet, ``overlays.png``.

    Pictures of an earlier call in ``folder`` are removed. Returns the path of the sheet, then those of the pictures;
    without pictures nothing is written and the list is empty.
    """
    folder = Path(folder)
    for old in folder.glob("overlay*.png"):
        if re.fullmatch(r"overlays\.png|overlay_\d{3,}_[a-z0-9_-]+\.png", old.name):
            old.unlink()
    if not overlays:
        return []
    paths = [write_contact_sheet(folder / SHEET_FILE, overlays, title, columns, upsampling, shows)]
    for number, overlay in enumerate(overlays, start=1):
        name = f"overlay_{number:03d}_{name_part(overlay.label)}.png"
        paths.append(write_overlay(folder / name, overlay, upsampling))
    return paths


def heat_colours(heat: NDArray[np.floating]) -> NDArray[np.float64]:
    """(H, W) map -> (H, W, 4) colours, transparent at the map's lowest value and most opaque (:data:`STRONGEST`) at its
    highest."""
    share = share_of(heat)
    colours: NDArray[np.float64] = np.asarray(colormaps[_COLOURS](0.25 + 0.75 * share))
    colours[..., 3] = STRONGEST * share**1.3
    return colours


def _draw(axes: Axes, overlay: Overlay, upsampling: Upsampling, text_size: float) -> None:
    pixels = grey(overlay.image)
    height, width = pixels.shape
    if overlay.heat.ndim != 2:
        raise ValueError(f"an overlay is drawn from a map (h, w), got {overlay.heat.shape}; take a slice of a volume")
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="bilinear")
    colours = heat_colours(upsample(overlay.heat, (height, width), upsampling, overlay.shift))
    smooth = "bilinear" if upsampling == "linear" else "nearest"
    axes.imshow(colours, extent=(0, width, height, 0), interpolation=smooth)
    halo = [withStroke(linewidth=3.2, foreground="black", alpha=0.6)]
    for box in overlay.boxes:
        x, y, w, h = corners(box)
        outline = Rectangle((x * width, y * height), w * width, h * height, fill=False, edgecolor=BOX, linewidth=1.4)
        outline.set_path_effects(halo)
        axes.add_patch(outline)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    shown = overlay.name or overlay.label
    caption = shown if overlay.score is None else f"{shown} {overlay.score:.2f}"
    text_size *= min(1.0, _CHARACTERS / (len(caption) + len(overlay.note)))
    spot = {"transform": axes.transAxes, "size": text_size, "va": "bottom"}
    axes.text(0.02, 1.02, caption, color=TEXT, ha="left", weight="bold", **spot)
    if overlay.note:
        axes.text(0.98, 1.02, overlay.note, color=FAINT, ha="right", **(spot | {"size": text_size - 1.5}))


def _legend(figure: Figure, gap: float, page_width: float, page_height: float, boxes: bool, shows: str) -> None:
    y, size = 0.13 / page_height, 8.5
    bar = figure.add_axes((gap / page_width, y, 0.9 / page_width, 0.1 / page_height))
    bar.imshow(heat_colours(np.linspace(0, 1, 64)[None]), aspect="auto")
    bar.set_axis_off()
    figure.text((gap + 0.97) / page_width, y, f"{shows}, low to high", color=FAINT, size=size, va="bottom")
    if boxes:
        left = gap + 2.45
        outline = Rectangle(
            (left / page_width, y), 0.16 / page_width, 0.1 / page_height, fill=False, edgecolor=BOX, linewidth=1.4
        )
        figure.add_artist(outline)
        figure.text((left + 0.24) / page_width, y, "true box", color=FAINT, size=size, va="bottom")


def displayed(image: NDArray[Any]) -> NDArray[np.uint8]:
    """An image (H, W), or of uint8 (1 or 3, H, W), as the pixels of a picture: (H, W), or in colour (H, W, 3)."""
    if image.dtype == np.uint8 and image.ndim == 3:
        return np.ascontiguousarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    pixels: NDArray[np.uint8] = (grey(image) * 255).round().astype(np.uint8)
    return pixels


def grey(image: NDArray[Any]) -> NDArray[np.float64]:
    """(H, W) in [0, 1], channels averaged: of uint8 as it is displayed, of integers of a volume from their 1st to their
    99th percentile, of other values from the lowest to the highest."""
    kind = np.asarray(image).dtype
    image = np.asarray(image, float)
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = image.mean(axis=0)
    if image.ndim != 2:
        raise ValueError(f"an overlay is drawn on an image (H, W) or (1 or 3, H, W), got {image.shape}")
    ends = (1, 99) if kind.kind == "i" else (0, 100)
    low, high = (0.0, 255.0) if kind == np.uint8 else np.percentile(image, ends)
    return ((image - low) / (high - low)).clip(0, 1) if high > low else np.zeros(image.shape)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_figure(path, dpi=_DPI, facecolor=BACKGROUND, metadata={"Software": None})
