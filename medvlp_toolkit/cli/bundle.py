"""``medvlp bundle``: the shipped bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medvlp_toolkit.cli.output import console, print_json
from medvlp_toolkit.shipped_bundles import copy_bundle, shipped_bundles

app = typer.Typer(help="List the shipped bundles, or copy one to change it.", no_args_is_help=True)


@app.command("list")
def list_bundles(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the shipped bundles: name, version, task and folder."""
    bundles = shipped_bundles()
    if as_json:
        print_json([{**vars(bundle), "folder": str(bundle.folder)} for bundle in bundles])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "version", "task", "folder"):
        table.add_column(heading, no_wrap=heading in ("name", "version"))
    for bundle in bundles:
        cells = (bundle.name, bundle.version or "-", bundle.task or "no configs/metadata.json", str(bundle.folder))
        table.add_row(*map(escape, cells))
    console().print(table if bundles else "no bundle is shipped with this installation")


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="A shipped bundle, see `medvlp bundle list`.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Destination; a new or empty folder.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Configurations as JSON, without comments, for monai.bundle.load.")
    ] = False,
) -> None:
    """Copy a shipped bundle (configs, documentation, licence; no weights) into DIR."""
    written = copy_bundle(name, folder, as_json)
    typer.echo(f"{len(written)} files in {folder}")
    train = folder / "configs" / ("train.json" if as_json else "train.yaml")
    if train in written:
        typer.echo(f"run it: python -m monai.bundle run --config_file {train} --bundle_root {folder}")
