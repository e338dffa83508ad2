"""``medvlp new``: writes a plugin package that installs and passes its tests, as a starting point."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvlp_toolkit.cli.plugins import known_kind


def new(
    name: Annotated[str, typer.Argument(help="Distribution name, e.g. my-filter; the plugin is then my_filter.")],
    kind: Annotated[str, typer.Option("--kind", help="Kind: report_filter, encoder, …, see `medvlp plugins`.")],
    folder: Annotated[Path, typer.Option("--in", metavar="DIR", help="Folder to create the package in.")] = Path(),
) -> None:
    """Write a complete package with one plugin: entry point, YAML overlay, conformance test, README."""
    from medvlp_toolkit.scaffold.kinds import KINDS
    from medvlp_toolkit.scaffold.package import write_package

    written = write_package(name, KINDS[known_kind(kind)], folder)
    where = folder / name
    typer.echo(f"{len(written)} files in {where}")
    typer.echo(f"install it: pip install -e {where}")
    typer.echo(f"test it:    pytest {where}")
