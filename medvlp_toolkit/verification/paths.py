"""Checks for paths in a configuration that do not exist.

A relative path at the top level of a file is a default for the command line to replace. Therefore only absolute paths,
arguments of built objects, and files of the bundle itself are checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from medvlp_toolkit.verification.composition import COMMAND_LINE, Composition
from medvlp_toolkit.verification.located_file import IdPath

_INPUT = re.compile(r"(^|_)(path|paths|file|files|dir|folder|root|checkpoint|ckpt|weights|csv|datalist|images)$")
_OUTPUT = re.compile(
    r"(^|_)(output|out|save|log|logs|cache|results?|export|tracking|work|run|eval|tmp|artifacts?)(_|$)"
)
_IN_BUNDLE = re.compile(r"""^\$\s*@bundle_root\s*\+\s*(['"])/?([^'"]+)\1\s*$""")
_ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_FILE = re.compile(r"\.(pt|pth|ts|safetensors|ya?ml|json|csv|tsv|txt|nii|gz|dcm|png|jpe?g|npz?|h5|obo|rrf|zip)$", re.I)


def check_paths(composition: Composition, bundle: Path) -> list[str]:
    """Adds problems for paths that are certainly missing; returns notices for weights that do not exist yet."""
    notices: list[str] = []
    for path, value in composition.walk():
        if not isinstance(value, str) or not path:
            continue
        inside = _IN_BUNDLE.match(value)
        if inside is not None:
            notices += _check_in_bundle(composition, path, bundle, inside[2])
        elif _is_input(path) and not value.startswith(("$", "@", "%")) and not _ADDRESS.match(value):
            _check_literal(composition, path, value, bundle)
    return notices


def _check_in_bundle(composition: Composition, path: IdPath, bundle: Path, name: str) -> Iterator[str]:
    if (bundle / name).exists() or _OUTPUT.search(path[-1]):
        return
    if PurePath(name).parts[0] == "models":
        yield f"{composition.place(path)}: {'::'.join(path)}: {name} does not exist yet: train, import or download it"
    elif PurePath(name).parts[0] != "eval":
        composition.add(path, f"{name} is not in the bundle", "put it there, or name another")


def _check_literal(composition: Composition, path: IdPath, value: str, bundle: Path) -> None:
    if not value.strip() or "\n" in value or "{" in value or len(value) > 1000:
        return
    place = composition.place(path)
    is_argument = _is_argument(composition, path)
    looks_like_one = "/" in value or _FILE.search(value) is not None
    judged = value.startswith("/") or (is_argument and looks_like_one) or place.file == COMMAND_LINE
    if judged and not any(_exists(folder / value) for folder in (Path(), bundle)):
        fix = f"--set {'::'.join(path)}=… names another" if place.file != COMMAND_LINE else "check for a typo"
        composition.add(path, f"{value}: no such file or folder", fix)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _is_input(path: IdPath) -> bool:
    name = path[-1] if not path[-1].isdigit() or len(path) < 2 else path[-2]
    return _INPUT.search(name) is not None and _OUTPUT.search(name) is None and name != "bundle_root"


def _is_argument(composition: Composition, path: IdPath) -> bool:
    around: Any = composition.get(path[:-1])
    if isinstance(around, list):
        around = composition.get(path[:-2])
    return isinstance(around, dict) and "_target_" in around
