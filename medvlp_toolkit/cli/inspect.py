"""``medvlp inspect``: the contents of a packed store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medvlp_toolkit.cli.output import console, print_json

_STATED = ("present", "absent", "uncertain")


def inspect(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder that `medvlp prepare` wrote.")],
    split: Annotated[str | None, typer.Option(help="Count the studies of one split only.")] = None,
    examples: Annotated[int, typer.Option(min=1, help="With --out: number of studies to draw.")] = 12,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw example studies into this folder.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every file with its recorded SHA-256.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show a store's counts, splits, labels, findings, tokens and rejected items.

    With --out, examples.png and example_001.png … are drawn: images with their findings and boxes, without ids or text.
    """
    from medvlp_toolkit.data.store.store import PackedStore
    from medvlp_toolkit.data.store.store_summary import summarise

    opened = PackedStore.open(store)
    if verify:
        opened.verify()
    summary = summarise(opened, split)
    written = _draw(opened, split, examples, out) if out is not None else []
    if as_json:
        print_json({**summary, "examples": [str(path) for path in written]})
        return
    _print(summary, console())
    if verify:
        typer.echo("\nevery file matches its SHA-256")
    if written:
        typer.echo(f"\n{len(written) - 1} examples: {written[0]}")


def _draw(store: Any, split: str | None, count: int, folder: Path) -> list[Path]:
    from medvlp_toolkit.evaluation.maps.store_examples import write_examples

    return write_examples(store, folder, count, split)


def _print(summary: Mapping[str, Any], out: Console) -> None:
    counts = summary["counts"]
    stored = counts.get("images", counts["studies"])
    what = "studies" if stored == counts["studies"] else "images"
    out.print(f"[bold]{escape(summary['store'])}[/]  {stored:,} {what} of {counts['listed']:,} listed")
    if what == "images":
        out.print(f"studies: {counts['studies']:,}")
    of = f" of split {summary['split']}" if summary["split"] else ""
    if of:
        out.print(f"counted below: {summary['studies']:,} studies{escape(of)}, {summary['patients']:,} patients")
    else:
        out.print(f"patients: {summary['patients']:,}")
    images = summary["images"]
    if images is None:
        out.print("images: none, reports only")
    else:
        size = " × ".join(map(str, images["shape"]))
        out.print(f"images: {size} {images['dtype']} (channels first), {images['bytes'] / 2**20:,.0f} MiB")
    rows = {name: count for name, count in counts["rows"].items() if name != "studies" and count}
    out.print("rows: " + (", ".join(f"{name} {count:,}" for name, count in rows.items()) or "studies only"))
    _counts_table(out, "split", counts["splits"])
    _counts_table(out, "left out, see rejected.csv", counts["rejected"])
    leaks = {kind: count for kind, count in counts["leaks"].items() if count}
    _counts_table(out, "in more than one split, see leaks.csv", leaks)
    for tokens in summary["tokens"]:
        cut = f", {tokens['truncated']:,} texts cut" if tokens["truncated"] else ""
        out.print(
            f"\ntokens {tokens['key']}: {escape(tokens['tokenizer'])}, {tokens['median_length']:g} a text (median), "
            f"at most {tokens['max_length']}{cut}",
            highlight=False,
        )
    studies = summary["studies"]
    names = summary["names"]
    _values_table(out, "label of the source", summary["labels"], summary["rows"], _STATED, names)
    _values_table(out, "entity in the reports", summary["entities"], studies, _STATED, names)
    _values_table(out, "position of present entities", summary["positions"], studies, ("studies", "findings"), names)
    silent = len(summary["entities"]) - sum(any(values.values()) for values in summary["entities"].values())
    if silent:
        out.print(f"{silent} of {len(summary['entities'])} entities are not mentioned in any report")


def _counts_table(out: Console, heading: str, counts: Mapping[str, int]) -> None:
    if not counts:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(escape(heading))
    table.add_column("", justify="right")
    for name, count in counts.items():
        table.add_row(escape(name), f"{count:,}")
    out.print()
    out.print(table)


def _values_table(
    out: Console,
    heading: str,
    rows: Mapping[str, Mapping[str, int]],
    studies: int,
    columns: Sequence[str],
    names: Mapping[str, str],
) -> None:
    """Most frequent first; the share is that of the first column in all studies."""
    from medvlp_toolkit.evaluation.results.names import readable

    shown = sorted((item for item in rows.items() if any(item[1].values())), key=lambda item: -item[1][columns[0]])
    if not shown:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(escape(heading), no_wrap=True)
    for column in (*columns, f"{columns[0]}, %"):
        table.add_column(column, justify="right")
    for name, values in shown:
        share = 100 * values[columns[0]] / studies if studies else 0.0
        cells = (f"{values[column]:,}" for column in columns)
        table.add_row(escape(readable(name, names)), *cells, f"{share:.1f}")
    out.print()
    out.print(table)
