"""What the comparisons with published systems share: tolerances, differences, the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

OUTPUT_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
#: Norms below it are compared absolutely.
SMALL_NORM = 1e-3
SMALL_NORM_TOLERANCE = 1e-7
#: What rounding may leave of a gradient that is zero.
ZERO_NORM_TOLERANCE = 1e-4
# torch's convolutions round otherwise on one thread than on several (2 to 16 agree), and a rounding error that turns
# a single ReLU moves the encoder's gradient by 4e-3 of its largest value. The references were made on several.
THREADS = 2


def distance(ours: Tensor, reference: Tensor) -> float:
    """The largest absolute difference."""
    if ours.shape != reference.shape:
        raise ValueError(f"shape {tuple(ours.shape)} against the reference's {tuple(reference.shape)}")
    return float((ours.detach().float() - reference.float()).abs().max())


def relative(ours: Tensor, reference: Tensor) -> float:
    """The largest difference, relative to the reference's largest value."""
    return distance(ours, reference) / float(reference.abs().max())


def holds(differences: dict[str, float]) -> bool:
    """Whether every difference is within its tolerance."""
    return all(value <= _tolerance(name) for name, value in differences.items())


def _tolerance(name: str) -> float:
    if name.endswith("small_grad_norms"):
        return SMALL_NORM_TOLERANCE
    if name.endswith("zero_grad_norms"):
        return ZERO_NORM_TOLERANCE
    return GRADIENT_TOLERANCE if "grad" in name else OUTPUT_TOLERANCE


def run(
    compare: Callable[[Path], dict[str, float]],
    description: str | None,
    files: Sequence[str] = ("keys.json", "golden.safetensors"),
) -> int:
    """The command line of a comparison; gives its exit status."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, required=True, help=f"folder with {' and '.join(files)}")
    folder = parser.parse_args().golden
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        print(f"{folder} lacks {', '.join(missing)}", file=sys.stderr)
        return 2
    differences = compare(folder)
    ok = holds(differences)
    print(json.dumps({**differences, "ok": ok}))
    return 0 if ok else 1
