"""Checks ``requirements``: the distributions that a configuration's plugins come from."""

from __future__ import annotations

import importlib.metadata

from packaging.requirements import InvalidRequirement, Requirement

from medvlp_toolkit.verification.composition import Composition

ID = "requirements"


def check_requirements(composition: Composition) -> None:
    """A problem for each distribution that is not installed, or in another version, with how to install it.

    ``requirements: [my-filter>=0.2]`` in an overlay declares what to install; a plugin's name alone
    does not show which distribution provides it.
    """
    listed = composition.get((ID,), [])
    if not isinstance(listed, list):
        composition.add((ID,), "is not a list of distributions", "write [my-filter>=0.2]")
        return
    for number, line in enumerate(listed):
        path = (ID, str(number))
        try:
            requirement = Requirement(str(line))
        except InvalidRequirement:
            composition.add(path, f"'{line}' is not a requirement", "write my-filter>=0.2")
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            composition.add(path, f"{requirement.name} is not installed", f"pip install '{line}'")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            composition.add(path, f"{requirement.name} {version} is installed", f"pip install '{line}'")
