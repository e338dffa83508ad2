"""``medvlp plugins``: lists all installed plugins and checks that each can be imported."""

from __future__ import annotations

import difflib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import medvlp_toolkit as mv
from medvlp_toolkit.cli.isolated import Outcome, call_isolated
from medvlp_toolkit.cli.output import console, print_json, progress_console

#: Importing a plugin may load torch, monai and transformers; more processes would exhaust the memory.
_MOST_AT_ONCE = 4


def plugins(
    kind: Annotated[str, typer.Argument(help="One kind only, e.g. encoders.", show_default=False)] = "",
    check: Annotated[bool, typer.Option("--check", help="Import each in a separate process.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    timeout: Annotated[float, typer.Option(help="With --check: seconds to wait for one plugin.")] = 120.0,
    compatible_with: Annotated[
        list[Path] | None,
        typer.Option(metavar="TRAIN.YAML", help="Show which parts fit this training; again for each overlay over it."),
    ] = None,
) -> None:
    """List the installed plugins: kind, name, distribution and version.

    With --check the exit status is 1 when one cannot be imported. --compatible-with imports all encoders, fusion
    modules and losses, because what they promise is stated on them.
    """
    if compatible_with:
        _print_fits(compatible_with, known_kind(kind) if kind else "", as_json)
        return
    kinds = [known_kind(kind)] if kind else list(mv.registries)
    refs = [ref for name in kinds for ref in mv.registries[name].refs()]
    outcomes = _check_all(refs, timeout) if check else {}
    if as_json:
        print_json([_as_json(ref, refs, outcomes) for ref in refs])
    else:
        _print_table(refs, outcomes)
    if any(not outcome.ok for outcome in outcomes.values()):
        raise typer.Exit(1)


def _print_fits(files: list[Path], kind: str, as_json: bool) -> None:
    from medvlp_toolkit.cli.compatible import KINDS, compose, fits

    if kind and kind not in KINDS:
        raise ValueError(f"--compatible-with compares {', '.join(KINDS)}, not {kind}")
    config = compose(files)
    with progress_console().status("importing plugins"):
        found = [one for one in fits(config) if kind in ("", one.kind)]
    if as_json:
        print_json([asdict(one) | {"fits": not one.reason} for one in found])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "kind", "name", ""):
        table.add_column(heading, no_wrap=bool(heading))
    for one in found:
        mark = "[red]✗[/]" if one.reason else "[green]✓[/]"
        table.add_row(mark, one.kind, one.name, escape("used" if one.used else one.reason or one.condition))
    console().print(table)


def known_kind(kind: str) -> str:
    """The registry's name for the user's input; hyphens and a missing plural are accepted."""
    name = kind.replace("-", "_")
    for candidate in (name, f"{name}s", f"{name}es"):
        if candidate in mv.registries:
            return candidate
    near = difflib.get_close_matches(name, mv.registries, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ValueError(f"no plugin kind '{kind}'; {hint}the kinds are {', '.join(mv.registries)}")


def _rivals(ref: mv.PluginRef, refs: list[mv.PluginRef]) -> list[str]:
    """Other distributions that offer the same name."""
    return [r.distribution for r in refs if (r.kind, r.name) == (ref.kind, ref.name) and r is not ref]


def _check_all(refs: list[mv.PluginRef], timeout: float) -> dict[int, Outcome]:
    """Outcome of importing each, by the ref's identity."""

    def one(ref: mv.PluginRef) -> Outcome:
        return call_isolated(
            "medvlp_toolkit.cli.probes:load_plugin", ref.kind, f"{ref.distribution}:{ref.name}", timeout=timeout
        )

    workers = max(1, min(_MOST_AT_ONCE, os.cpu_count() or 1))
    with progress_console().status(f"importing {len(refs)} plugins"), ThreadPoolExecutor(workers) as pool:
        return dict(zip(map(id, refs), pool.map(one, refs), strict=True))


def _as_json(ref: mv.PluginRef, refs: list[mv.PluginRef], outcomes: dict[int, Outcome]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "kind": ref.kind,
        "name": ref.name,
        "distribution": ref.distribution,
        "version": ref.version,
        "target": ref.import_path,
        "conflicts_with": _rivals(ref, refs),
    }
    if id(ref) in outcomes:
        outcome = outcomes[id(ref)]
        entry |= {"ok": outcome.ok, "error": outcome.error, "seconds": outcome.seconds}
    return entry


def _print_table(refs: list[mv.PluginRef], outcomes: dict[int, Outcome]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (*([""] if outcomes else []), "kind", "name", "distribution", "version", ""):
        table.add_column(heading, no_wrap=True)
    notes: list[str] = []  # below the table, because sentences do not fit a column
    for ref in refs:
        mark, conflict = [], ""
        outcome = outcomes.get(id(ref))
        if outcome is not None:
            mark = ["[green]✓[/]" if outcome.ok else "[red]✗[/]"]
        if outcome is not None and not outcome.ok:
            # The registry's own errors already name the plugin.
            who = (
                "" if outcome.error.startswith(ref.kind) else f"{ref.kind} plugin '{ref.name}' of {ref.distribution}: "
            )
            notes.append(f"[red]✗[/] {escape(who + outcome.error)}")
        rivals = _rivals(ref, refs)
        if rivals:
            conflict = "[yellow]conflict[/]"
            other = " and ".join(rivals)
            shadowed = (
                f"{ref.kind} plugin '{ref.name}' of {ref.distribution}: {other} offers it too; write {ref.import_path}"
            )
            notes.append(f"[yellow]![/] {escape(shadowed)}")
        table.add_row(*mark, *map(escape, (ref.kind, ref.name, ref.distribution, ref.version)), conflict)
    out = console()
    out.print(table if refs else "no plugin is installed; for the built-in ones: pip install -r requirements.txt")
    for note in notes:
        out.print(note, highlight=False, soft_wrap=True)
    if outcomes:
        out.print(f"{sum(outcome.ok for outcome in outcomes.values())} of {len(refs)} can be imported")
