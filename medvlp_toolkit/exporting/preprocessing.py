"""What has to be done to a file before an exported network reads it, in plain values; and the check of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medvlp_toolkit.data.batches.augmentation import EvaluationTransform
from medvlp_toolkit.data.batches.volume_augmentation import PERCENTILES, VolumeTransform
from medvlp_toolkit.exporting.run_onnx import prepare, to_input
from medvlp_toolkit.exporting.source import ExportSource, Sample

#: Values that count as the same: rounding in float32 of normalised pixels.
_SAME = 1e-4


def described(source: ExportSource, samples: list[Sample]) -> dict[str, Any]:
    """The steps from a file to the network's input, as the file's metadata state them.

    Of pictures: size, channels, fit, input_size, mean, std. Of volumes: size, spacing, orientation, window (or
    percentiles), mean, std. They are followed on the samples and must lead to the input that the bundle itself makes.

    Raises:
        ValueError: for a transform that is neither of the toolkit's, or does more than these steps.
    """
    transform = source.transform
    form = samples[0].stored_format
    size = [int(side) for side in form.size]
    if isinstance(transform, VolumeTransform):
        steps: dict[str, Any] = {
            "kind": "volume",
            "size": size,
            "spacing": None if form.spacing is None else [float(side) for side in form.spacing],
            "orientation": form.orientation,
            "window": None if transform.window is None else list(transform.window),
            "percentiles": list(PERCENTILES) if transform.window is None else None,
            "mean": [float(transform.mean)],
            "std": [float(transform.std)],
        }
    elif isinstance(transform, EvaluationTransform):
        steps = {
            "kind": "picture",
            "size": size,
            "channels": form.channels,
            "fit": form.fit,
            "input_size": list(transform.input_size(size)),
            "interpolation": "bilinear",
            "divided_by": 255,
            "mean": _shortest(transform.mean),
            "std": _shortest(transform.std),
        }
    else:
        raise ValueError(
            f"{source.folder}: its evaluation_transform is a {type(transform).__name__}, whose steps a file's metadata "
            "cannot state; export covers EvaluationTransform and VolumeTransform of medvlp_toolkit.data"
        )
    if not all(_leads_to(steps, sample) for sample in samples):
        raise ValueError(
            f"{source.folder}: its {type(transform).__name__} does more to an image than resizing, windowing and "
            "normalising; the exported file could not state how its input is made"
        )
    return steps


def prepare_volume(values: NDArray[Any], steps: dict[str, Any]) -> NDArray[np.float32]:
    """(D, H, W) values of a volume on the network's grid -> (1, 1, D, H, W) float32."""
    voxels = values.astype(np.float32)
    if steps["window"] is not None:
        low, high = steps["window"]
    else:
        flat = voxels.ravel()
        low, high = np.percentile(flat[:: max(1, flat.size // 100_000)], steps["percentiles"])
    unit = np.clip((voxels - low) / max(high - low, 1e-6), 0, 1)
    prepared: NDArray[np.float32] = ((unit - steps["mean"][0]) / steps["std"][0]).astype(np.float32)
    return prepared[None, None]


def _leads_to(steps: dict[str, Any], sample: Sample) -> bool:
    if steps["kind"] == "volume":
        slope, intercept = sample.scale
        made = prepare_volume(sample.stored[0] * slope + intercept, steps)[0]
    elif _is_picture(sample.path):
        made = prepare(sample.path, steps)[0]
    else:  # DICOM: what follows reading
        made = to_input(sample.stored.astype(np.float32), steps)
    return made.shape == sample.prepared.shape and bool(np.allclose(made, sample.prepared, atol=_SAME))


def _shortest(values: Tensor) -> list[float]:
    """float32 values in the fewest digits that give them back: 0.45, not 0.449999988."""
    return [float(str(value)) for value in values.cpu().numpy()]


def _is_picture(path: Path) -> bool:
    """Whether the example reads a file: 8-bit PNG and JPEG, which need no more than Pillow."""
    return path.suffix.lower() in (".png", ".jpg", ".jpeg")
