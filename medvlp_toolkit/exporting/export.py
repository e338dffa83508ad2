"""Export: a trained bundle's network in one or several formats, each compared with the bundle before it is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

import medvlp_toolkit as mv
from medvlp_toolkit.exporting import run_onnx
from medvlp_toolkit.exporting.formats import FORMATS
from medvlp_toolkit.exporting.model_card import model_card
from medvlp_toolkit.exporting.outputs import ATTENTION, INPUT
from medvlp_toolkit.exporting.preprocessing import described
from medvlp_toolkit.exporting.samples import sample_files
from medvlp_toolkit.exporting.source import ExportSource, Outputs
from medvlp_toolkit.files import write_whole
from medvlp_toolkit.weights.description import FILE as DESCRIPTION

#: Largest difference of a probability, or of a map's value, between the bundle and a file.
TOLERANCE = 1e-4
METADATA, CARD, EXAMPLE = "export.json", "README.md", "run_onnx.py"
_AXES = {2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: format -> its file.
        differences: format -> output -> largest difference from the bundle.
        images: how many images were compared.
        outputs: name -> shape, as text.
        no_attention: why there is no ``attention``; empty where there is.
        folder: of the files.
    """

    files: dict[str, Path]
    differences: dict[str, dict[str, float]]
    images: int
    outputs: dict[str, str]
    no_attention: str
    folder: Path


def export_bundle(
    folder: str | Path,
    formats: Sequence[str],
    out: str | Path,
    *,
    weights: str | Path | None = None,
    overlays: Sequence[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    images: str | Path | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write a trained bundle in some formats, with ``export.json`` and a model card.

    Every file is read back and run on sample images, one at a time and all together; only when all agree with the
    bundle are they moved to ``out``. Computed in float32 on the CPU.

    Args:
        folder: of the bundle.
        formats: names of :data:`~medvlp_toolkit.exporting.FORMATS`.
        out: folder; new, empty, or with an export of the same weights.
        weights, overlays, overrides: as for :func:`medvlp_toolkit.load_bundle`.
        images: file or folder to compare on; generated images when None.
        tolerance: largest difference that is accepted.

    Raises:
        ValueError: for an unknown format, a bundle or part that cannot be exported, or a difference beyond
            ``tolerance``.
        FileExistsError: when ``out`` holds something else.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"format {', '.join(unknown) or '(none)'} is not one of {', '.join(FORMATS)}")
    source = ExportSource(folder, overlays, weights, overrides)
    target = Path(out)
    with tempfile.TemporaryDirectory() as made:
        building = Path(made)
        given = None if images is None else Path(images)
        samples = [source.sample(path) for path in sample_files(given, source.image_size, building)]
        steps = described(source, samples)
        batch = np.stack([sample.prepared for sample in samples])
        expected = source.outputs(batch)
        network = source.exportable(batch)
        about = _metadata(source, steps, expected, batch)
        _check_target(target, about)
        differences = {name: _written(name, network, batch, expected, about, building, source) for name in formats}
        _check(differences, tolerance)
        _finish(target, building, formats, source, about, differences, len(batch))
    return Exported(
        {name: target / FORMATS[name].file for name in formats},
        differences,
        len(batch),
        about["outputs"],
        about["no_attention"],
        target,
    )


def _written(
    name: str,
    network: nn.Module,
    batch: NDArray[np.float32],
    expected: Outputs,
    about: Mapping[str, Any],
    folder: Path,
    source: ExportSource,
) -> dict[str, float]:
    """Write one format; the largest difference of each output."""
    flat = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    chosen = FORMATS[name]
    try:
        # Two images: exporters take a batch of one for a constant.
        run = chosen.write(network, np.concatenate([batch, batch])[:2], flat, folder / chosen.file)
    except (ValueError, ImportError):
        raise
    except Exception as error:
        raise ValueError(
            f"{source.folder} cannot be exported as {name}: {type(source.network).__name__} holds a part that "
            f"torch cannot convert ({_reason(error)})"
        ) from error
    singly = [run(batch[n : n + 1]) for n in range(len(batch))]
    together = run(batch)
    found = {}
    for output, values in expected.items():
        both = (together[output], np.concatenate([one[output] for one in singly]))
        # NaN is a difference too, and compares as none.
        found[output] = max(float(np.nan_to_num(np.abs(one - values), nan=np.inf).max()) for one in both)
    return found


def _check(differences: Mapping[str, Mapping[str, float]], tolerance: float) -> None:
    for name, found in differences.items():
        for output, difference in found.items():
            if not difference <= tolerance:
                raise ValueError(
                    f"{name} differs from the bundle by {difference:.2g} in {output}, and --tolerance is "
                    f"{tolerance:g}; nothing was written. Report the parts that the bundle is made of, or accept it "
                    "with a larger --tolerance"
                )


def _metadata(
    source: ExportSource, steps: Mapping[str, Any], expected: Outputs, batch: NDArray[np.float32]
) -> dict[str, Any]:
    """Metadata in each file; no path of this machine."""
    shapes = {name: ["batch", *map(str, values.shape[1:])] for name, values in expected.items()}
    described_by = source.weights.parent / DESCRIPTION
    return {
        "bundle": source.folder.resolve().name,
        "toolkit": f"medvlp-toolkit {mv.__version__}",
        "entities": list(source.entities),
        "entity_names": list(source.entity_names),
        "input": {
            "name": INPUT,
            "shape": ["batch", *map(int, batch.shape[1:])],
            "axes": ["batch", "channel", *_AXES[batch.ndim - 2]],
            "type": "float32",
        },
        "outputs": {name: f"({', '.join(shape)})" for name, shape in shapes.items()},
        "no_attention": "" if ATTENTION in expected else source.why_no_attention,
        "token_shift": list(source.token_shift) if ATTENTION in expected else [],
        "preprocessing": dict(steps),
        "weights_file": source.weights.name,
        "weights_sha256": _sha256(source.weights),
        "configuration_file": DESCRIPTION if described_by.is_file() else source.configuration[0].name,
        "configuration_sha256": _sha256(*([described_by] if described_by.is_file() else source.configuration)),
    }


def _check_target(target: Path, about: Mapping[str, Any]) -> None:
    """Files of two models in one folder could not be distinguished."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        there = json.loads((target / METADATA).read_text(encoding="utf-8"))["metadata"]["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise FileExistsError(f"{target} exists and holds no export; name a new folder, or an empty one") from None
    if there != about["weights_sha256"]:
        raise FileExistsError(f"{target} holds an export of other weights; name a new folder, or empty this one")


def _finish(
    target: Path,
    building: Path,
    formats: Sequence[str],
    source: ExportSource,
    about: Mapping[str, Any],
    differences: Mapping[str, Mapping[str, float]],
    images: int,
) -> None:
    """Move the files to their place, then write what describes them."""
    target.mkdir(parents=True, exist_ok=True)
    earlier = target / METADATA
    content = json.loads(earlier.read_text(encoding="utf-8")) if earlier.is_file() else {"files": {}}
    for name in formats:
        file = FORMATS[name].file
        content["files"][name] = {
            "file": file,
            "bytes": (building / file).stat().st_size,
            "sha256": _sha256(building / file),
            "max_difference": dict(differences[name]),
            "images": images,
        }
        _copy(building / file, target / file)
    if "safetensors" in formats and (source.weights.parent / DESCRIPTION).is_file():
        _copy(source.weights.parent / DESCRIPTION, target / DESCRIPTION)  # they are read together
    is_runnable = "onnx" in content["files"] and about["preprocessing"]["kind"] == "picture"
    if is_runnable:
        _copy(Path(run_onnx.__file__), target / EXAMPLE)
    content["metadata"] = dict(about)
    _write(target / METADATA, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    card = model_card(about, content["files"], source.bundle_metadata, EXAMPLE if is_runnable else None)
    _write(target / CARD, card)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as stream:
        write_whole(target, lambda file: shutil.copyfileobj(stream, file))


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode("utf-8")))


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _reason(error: BaseException) -> str:
    """The first line of the innermost cause: exporters wrap it in pages of advice."""
    link = error
    while (inner := link.__cause__ or link.__context__) is not None:
        link = inner
    lines = [line.strip() for line in str(link).splitlines() if line.strip()]
    return lines[0] if lines else type(link).__name__
