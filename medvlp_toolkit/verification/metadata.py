"""Checks ``configs/metadata.json``: schema, version and changelog, and the installed packages that it lists.

The form is checked against this project's own schema, based on MONAI's bundle specification, without network access;
``python -m monai.bundle verify_metadata`` uses the schema that the file names.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medvlp_toolkit.verification.located_file import LocatedFile
from medvlp_toolkit.verification.problem import Problem, nearest

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?([-+.]?\w+)*")
_SCHEMA = Path(__file__).with_name("metadata_schema.json")
_DISTRIBUTIONS = {"monai_version": "monai", "pytorch_version": "torch", "numpy_version": "numpy"}


def check_metadata(file: LocatedFile) -> tuple[list[Problem], list[str]]:
    """Problems of the bundle, and notices of differences from this environment."""
    if file.value is None:
        return [], []
    if not isinstance(file.value, dict):
        return [Problem(file.name, 1, "", "holds no mapping", "see MONAI's bundle specification")], []
    problems = [*_form(file), *_version(file)]
    return problems, list(_environment(file.value))


def _form(file: LocatedFile) -> Iterator[Problem]:
    from jsonschema import Draft201909Validator

    validator = Draft201909Validator(json.loads(_SCHEMA.read_text(encoding="utf-8")))
    for error in sorted(validator.iter_errors(file.value), key=lambda error: [str(part) for part in error.path]):
        while error.context:  # report the alternative that was probably meant, the mapping
            nested = [inner for inner in error.context if inner.schema_path and inner.schema_path[0] == 1]
            fits = isinstance(error.instance, dict)
            error = nested[0] if nested and fits else error
            if not (nested and fits):
                break
        path = tuple(map(str, error.absolute_path))
        fix = ""
        if error.validator == "required":
            missing = next(name for name in error.validator_value if name not in error.instance)
            fix = nearest(missing, [n for n in error.instance if n not in error.validator_value], 0.7)
            path, message = (*path, missing), "is missing"
        elif error.validator == "type":
            wanted = (
                error.validator_value if isinstance(error.validator_value, str) else " or ".join(error.validator_value)
            )
            message = f"is a {_json_type(error.instance)}; expected {wanted}"
        elif error.validator == "anyOf":
            message = f"is a {_json_type(error.instance)}; expected a value or the description of a tensor"
        else:
            message = {
                "minLength": "is empty",
                "minProperties": "is empty",
                "pattern": "is not the address of a schema",
            }.get(str(error.validator), error.message[:200])
        yield Problem(file.name, _line(file, path), "::".join(path), message, fix)


def _json_type(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _version(file: LocatedFile) -> Iterator[Problem]:
    metadata = file.value
    version, changelog = metadata.get("version"), metadata.get("changelog")
    if isinstance(version, str) and not _VERSION.fullmatch(version):
        yield Problem(file.name, _line(file, ("version",)), "version", f"'{version}' is not a version", "write 0.1.0")
    elif isinstance(version, str) and isinstance(changelog, dict) and version not in changelog:
        line = _line(file, ("changelog",))
        yield Problem(file.name, line, "changelog", f"has no entry for version {version}", f'add "{version}": "…"')


def _environment(metadata: dict[str, Any]) -> Iterator[str]:
    wanted = {name: metadata.get(key) for key, name in _DISTRIBUTIONS.items()}
    for key in ("required_packages_version", "optional_packages_version"):
        packages = metadata.get(key)
        if isinstance(packages, dict):
            wanted |= {str(name): version for name, version in packages.items()}
    for name, version in wanted.items():
        if not isinstance(version, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            continue
        try:
            there = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            yield f"configs/metadata.json names {name} {version}, which is not installed: pip install {name}"
        else:
            if there != version:
                yield f"configs/metadata.json names {name} {version}, and {there} is installed"


def _line(file: LocatedFile, path: tuple[str, ...]) -> int:
    for length in range(len(path), -1, -1):
        if path[:length] in file.lines:
            return file.lines[path[:length]]
    return 0
