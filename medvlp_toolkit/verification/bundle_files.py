"""Checks of a bundle's other files: licence, model card, logging.conf, weights, large_files.yml."""

from __future__ import annotations

import configparser
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medvlp_toolkit.verification.located_file import LocatedFile
from medvlp_toolkit.verification.problem import Problem, nearest, shown

_LFS = b"version https://git-lfs"
WEIGHTS = (".pt", ".pth", ".ts", ".safetensors")
_LOGGING_SECTIONS = {"loggers": "logger", "handlers": "handler", "formatters": "formatter"}
_LARGE_FILE_KEYS = {"path", "url", "hash_val", "hash_type", "fuzzy"}


def check_layout(bundle: Path) -> Iterator[Problem]:
    """Files that a bundle of the model zoo has in addition to its configurations."""
    if not (bundle / "LICENSE").is_file():
        yield Problem("LICENSE", 0, "", "is missing", "add the text of the bundle's licence")
    if not (bundle / "docs" / "README.md").is_file():
        yield Problem("docs/README.md", 0, "", "is missing", "add the model card: purpose, data, results")
    if not (bundle / "configs").is_dir():
        yield Problem("configs", 0, "", "is missing", "configurations and metadata.json belong there")
        return
    if not (bundle / "configs" / "metadata.json").is_file():
        yield Problem("configs/metadata.json", 0, "", "is missing", "see MONAI's bundle specification")
    yield from check_logging(bundle / "configs" / "logging.conf", bundle)


def check_logging(path: Path, bundle: Path) -> Iterator[Problem]:
    """``logging.conf``: without it a run shows no progress."""
    name = shown(path, bundle)
    if not path.is_file():
        yield Problem(name, 0, "", "is missing: runs would show no progress", "copy a shipped bundle's")
        return
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        yield Problem(name, getattr(error, "lineno", 0) or 0, "", f"is not readable: {str(error).splitlines()[0]}")
        return
    for section, prefix in _LOGGING_SECTIONS.items():
        if not parser.has_option(section, "keys"):
            yield Problem(name, 0, section, "has no keys", f"add [{section}] with keys=…")
            continue
        for key in filter(None, (part.strip() for part in parser.get(section, "keys").split(","))):
            if not parser.has_section(f"{prefix}_{key}"):
                yield Problem(name, 0, section, f"names {key}, but there is no section [{prefix}_{key}]")
    for section in parser.sections():
        for key in filter(None, map(str.strip, parser.get(section, "handlers", fallback="").split(","))):
            if section.startswith("logger_") and not parser.has_section(f"handler_{key}"):
                yield Problem(name, 0, section, f"writes to {key}, but there is no section [handler_{key}]")


def check_large_files(file: LocatedFile) -> Iterator[Problem]:
    """``large_files.yml``: the files to download, with their hashes."""
    entries = file.value.get("large_files") if isinstance(file.value, dict) else None
    if not isinstance(entries, list):
        if file.value is not None:
            yield Problem(file.name, 1, "large_files", "is missing; expected a list of files")
        return
    for number, entry in enumerate(entries):
        path = ("large_files", str(number))
        line, id_ = file.lines.get(path, 0), "::".join(path)
        if not isinstance(entry, dict):
            yield Problem(file.name, line, id_, "is not a mapping; expected path and url")
            continue
        for key in ("path", "url"):
            if not entry.get(key):
                yield Problem(file.name, line, f"{id_}::{key}", "is missing", nearest(key, entry))
        for key in sorted(set(map(str, entry)) - _LARGE_FILE_KEYS):
            yield Problem(file.name, line, f"{id_}::{key}", "is not known", nearest(key, _LARGE_FILE_KEYS))
        if not entry.get("hash_val"):
            yield Problem(file.name, line, f"{id_}::hash_val", "is missing: a damaged download would pass",
                          "add hash_val and hash_type")  # fmt: skip


def check_weights(bundle: Path) -> Iterator[Problem]:
    """Check that every file of weights in ``models/`` can be read; nothing in them is executed."""
    folder = bundle / "models"
    if not folder.is_dir():
        return
    keys: dict[Path, set[str] | None] = {}
    for path in sorted(file for file in folder.rglob("*") if file.suffix in WEIGHTS and file.is_file()):
        problem, keys[path] = _read(path)
        if problem:
            yield Problem(shown(path, bundle), 0, "", problem[0], problem[1])
    for path, names in keys.items():
        other = keys.get(path.with_suffix(".safetensors")) if path.suffix == ".pt" else None
        if names is not None and other is not None and names != other:
            differing = sorted(names ^ other)
            yield Problem(
                shown(path.with_suffix(".safetensors"), bundle), 0, "",
                f"holds other entries than {path.name}: {', '.join(differing[:3])}", "write both from one state dict",
            )  # fmt: skip


def _read(path: Path) -> tuple[tuple[str, str] | None, set[str] | None]:
    with path.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(_LFS):
        return ("is a pointer of Git LFS, not the weights", "git lfs pull"), None
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".ts":
        whole = zipfile.is_zipfile(path)
        return (None if whole else ("is not a TorchScript archive, or is incomplete", "export it again")), None
    return _read_torch(path)


def _read_safetensors(path: Path) -> tuple[tuple[str, str] | None, set[str] | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return None, set(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        return (f"is not readable as safetensors: {_first_line(error)}", "write or download it again"), None


def _read_torch(path: Path) -> tuple[tuple[str, str] | None, set[str] | None]:
    from pickle import UnpicklingError

    import torch

    try:
        state: Any = torch.load(path, map_location="meta", weights_only=True)
    except UnpicklingError:
        what = "holds more than tensors and plain containers, or is not a checkpoint; nothing in it was executed"
        return (what, "save a state dict with torch.save"), None
    except Exception as error:
        return (f"cannot be read as weights ({type(error).__name__})", "write or download it again"), None
    if not isinstance(state, dict):
        return (f"holds a {type(state).__name__}; expected a state dict", "save module.state_dict()"), None
    bare = all(isinstance(value, torch.Tensor) for value in state.values())
    if path.name == "model.pt" and not bare:
        return ("is not a bare state dict, which MONAI's checks load into network_def", "save one entry of it"), None
    return None, set(map(str, state)) if bare else None


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
