"""``medvlp bench memory``: memory use of training on a large store, over epochs and per process."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from medvlp_toolkit.cli.isolated import call_isolated
from medvlp_toolkit.cli.output import console, print_json, progress_console

_WORK = "medvlp_bench.training_memory"


def memory(
    studies: Annotated[int, typer.Option(min=1, help="Studies of the generated store.")] = 100_000,
    size: Annotated[int, typer.Option(min=8, help="Pixels of its square images.")] = 16,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs to train.")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="Studies a step of all processes.")] = 512,
    ranks: Annotated[list[int] | None, typer.Option(min=1, help="Processes that train together; repeatable.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one training may take.")] = 3600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Train a small model on a large store of small images, and record the memory after every epoch.

    ``own`` is a process's private memory, ``proportional`` adds its share of shared pages.
    """
    with tempfile.TemporaryDirectory(prefix="medvlp-bench-") as name, progress_console().status("writing a store"):
        store = str(Path(name) / "store")
        _call("make_small_store", {"folder": store, "studies": studies, "size": size}, timeout)
        measured = []
        for count in ranks or [1]:
            task = {"store": store, "epochs": epochs, "batch_size": max(batch // count, 1), "ranks": count}
            measured.append({"ranks": count, "processes": _train(Path(name), task, timeout)})
    if as_json:
        print_json({"studies": studies, "size": size, "batch": batch, "measured": measured})
    else:
        _print(studies, measured)


def _train(folder: Path, task: dict[str, Any], timeout: float) -> list[dict[str, Any]]:
    """The records of each process."""
    own = Path(tempfile.mkdtemp(dir=folder))
    asked = [
        {**task, "rank": rank, "rendezvous": str(own / "rendezvous"), "folder": str(own)}
        for rank in range(task["ranks"])
    ]
    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda options: _call("train_epochs", options, timeout), asked))


def _call(function: str, options: dict[str, Any], timeout: float) -> Any:
    outcome = call_isolated(f"{_WORK}:{function}", json.dumps(options), timeout=timeout)
    if not outcome.ok:
        raise ValueError(f"{function} could not be measured: {outcome.error}")
    return outcome.value


def _print(studies: int, measured: list[dict[str, Any]]) -> None:
    out = console()
    table = Table(
        box=None, pad_edge=False, header_style="bold", title=f"{studies:,} studies; MiB", title_justify="left"
    )
    table.add_column("process", no_wrap=True)
    for heading in ("before", "store opened", "own, after each epoch", "proportional, after the last", "studies/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in measured:
        for rank, process in enumerate(one["processes"]):
            epochs = process["epochs"]
            rate = process["studies"] * len(epochs) / one["ranks"] / process["seconds"]
            table.add_row(
                f"{rank + 1} of {one['ranks']}", f"{process['before']['own']:.0f}", f"{process['opened']['own']:.0f}",
                " ".join(f"{epoch['own']:.0f}" for epoch in epochs), f"{epochs[-1]['proportional']:.0f}", f"{rate:.0f}",
            )  # fmt: skip
    out.print(table)
