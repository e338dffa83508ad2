"""Checks whether the installed distributions satisfy the requirements of the toolkit and its plugins."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import medvlp_toolkit as mv
from medvlp_toolkit.registry import CORE_DISTRIBUTION


@dataclass(frozen=True)
class CheckedRequirement:
    """A package, the requirements on it with their sources, and its version (``installed`` is '' if missing)."""

    package: str
    installed: str
    specifiers: dict[str, str]  # requiring distribution -> specifier

    @property
    def ok(self) -> bool:
        return bool(self.installed) and not self._unmet

    @property
    def _unmet(self) -> list[str]:
        """Distributions whose requirement is not met by the installed version."""
        return [
            by
            for by, specifier in self.specifiers.items()
            if not SpecifierSet(specifier).contains(self.installed or "0", prereleases=True)
        ]

    @property
    def required(self) -> str:
        """All specifiers as one, lower bounds first."""
        parts = {part for specifier in self.specifiers.values() for part in specifier.split(",") if part}
        return ",".join(sorted(parts, reverse=True))

    @property
    def problem(self) -> str:
        if not self.installed:
            return f"{self.package} is not installed; {', '.join(self.specifiers)} needs it."
        unmet = ", ".join(f"{by} needs {self.package}{self.specifiers[by]}" for by in self._unmet)
        return f"{self.package} {self.installed} is installed; {unmet}."

    @property
    def fix(self) -> str:
        if self.package == CORE_DISTRIBUTION:  # plugins depend on the toolkit, not the reverse
            return f"pip install --upgrade {' '.join(self._unmet)}, or uninstall plugins without a matching version"
        return f"pip install '{self.package}{self.required}'"

    def cells(self) -> tuple[str, str, str, str]:
        """The cells of a table row."""
        by = ", ".join(self.specifiers) if len(self.specifiers) < 4 else f"{len(self.specifiers)} distributions"
        return self.package, self.installed or "missing", self.required or "any", by

    def as_json(self) -> dict[str, Any]:
        return {
            "package": self.package,
            "installed": self.installed,
            "required": self.required,
            "by": sorted(self.specifiers),
            "ok": self.ok,
        }


def check_requirements() -> list[CheckedRequirement]:
    """All requirements of the toolkit and of the distributions that provide plugins, sorted by package."""
    asked: dict[str, dict[str, str]] = {}
    for name in _distributions():
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                asked.setdefault(_normal(requirement.name), {})[name] = str(requirement.specifier)
    return [CheckedRequirement(package, _installed(package), asked[package]) for package in sorted(asked)]


def check_python() -> list[str]:
    """A problem line if the toolkit does not support this Python version."""
    required = distribution(CORE_DISTRIBUTION).metadata["Requires-Python"] or ""
    version = platform.python_version()
    if SpecifierSet(required).contains(version, prereleases=True):
        return []
    return [f"this is Python {version}; {CORE_DISTRIBUTION} needs {required}. Fix: make an environment with one"]


def _distributions() -> list[str]:
    offered = {
        ref.distribution for registry in mv.registries.values() for ref in registry.refs() if ref.version
    }  # plugins registered in this process have no distribution
    return [CORE_DISTRIBUTION, *sorted(offered)]


def _installed(package: str) -> str:
    try:
        return distribution(package).version
    except PackageNotFoundError:
        return ""


def _normal(name: str) -> str:
    return name.replace("_", "-").lower()
