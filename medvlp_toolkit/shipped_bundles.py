"""The bundles shipped with the toolkit: package data of a wheel, or the ``bundles/`` folder of a checkout."""

from __future__ import annotations

import difflib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

#: Files that a run leaves in a bundle; never copied.
_MADE_BY_RUNS = ("models", "eval", "runs", "output", "__pycache__")


@dataclass(frozen=True)
class ShippedBundle:
    """A bundle's folder and the content of its ``configs/metadata.json``; empty strings if there is none."""

    name: str
    folder: Path
    version: str
    task: str


def bundles_folder() -> Path:
    """The folder of the shipped bundles.

    Raises:
        FileNotFoundError: when neither the installed package nor its checkout has one.
    """
    package = Path(__file__).parent
    for folder in (package / "bundles", package.parent / "bundles"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"no bundles beside the installed package at {package}; reinstall it: pip install --force-reinstall "
        "medvlp-toolkit"
    )


def shipped_bundles() -> list[ShippedBundle]:
    """Every shipped bundle, sorted by name."""
    return [_read(folder) for folder in sorted(bundles_folder().iterdir()) if _is_bundle(folder)]


def shipped_bundle(name: str) -> ShippedBundle:
    """The shipped bundle of a name.

    Raises:
        ValueError: for an unknown name; lists the nearest and all others.
    """
    bundles = {bundle.name: bundle for bundle in shipped_bundles()}
    if name in bundles:
        return bundles[name]
    near = difflib.get_close_matches(name, bundles, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ValueError(f"no shipped bundle named '{name}'; {hint}there are: {', '.join(bundles) or 'none'}")


def copy_bundle(name: str, destination: Path, as_json: bool = False) -> list[Path]:
    """Copy a shipped bundle into a new or empty folder; returns the files written.

    Args:
        name: of the bundle.
        destination: a new or empty folder.
        as_json: write the configurations as JSON, without their comments: ``monai.bundle.load`` reads no YAML.

    Raises:
        ValueError: for an unknown name.
        FileExistsError: when ``destination`` is a file or a folder that is not empty.
    """
    bundle = shipped_bundle(name)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise FileExistsError(
            f"{destination} exists and is not an empty folder; nothing was copied. Name a new folder, or empty this one"
        )
    shutil.copytree(bundle.folder, destination, ignore=shutil.ignore_patterns(*_MADE_BY_RUNS), dirs_exist_ok=True)
    if as_json:
        for path in [*destination.glob("configs/**/*.yaml"), *destination.glob("configs/**/*.yml")]:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
            text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
            path.with_suffix(".json").write_text(text, encoding="utf-8")
            path.unlink()
    return sorted(path for path in destination.rglob("*") if path.is_file())


def _is_bundle(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith((".", "_"))


def _read(folder: Path) -> ShippedBundle:
    try:
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metadata = {}
    if not isinstance(metadata, dict):
        metadata = {}
    return ShippedBundle(folder.name, folder, str(metadata.get("version", "")), str(metadata.get("task", "")))
