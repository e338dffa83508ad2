"""Checks of ``medvlp verify`` at the start of ``python -m monai.bundle run``, on the arguments of the process.

MONAI adds an unknown override and ignores it; a typing error can then waste days of training.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medvlp_toolkit.command_lines import bundle_command
from medvlp_toolkit.verification.bundle import METADATA, _Needed, accepts_override, unknown_override
from medvlp_toolkit.verification.composition import compose
from medvlp_toolkit.verification.expressions import check_names, read_expressions
from medvlp_toolkit.verification.located_file import SUFFIXES, read_located
from medvlp_toolkit.verification.modules import Modules
from medvlp_toolkit.verification.problem import Problem
from medvlp_toolkit.verification.references import missing_references, moved_ids_set, report_missing
from medvlp_toolkit.verification.requirements import ID as REQUIREMENTS
from medvlp_toolkit.verification.requirements import check_requirements
from medvlp_toolkit.verification.targets import Targets
from medvlp_toolkit.verification.trained_models import training_of
from medvlp_toolkit.verification.workflow_ids import RUN_IDS

logger = logging.getLogger(__name__)

#: Options of MONAI's commands `run` and `run_workflow` themselves.
_OWN_OPTIONS = frozenset(
    (
        *("run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"),
        *("workflow_name", "workflow_type", "properties_path"),
    )
)


@dataclass
class RunArguments:
    """The arguments of ``python -m monai.bundle run``."""

    config_files: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=lambda: list(RUN_IDS))
    overrides: dict[str, Any] = field(default_factory=dict)


def run_arguments(argv: Sequence[str]) -> RunArguments | None:
    """The arguments of a process that runs a bundle; None for any other process.

    A positional argument of `run` is the id to run.
    """
    command = bundle_command(argv)
    if command is None:
        return None
    made = RunArguments(overrides=dict(command.options))
    own = {key: made.overrides.pop(key) for key in list(made.overrides) if key in _OWN_OPTIONS}
    if isinstance(own.get("args_file"), str):
        defaults = read_located(Path(own["args_file"]), own["args_file"]).value
        if isinstance(defaults, dict):
            own = {**{key: value for key, value in defaults.items() if key in _OWN_OPTIONS}, **own}
            made.overrides = {**{k: v for k, v in defaults.items() if k not in _OWN_OPTIONS}, **made.overrides}
    if command.command == "run":
        own.update(zip(("run_id", "init_id", "final_id"), command.positional, strict=False))
    given = own.get("config_file") or []
    made.config_files = [given] if isinstance(given, str) else [str(name) for name in given]
    made.roots += [str(own[key]) for key in ("run_id", "init_id", "final_id") if own.get(key)]
    return made


def check_this_run(argv: Sequence[str] | None = None) -> None:
    """Compare the arguments of this process with the configuration they name.

    Raises:
        ValueError: lists every problem: overrides of unknown ids, references or targets that cannot be resolved,
            arguments that do not fit. Nothing is checked in a process that does not run a bundle.
    """
    arguments = run_arguments(sys.argv if argv is None else argv)
    if arguments is None or not arguments.config_files:
        return
    problems = problems_of_run(arguments)
    if problems:
        lines = [str(problem).replace("--set: ", "--", 1) for problem in problems]
        many = f"{len(lines)} mistakes in the arguments of this run:\n  " if len(lines) > 1 else ""
        raise ValueError(many + "\n  ".join(lines))


def problems_of_run(arguments: RunArguments) -> list[Problem]:
    """Mistakes that would stop the run later or be ignored."""
    paths = [Path(name) for name in arguments.config_files]
    if not all(path.is_file() and path.suffix.lower() in SUFFIXES for path in paths):
        return []  # MONAI reports it itself
    files = [read_located(path, path.name) for path in paths]
    if any(not isinstance(file.value, dict) for file in files):
        return []
    problems = [problem for file in files for problem in file.problems]
    plain = compose(files)
    known = {key: value for key, value in arguments.overrides.items() if accepts_override(plain, key)}
    names = [path.name for path in paths]
    training = training_of(plain, paths[0].parent)
    # Settings of a trained model are compared with it later; MONAI sets nothing within a missing id.
    known_of_model = set() if training is None else {str(key) for key in training.config}
    problems += [
        unknown_override(key, plain.ids(), names)
        for key in arguments.overrides
        if key not in known and key not in known_of_model
    ]
    composition = compose(files, known)
    metadata = read_located(paths[0].parent / METADATA, METADATA).value
    composition.config.setdefault("_meta_", metadata if isinstance(metadata, dict) else {})
    composition.resolve_macros([Path()])
    needed = _Needed(composition, arguments.roots)
    report_missing(composition, [one for one in missing_references(composition) if one[0] in needed])
    # The run will import all of these anyway.
    modules = Modules(_bundle(paths[0]))
    check_names(composition, read_expressions(composition), modules, lambda path, name: path not in needed)
    Targets(modules).check(composition)
    check_requirements(composition)
    problems += moved_ids_set(composition)
    inside = {"::".join(path) for path, _ in composition.walk() if path in needed}
    problems += [
        p for p in composition.problems if not p.id or p.id in inside or _around(p.id, inside) or _is_requirement(p)
    ]
    return sorted(set(problems))


def _around(id_: str, inside: set[str]) -> bool:
    return id_.rpartition("::")[0] in inside


def _is_requirement(problem: Problem) -> bool:
    return problem.id.partition("::")[0] == REQUIREMENTS


def _bundle(config: Path) -> Path:
    folder = config.resolve().parent
    return folder.parent if folder.name == "configs" else folder
