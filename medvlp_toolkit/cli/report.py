"""``medvlp report``: one HTML page for an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Results folder of an evaluation.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The HTML file to write.")] = Path("report.html"),
    against: Annotated[
        Path | None, typer.Option(metavar="OTHER", help="Results of another model on the same images, to compare with.")
    ] = None,
    names: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Names of the two models compared, instead of A and B.", show_default=False),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Show images and report texts, which are patient data.")
    ] = True,
    title: Annotated[str | None, typer.Option(help="Title of the page instead of the evaluation's own.")] = None,
) -> None:
    """Write one self-contained HTML page of an evaluation: figures with intervals, curves, subgroups, probes, cases.

    It opens from disk and loads nothing from elsewhere. Two results on the same images are compared side by side.
    """
    from medvlp_toolkit.evaluation.report.page import write_report

    path = write_report(results, out, against, images, title, names)
    kept = "with images; look for names burned into them before you pass it on" if images else "without images"
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {kept}")
