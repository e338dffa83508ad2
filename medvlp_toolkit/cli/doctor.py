"""``medvlp doctor``: checks that the installed packages are compatible, and shows the hardware."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from medvlp_toolkit.cli.isolated import Outcome, call_isolated
from medvlp_toolkit.cli.output import console, print_json, progress_console
from medvlp_toolkit.cli.plugin_options import read_value, split_pairs
from medvlp_toolkit.cli.requirements import CheckedRequirement, check_python, check_requirements

#: Imported together in one process, so that an incompatible set fails here and not in a training run.
_STACK = ("torch", "monai", "ignite", "transformers")
_MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]?[/]"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for torch and the others to be imported.")] = 180.0,
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Check what training this bundle needs, and nothing else.")
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", metavar="FILE", help="With --bundle: overlay for train.yaml; repeat."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="With --bundle: override an id.")
    ] = None,
) -> None:
    """Check versions, imports, accelerator, bfloat16, and that DICOM decoders read samples.

    With --bundle: text model, store, graph, weights, disk space and memory of a training, before anything is loaded.

    Exit status 1 when something does not fit.
    """
    if bundle is not None:
        _doctor_bundle(bundle, config or (), settings or (), as_json)
        return
    if config or settings:
        raise ValueError("--config and --set change what --bundle checks; give --bundle DIR too")
    requirements = check_requirements()
    with progress_console().status("importing torch, monai, ignite and transformers"):
        stack, devices, decoders = _probe(timeout)
    problems = [
        *check_python(),
        *(f"{r.problem} Fix: {r.fix}" for r in requirements if not r.ok),
        *_stack_problems(stack),
        *_device_problems(devices),
        *_decoder_problems(decoders),
    ]
    if as_json:
        print_json(
            {
                "ok": not problems,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "requirements": [requirement.as_json() for requirement in requirements],
                "imports": stack.value or {"error": stack.error},
                "accelerator": devices.value or {"error": devices.error},
                "dicom_decoders": decoders.value or {"error": decoders.error},
                "problems": problems,
            }
        )
    else:
        _print(requirements, stack, devices, decoders, problems)
    if problems:
        raise typer.Exit(1)


def _doctor_bundle(bundle: Path, config: Sequence[str], settings: Sequence[str], as_json: bool) -> None:
    pairs = {key: read_value(f"--set {key}", text) for key, text in split_pairs(settings, "--set").items()}
    with progress_console().status("looking at what the training needs"):
        from medvlp_toolkit.verification.preflight import preflight

        checks = preflight(bundle, [name for given in config for name in given.split(",") if name], pairs)
    failed = [check for check in checks if check.ok is False]
    if as_json:
        print_json({"ok": not failed, "bundle": str(bundle), "checks": [asdict(check) for check in checks]})
    else:
        out = console()
        for check in checks:
            out.print(f"{_MARKS[check.ok]} {escape(str(check))}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _probe(timeout: float) -> tuple[Outcome, Outcome, Outcome]:
    probes: tuple[tuple[str, ...], ...] = (("import_modules", *_STACK), ("accelerator",), ("dicom_decoders",))
    with ThreadPoolExecutor(len(probes)) as pool:
        stack, devices, decoders = pool.map(
            lambda call: call_isolated(f"medvlp_toolkit.cli.probes:{call[0]}", *call[1:], timeout=timeout), probes
        )
    return stack, devices, decoders


def _stack_problems(stack: Outcome) -> list[str]:
    if not stack.ok:
        return [f"importing {', '.join(_STACK)} together: {stack.error}. Fix: reinstall them under constraints.txt"]
    return [
        f"{name} cannot be imported: {why}. Fix: pip install --force-reinstall {name}"
        for name, why in stack.value.items()
        if why
    ]


def _device_problems(devices: Outcome) -> list[str]:
    return [] if devices.ok else [f"torch cannot list its devices: {devices.error}. Fix: reinstall torch"]


def _decoder_problems(decoders: Outcome) -> list[str]:
    fix = "Fix: pip install pylibjpeg pylibjpeg-openjpeg pylibjpeg-rle pyjpegls python-gdcm"
    if not decoders.ok:
        return [f"pydicom cannot list its decoders: {decoders.error}. {fix}"]
    return [f"no decoder for DICOM files in {syntax}. {fix}" for syntax, found in decoders.value.items() if not found]


def _print(
    requirements: list[CheckedRequirement], stack: Outcome, devices: Outcome, decoders: Outcome, problems: list[str]
) -> None:
    out = console()
    out.print(f"[bold]python[/] {platform.python_version()} ({escape(sys.executable)}) on {platform.platform()}\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "package", "installed", "required", "by"):
        table.add_column(heading, no_wrap=heading != "by")
    for requirement in requirements:
        mark = "[green]✓[/]" if requirement.ok else "[red]✗[/]"
        table.add_row(mark, *map(escape, requirement.cells()))
    out.print(table)
    out.print("\n[bold]imported together[/]  " + ("  ".join(_imports(stack)) or f"[red]✗[/] {escape(stack.error)}"))
    out.print("\n[bold]devices[/]")
    for line in _device_lines(devices):
        out.print(f"  {escape(line)}", highlight=False)
    out.print("\n[bold]DICOM decoders[/]")
    for syntax, found in (decoders.value or {}).items():
        mark = "[green]✓[/]" if found else "[red]✗[/]"
        out.print(f"  {mark} {escape(syntax)}: {escape(', '.join(found)) or 'none'}", highlight=False)
    out.print()
    for problem in problems:
        out.print(f"[red]✗[/] {escape(problem)}", highlight=False, soft_wrap=True)
    if not problems:
        out.print("[green]✓[/] no problem found")


def _imports(stack: Outcome) -> list[str]:
    return [f"{'[red]✗[/]' if why else '[green]✓[/]'} {name}" for name, why in (stack.value or {}).items()]


def _device_lines(devices: Outcome) -> list[str]:
    if not devices.ok:
        return [f"unknown: {devices.error}"]
    return [_device_line(device) for device in devices.value["devices"]]


def _device_line(device: dict[str, Any]) -> str:
    size = f"{device['memory_gib']} GiB" if "memory_gib" in device else f"{device['threads']} threads"
    bfloat16 = "computes in bfloat16" if device["bfloat16"] else "bfloat16 by emulation only"
    return f"{device['device']}: {device['name']}, {size}, {bfloat16}"
