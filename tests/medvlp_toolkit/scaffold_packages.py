"""New packages of every kind, as they lie when they are installed."""

from __future__ import annotations

import tomllib
from pathlib import Path

from medvlp_toolkit.scaffold.kinds import KINDS
from medvlp_toolkit.scaffold.package import write_package


def lay_out(parent: Path, site: Path) -> dict[str, Path]:
    """A new package of every kind in ``parent``, importable from ``site`` with its entry point; kind -> folder."""
    folders = {}
    site.mkdir(exist_ok=True)
    for kind in KINDS.values():
        name = f"acme-{kind.registry.replace('_', '-')}"
        write_package(name, kind, parent)
        folders[kind.registry] = parent / name
        put_on_site(parent / name, site)
    return folders


def put_on_site(package: Path, site: Path) -> None:
    """What an editable installation leaves: metadata with the entry points, and a path to the sources."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        + "".join(f"Requires-Dist: {line}\n" for line in project["dependencies"])
    )
    groups = project["entry-points"].items()
    (info / "entry_points.txt").write_text(
        "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in offers.items()) for group, offers in groups)
    )
    for module in (package / "src").iterdir():
        (site / module.name).symlink_to(module)
