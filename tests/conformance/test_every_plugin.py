"""No built-in plugin is without a conformance suite, and what the packages declare is what is installed."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

import medvlp_toolkit as mv
from medvlp_toolkit.testing.suites.plugin import PluginSuite

HERE = Path(__file__).parent


#: Groups of the toolkit that hold no plugins: commands of `medvlp`, and old paths of modules.
OTHER_GROUPS = {"commands", "moved_modules"}


def entry_points(repository: Path) -> set[tuple[str, str, str]]:
    """(distribution, group, name) of every entry point in ``plugins/*/pyproject.toml``."""
    found = set()
    for file in repository.glob("plugins/*/pyproject.toml"):
        project = tomllib.loads(file.read_text())["project"]
        for group, offers in project.get("entry-points", {}).items():
            found |= {(project["name"], group.removeprefix("medvlp_toolkit."), name) for name in offers}
    return found


def declared(repository: Path) -> set[tuple[str, str, str]]:
    """(distribution, kind, name) of every plugin among them."""
    return {entry for entry in entry_points(repository) if entry[1] not in OTHER_GROUPS}


def with_suite() -> set[tuple[str, str]]:
    """(kind, name) of every plugin that a class in this folder tests."""
    found = set()
    for file in HERE.glob("test_*.py"):
        if file != Path(__file__):
            for value in runpy.run_path(str(file)).values():
                if isinstance(value, type) and issubclass(value, PluginSuite) and hasattr(value, "plugin"):
                    found.add((value.kind, value.plugin))
    return found


def test_every_built_in_plugin_has_a_conformance_suite(repository: Path) -> None:
    without = sorted({(kind, name) for _, kind, name in declared(repository)} - with_suite())
    assert not without, f"add a class to tests/conformance for {', '.join(f'{kind}.{name}' for kind, name in without)}"


def test_installed_entry_points_are_those_that_the_packages_declare(repository: Path) -> None:
    distributions = {distribution for distribution, _, _ in declared(repository)}
    installed = {
        (ref.distribution, ref.kind, ref.name)
        for registry in mv.registries.values()
        for ref in registry.refs()
        if ref.distribution in distributions
    }
    assert installed == declared(repository), "install again: pip install -c constraints.txt -r requirements.txt"


def test_every_declared_group_is_a_registry(repository: Path) -> None:
    assert {group for _, group, _ in entry_points(repository)} <= set(mv.registries) | OTHER_GROUPS
