"""Provenance of an evaluation: configuration, versions, hashes."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from medvlp_toolkit.files import sha256_of

#: Distributions whose version can change a metric.
DISTRIBUTIONS = (
    "medvlp-toolkit",
    "torch",
    "monai",
    "pytorch-ignite",
    "transformers",
    "numpy",
    "scipy",
    "scikit-learn",
)


def run_record(
    config: Mapping[str, Any],
    checkpoint: Path | str | None = None,
    device: Any = None,
    seconds: Mapping[str, float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The content of ``run.json``, except what :meth:`Results.write` adds.

    Args:
        config: the configuration before objects are built from it; plain values, so that equal hashes mean equal
            configurations.
        checkpoint: the weights' file; its SHA-256 is recorded, and its name without the folder.
        device: ``torch.device`` or its name.
        seconds: durations, such as ``{"training": 93.0, "evaluation": 4.1}``.
        more: further plain values, such as ``bundle="medklip"``.

    Raises:
        FileNotFoundError: when there is no file ``checkpoint``.
    """
    record: dict[str, Any] = {
        **more,
        "config": config,
        "hashes": {"config": config_sha256(config), "checkpoint": None},
        "versions": {"python": platform.python_version(), **_versions()},
        "device": _device_name(device),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": dict(seconds or {}),
    }
    if checkpoint is not None:
        path = Path(checkpoint)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such checkpoint; give the file whose weights were evaluated")
        record["hashes"]["checkpoint"] = sha256_of(path)
        record["checkpoint"] = path.name
    return record


def config_sha256(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def split_sha256(study_ids: Iterable[str], splits: Iterable[str | None]) -> str:
    """SHA-256 of the studies of each split, in any order. It distinguishes data sets without identifying anyone."""
    lines = sorted(json.dumps([study, split]) for study, split in zip(study_ids, splits, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _versions() -> dict[str, str]:
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _device_name(device: Any) -> str | None:
    if device is None:
        return None
    name = str(device)
    torch = sys.modules.get("torch")  # not imported only for its version
    if name.startswith("cuda") and torch is not None and torch.cuda.is_available():
        return f"{name} ({torch.cuda.get_device_name(device)})"
    return f"{name} ({platform.machine()})" if name == "cpu" else name
