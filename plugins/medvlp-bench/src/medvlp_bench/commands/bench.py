"""``medvlp bench``: measures the speed of the parts on this machine."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from medvlp_bench.commands.bench_memory import memory
from medvlp_bench.commands.bench_step import step
from medvlp_toolkit.cli.isolated import Outcome, call_isolated
from medvlp_toolkit.cli.output import console, print_json, progress_console

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
app.command()(step)
app.command()(memory)

#: What `bench data` measures, in this order.
PARTS = ("store", "memory-map", "jpeg", "prepare", "rules", "radgraph")


@app.callback()
def bench() -> None:
    """Measure speed on this machine."""


@dataclass(frozen=True)
class _Sizes:
    """The amount of work to measure, and its input."""

    store: Path | None
    reports: Path | None
    size: int
    batch_size: int
    images: int
    jpegs: int
    report_count: int
    studies: int
    workers: int | None
    repeats: int
    timeout: float


@app.command()
def data(
    only: Annotated[list[str] | None, typer.Option(metavar="PART", help=f"Of {', '.join(PARTS)}; repeatable.")] = None,
    store: Annotated[Path | None, typer.Option(help="A packed store to read, instead of a generated one.")] = None,
    reports: Annotated[Path | None, typer.Option(help="Reports to filter, instead of generated ones.")] = None,
    size: Annotated[int, typer.Option(min=8, help="Pixels of a generated store's square images.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Studies a batch.")] = 64,
    images: Annotated[int, typer.Option(min=1, help="Studies of the generated store.")] = 4096,
    jpegs: Annotated[int, typer.Option(min=1, help="Files to prepare; eight of them differ.")] = 768,
    report_count: Annotated[int, typer.Option(min=1, help="Generated reports.")] = 5000,
    studies: Annotated[int, typer.Option(min=1, help="Generated studies in RadGraph's form.")] = 20_000,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that prepare; all cores by default.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Times each is measured.")] = 5,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one part may take.")] = 1800.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure the data path: packed store, JPEG files, `prepare`, report filters.

    Each part is measured in a separate process. Exit status 1 if a measurement fails.
    """
    unknown = [part for part in only or () if part not in PARTS]
    if unknown:
        raise ValueError(f"--only {unknown[0]}: the parts are {', '.join(PARTS)}")
    for path in (store, reports):
        if path is not None and not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
    sizes = _Sizes(store, reports, size, batch_size, images, jpegs, report_count, studies, workers, repeats, timeout)
    from medvlp_bench.machine import machine

    before = machine()
    outcomes = dict(_measure([part for part in PARTS if not only or part in only], sizes))
    failed = {part: outcome.error for part, outcome in outcomes.items() if not outcome.ok}
    measured = {part: outcome.value for part, outcome in outcomes.items() if outcome.ok}
    if as_json:
        after = {"load_after": machine()["load"]}
        print_json({"machine": before | after, "measured": list(measured.values()), "failed": failed})
    else:
        _print(before, measured, failed)
    if failed:
        raise typer.Exit(1)


def _measure(parts: list[str], sizes: _Sizes) -> Iterator[tuple[str, Outcome]]:
    """Each part's outcome, in order; its inputs are made before, in other processes."""
    if {"store", "memory-map"} & set(parts):
        with _folder() as folder:
            path, made = sizes.store, None
            if path is None:
                path = folder / "store"
                made = _call("store_reading:make_store", sizes, folder=path, images=sizes.images, size=sizes.size)
            for part, function in (("store", "read_batches"), ("memory-map", "copy_rows")):
                if part in parts:
                    yield part, _after(made, f"store_reading:{function}", sizes, store=path)
    if {"jpeg", "prepare"} & set(parts):
        with _folder() as folder:
            files = folder / "files"
            made = _call("jpeg_reading:make_jpegs", sizes, folder=files, jpegs=sizes.jpegs)
            options = {"folder": files, "size": sizes.size, "workers": sizes.workers, "output": folder / "store"}
            for part, function in (("jpeg", "decode"), ("prepare", "prepare")):
                if part in parts:
                    yield part, _after(made, f"jpeg_reading:{function}", sizes, **options)
    if "rules" in parts:
        given = {"reports": sizes.reports, "count": sizes.report_count}
        yield "rules", _call("report_reading:filter_reports", sizes, **given)
    if "radgraph" in parts:
        with _folder() as folder:
            graphs = {"path": folder / "graphs.json", "studies": sizes.studies}
            made = _call("report_reading:make_graphs", sizes, **graphs)
            yield "radgraph", _after(made, "report_reading:read_graphs", sizes, **graphs)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="medvlp-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _after(made: Outcome | None, function: str, sizes: _Sizes, **options: Any) -> Outcome:
    """The outcome of a function, or of the failed preparation of its data."""
    return made if made is not None and not made.ok else _call(function, sizes, **options)


def _call(function: str, sizes: _Sizes, **options: Any) -> Outcome:
    given = {"batch_size": sizes.batch_size, "repeats": sizes.repeats, **options}
    payload = json.dumps(given, default=str)  # paths
    with progress_console().status(function.partition(":")[2].replace("_", " ")):
        return call_isolated(f"medvlp_bench.{function}", payload, timeout=sizes.timeout)


def _print(machine: dict[str, Any], measured: dict[str, dict[str, Any]], failed: dict[str, str]) -> None:
    out = console()
    load = ", ".join(map(str, machine["load"] or ())) or "unknown"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    out.print(f"{escape(machine['processor'])}, {machine['cores']} cores, {machine['memory_gib']} GiB, load {load}")
    out.print(f"{escape(machine['system'])}; {escape(versions)}\n", highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("part", no_wrap=True)
    for heading in ("a second", "lowest – highest", "a CPU second", "peak MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what")
    for part, result in measured.items():
        spread = f"{result['lowest']:,.0f} – {result['highest']:,.0f}"
        table.add_row(
            part, f"{result['median']:,.0f}", spread, f"{result['cpu_median']:,.0f}", f"{result['peak_memory']:,.0f}",
            escape(result["what"]),
        )  # fmt: skip
    if measured:
        out.print(table)
    if "prepare" in measured:
        details = measured["prepare"]["details"]
        out.print(
            f"\nprepare: {details['efficiency']:.2f} of {details['processes']} × one core's "
            f"{details['one_core_rate']:.1f} files/s by the clock, {details['cpu_efficiency']:.2f} by processor time",
            highlight=False,
        )
    for part, error in failed.items():
        out.print(f"[red]✗[/] {escape(part)}: {escape(error)}", highlight=False, soft_wrap=True)
