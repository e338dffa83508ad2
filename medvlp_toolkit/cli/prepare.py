"""``medvlp prepare``: builds the packed store that a ``prepare.yaml`` describes."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from medvlp_toolkit.cli.output import progress_console
from medvlp_toolkit.cli.plugin_options import read_value, split_pairs
from medvlp_toolkit.errors import USER_ERROR, causes, user_message
from medvlp_toolkit.verification.bundle import accepts_override, unknown_override
from medvlp_toolkit.verification.composition import compose
from medvlp_toolkit.verification.located_file import read_located

#: Exit status when the store was not written: too much left out, a leak between splits, a full disk.
FAILED = 1
INTERRUPTED = 130
_SECTION = "prepare"  # the id of the Prepare object in a bundle's prepare.yaml


def prepare(
    context: typer.Context,
    configs: Annotated[
        list[str], typer.Argument(metavar="CONFIG...", help="prepare.yaml; overlays after it, also joined by commas.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override an id of the configuration, e.g. source::count=240."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; 0 is this one.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler that does the work.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Which volume of a folder with several; 'largest' too.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a store made from other data or settings.")
    ] = False,
    max_rejected: Annotated[int | None, typer.Option(min=0, help="Stop when more than this is left out.")] = None,
) -> None:
    """Prepare a packed store, as `python -m monai.bundle run --config_file CONFIG` does.

    An interrupted run resumes where it stopped.

    Exit status: 0 complete; 1 not written (too much left out, a patient or image in two splits, a full disk);
    2 a mistake in the call, the configuration or its paths.
    """
    files = [name for given in configs for name in given.split(",") if name]
    _check_files(files)
    pairs = {key: read_value(f"--set {key}", text) for key, text in split_pairs(settings or (), "--set").items()}
    given = {"workers": workers, "scheduler": scheduler, "max_rejected": max_rejected, "overwrite": overwrite or None}
    given["series"] = series
    options = {f"{_SECTION}::{key}": value for key, value in given.items() if value is not None}
    try:
        for summary in _run(files, pairs, options):
            _tell(summary)
    except KeyboardInterrupt:
        typer.echo("medvlp: interrupted; run the same command to resume", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        message, status = _explain(error, files)
        if message is None or context.find_root().params.get("traceback"):
            raise
        typer.echo(f"medvlp: {message}", err=True)
        raise typer.Exit(status) from None


def _check_files(files: Sequence[str]) -> None:
    for name in files:
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"{path}: no such file; expected a prepare.yaml, as bundles have it in configs/")
        if path.suffix.lower() not in (".yaml", ".yml", ".json"):
            raise ValueError(f"{path}: expected a .yaml, .yml or .json file")


def _run(files: list[str], pairs: dict[str, Any], options: dict[str, Any]) -> list[Any]:
    """The return value of the configuration's ``run``: the summaries of the stores prepared."""
    with progress_console().status("loading MONAI"):
        from monai.bundle import ConfigWorkflow
    logging.basicConfig(format="%(message)s")
    logging.getLogger("medvlp_toolkit.progress").setLevel(logging.INFO)  # the summary is printed, on standard output
    # It warns about files that a bundle need not have.
    logging.getLogger("monai.bundle.workflows").setLevel(logging.CRITICAL)
    workflow = ConfigWorkflow(config_file=files, logging_file=False, workflow_type="train")
    if options and not isinstance(workflow.parser.get(_SECTION), dict):
        named = ", ".join(f"--{key.rpartition(':')[2].replace('_', '-')}" for key in options)
        raise ValueError(f"{', '.join(files)}: no mapping `{_SECTION}` in it, which {named} would change")
    composition = compose([read_located(Path(name), name) for name in files])
    for key, value in {**pairs, **options}.items():
        if not accepts_override(composition, key):
            raise ValueError(str(unknown_override(key, composition.ids(), files)))
        workflow.parser[key] = value
    workflow.initialize()
    results = workflow.run()
    workflow.finalize()
    return list(results)


def _tell(summary: Any) -> None:
    from medvlp_toolkit.preparing.prepare import Summary

    if isinstance(summary, Summary):
        typer.echo(str(summary))


def _explain(error: Exception, files: Sequence[str]) -> tuple[str | None, int]:
    """The message for the user (None: a bug) and the exit status."""
    from medvlp_toolkit.preparing.prepare import PrepareError
    from medvlp_toolkit.preparing.splits import LeakError

    chain = list(causes(error))
    for link in chain:
        if isinstance(link, PrepareError | LeakError):
            return str(link), FAILED
    message = user_message(error)
    if message is None:
        message = next((explained for link in chain if (explained := _configuration_error(link, files))), None)
    return message, USER_ERROR


def _configuration_error(link: BaseException, files: Sequence[str]) -> str | None:
    """The message for an error that a configuration causes outside the toolkit's own code."""
    if isinstance(link, yaml.YAMLError):
        mark = getattr(link, "problem_mark", None)
        where = f"{mark.name}, line {mark.line + 1}" if mark is not None else ", ".join(files)
        return f"{where}: not readable as YAML ({getattr(link, 'problem', None) or 'damaged'})"
    frames = traceback.extract_tb(link.__traceback__)
    innermost = frames[-1].filename.replace("\\", "/") if frames else ""
    raised_by_monai = "/monai/" in innermost
    if raised_by_monai and isinstance(link, TypeError | ValueError | LookupError | ImportError):
        return f"{', '.join(files)}: {_first_line(link)}"
    return None


def _first_line(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
