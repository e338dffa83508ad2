"""``medvlp verify``: finds a bundle's mistakes without running it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from medvlp_toolkit.cli.output import console, print_json, progress_console
from medvlp_toolkit.cli.plugin_options import read_value, split_pairs


def verify(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle, or one of its configurations.")],
    config: Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Check these files together, later ones overlaying earlier ones; repeat or join by commas.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An override, as for a run.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Also reject unknown expressions and ids that nothing reads.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Check a bundle without running it: nothing in it is evaluated or imported.

    Exit status: 0 no problem; 1 problems, all of them listed with file, line, id and fix; 2 a mistake in the call.
    """
    folder, files = bundle, [Path(name) for given in config or () for name in given.split(",") if name]
    if bundle.is_file():
        folder = bundle.parent.parent if bundle.parent.name == "configs" else bundle.parent
        files.insert(0, bundle)
    files = [path if path.is_file() or path.is_absolute() else _in_configs(folder, path) for path in files]
    pairs = {key: read_value(f"--set {key}", text) for key, text in split_pairs(settings or (), "--set").items()}
    with progress_console().status("loading MONAI"):
        from medvlp_toolkit.verification.bundle import verify_bundle

        found = verify_bundle(folder, files, pairs, strict)
    if as_json:
        print_json(
            {
                "bundle": str(folder),
                "ok": not found.problems,
                # ``mend`` is the earlier name of ``fix``, for programs that read it.
                "problems": [{**asdict(problem), "mend": problem.fix} for problem in found.problems],
                "notices": found.notices,
                "checked": found.compositions,
            }
        )
    else:
        out = console()
        for problem in found.problems:
            out.print(f"[red]✗[/] {escape(str(problem))}", highlight=False, soft_wrap=True)
        for notice in found.notices:
            out.print(f"[yellow]![/] {escape(notice)}", highlight=False, soft_wrap=True)
        count = len(found.problems)
        outcome = f"{count} problem{'s' if count != 1 else ''}" if count else "[green]✓[/] no problem"
        out.print(
            f"{outcome} in {escape(str(folder))} ({len(found.compositions)} configurations)",
            highlight=False,
            soft_wrap=True,
        )
    if found.problems:
        raise typer.Exit(1)


def _in_configs(folder: Path, path: Path) -> Path:
    """A configuration named without its folder, or without its suffix."""
    for candidate in (folder / path, folder / "configs" / path, folder / "configs" / f"{path}.yaml"):
        if candidate.is_file():
            return candidate
    return path
