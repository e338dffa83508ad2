"""``medvlp bench step``: measures the training speed of a bundle on this machine."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.markup import escape
from rich.table import Table

from medvlp_toolkit.cli.isolated import call_isolated
from medvlp_toolkit.cli.output import console, print_json, progress_console
from medvlp_toolkit.cli.plugin_options import read_value, split_pairs
from medvlp_toolkit.shipped_bundles import shipped_bundle

#: Bundle overlay of what a benchmark needs: synthetic studies, nothing downloaded.
OVERLAY = "bench"


def step(
    bundle: Annotated[str, typer.Option(help="Name of a shipped bundle, or the folder of one.")] = "medklip",
    overlay: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Further overlays of the bundle, e.g. demo; repeatable.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 …")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Studies a step.")] = None,
    compile_step: Annotated[bool, typer.Option("--compile", help="Compile the step.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="ID=VALUE", help="Any other id of train.yaml; repeatable.")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Time two settings in alternation: each a string of ID=VALUE and, at most once, the folder of "
            "another checkout.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Times the steps are timed.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Steps each time.")] = 2,
    warm_up: Annotated[int, typer.Option(min=1, help="Steps before.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the CPU's operators.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure training steps: samples a second, spread, peak memory, and the share of each part.

    The bundle's own trainer on synthetic studies, prepared by its own prepare.yaml; the wait for data counts.
    """
    from medvlp_bench.machine import machine
    from medvlp_bench.training_step import Side, measure_steps

    common: dict[str, Any] = _settings("--set", settings or ())
    common |= {key: value for key, value in (("precision", precision), ("batch_size", batch)) if value is not None}
    if device is not None:
        common["device"] = f"$torch.device('{device}')"
    if compile_step:
        common["compile"] = "step"
    before = machine()
    with tempfile.TemporaryDirectory(prefix="medvlp-bench-") as name, progress_console().status("preparing") as status:
        folder = Path(name)
        store = _prepare(bundle, overlay or (), common, folder)
        sides = []
        for number, setting in enumerate(compare or ("",)):
            checkout, own = _side(setting)
            fixed = {"dataset_dir": str(store), "output_dir": str(folder / f"run{number}")}
            configs = _configs("train", bundle, overlay or (), checkout)
            # Ids that only prepare.yaml has are not passed to the training.
            of_store = _of(_configs("prepare", bundle, overlay or ()), common).keys() - _of(configs, common).keys()
            trained = {key: value for key, value in common.items() if key not in of_store}
            sides.append(Side(configs, {**trained, **own, **fixed}, checkout))
        status.update("measuring")
        measured = [one.as_json() for one in measure_steps(sides, threads, warm_up, repeats, steps)]
    if as_json:
        document = {"machine": before | {"load_after": machine()["load"]}, "bundle": bundle, "measured": measured}
        if len(measured) == 2:
            document["ratio"] = measured[1]["median"] / measured[0]["median"]
        print_json(document)
    else:
        _print(before, bundle, measured)


def _settings(option: str, pairs: Sequence[str]) -> dict[str, Any]:
    return {key: read_value(f"{option} {key}", text) for key, text in split_pairs(pairs, option).items()}


def _side(setting: str) -> tuple[Path | None, dict[str, Any]]:
    """The other checkout, if one is named, and the settings."""
    words = shlex.split(setting)
    folders = [Path(word) for word in words if "=" not in word]
    if len(folders) > 1 or any(not (folder / "medvlp_toolkit").is_dir() for folder in folders):
        raise ValueError(f"--compare '{setting}': expected ID=VALUE …, and at most one folder of a checkout")
    return (folders[0].resolve() if folders else None), _settings("--compare", [word for word in words if "=" in word])


def _configs(task: str, bundle: str, overlays: Sequence[str], checkout: Path | None = None) -> list[Path]:
    """The task's configuration and its overlays; an older checkout's bundle may lack the benchmark's own."""
    own = Path(bundle) if (Path(bundle) / "configs").is_dir() else shipped_bundle(bundle).folder
    folder = own if checkout is None else checkout / "bundles" / own.name
    if not (own / "configs" / f"{OVERLAY}.yaml").is_file():
        raise FileNotFoundError(f"{own}/configs has no {OVERLAY}.yaml, which defines the benchmark of the bundle")
    files = [folder / "configs" / f"{task}.yaml"]
    for name in (OVERLAY, *overlays):
        theirs = folder / "configs" / f"{name}.yaml"
        files.append(theirs if theirs.is_file() else own / "configs" / f"{name}.yaml")
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file; --overlay takes the name of a file in the bundle's configs")
    return files


def _prepare(bundle: str, overlays: Sequence[str], settings: dict[str, Any], folder: Path) -> Path:
    files = _configs("prepare", bundle, overlays)
    overrides = _of(files, settings)
    overrides["phantom_count"] = max(64, 4 * int(settings.get("batch_size", 64)))
    overrides["workers"] = 0
    given = json.dumps(
        {"configs": [str(file) for file in files], "overrides": overrides, "folder": str(folder / "store")}
    )
    made = call_isolated("medvlp_bench.training_step:prepare_store", given, timeout=900)
    if not made.ok:
        raise ValueError(f"the studies to measure on could not be prepared: {made.error}")
    return Path(made.value)


def _of(files: Sequence[Path], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of ids that these configurations have."""
    known: set[str] = set()
    for file in files:
        known |= {str(key).lstrip("+").split("::")[0] for key in yaml.safe_load(file.read_text(encoding="utf-8")) or {}}
    return {key: value for key, value in settings.items() if key.split("::")[0] in known}


def _print(machine: dict[str, Any], bundle: str, measured: list[dict[str, Any]]) -> None:
    out = console()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    out.print(f"{escape(machine['processor'])}, {machine['cores']} cores, {machine['memory_gib']} GiB", soft_wrap=True)
    out.print(f"{escape(machine['system'])}; {escape(versions)}\n", highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for heading in ("samples/s", "lowest – highest", "a CPU second", "peak MiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in measured:
        spread = f"{result['lowest']:.2f} – {result['highest']:.2f}"
        table.add_row(
            escape(f"{bundle}: {result['name']}"), f"{result['median']:.2f}", spread, f"{result['cpu_median']:.2f}",
            f"{result['peak_memory']:,.0f}",
        )  # fmt: skip
    out.print(table)
    if len(measured) == 2:
        ratio = measured[1]["median"] / measured[0]["median"]
        out.print(f"\nthe second is {ratio:.2f} times as fast as the first, by the clock's medians", highlight=False)
    for result in measured:
        shares = result["details"]["shares"]
        parts = ", ".join(f"{part} {share:.1%}" for part, share in shares.items()) or "no breakdown when compiled"
        out.print(f"\n{escape(result['name'])}: {parts}", highlight=False, soft_wrap=True)
