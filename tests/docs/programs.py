"""The programs that the documentation's commands call, as they run in a test: shortened, and installing nothing.

``programs(folder)`` writes ``python``, ``medvlp``, ``make``, ``pip`` … into a folder for PATH; each of them is this
file with another name.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from tests.docs.commands import REDUCED, REDUCED_OPTIONS, ROOT
from tests.docs.zygote import ADDRESS, MODULES, ask

NAMES = ("python", "python3", "medvlp", "make", "pip", "pytest", "torchrun")
#: Where what a block installs lies.
SITE = "site"


def programs(folder: Path) -> Path:
    """A folder of the programs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.docs.programs import main; main({name!r})"
        (folder / name).write_text(f"#!{sys.executable}\n{code}\n")
        (folder / name).chmod(0o755)
    return folder


def main(name: str) -> NoReturn:
    given, here = sys.argv[1:], Path(sys.argv[0]).parent
    if name.startswith("python"):
        if given[:2] == ["-m", "venv"]:
            write_environment(Path(given[-1]), here)
            sys.exit(0)
        run(*(pip(given[2:]) if given[:2] == ["-m", "pip"] else reduced(given)))
    if name == "torchrun":
        run("-m", "torch.distributed.run", *reduced(given))
    if name == "medvlp":
        run("-m", "medvlp_toolkit.cli.main", *reduced_command(given))
    if name == "pip":
        run(*pip(given))
    if name == "pytest":
        run("-m", "pytest", "-q", "-p", "no:cacheprovider", *given)
    if "demo" in given and not Path(".venv").exists():
        write_environment(Path(".venv"), here)
    # The environment is there: its rule would install it from the network.
    makefile = [
        "-f",
        str(ROOT / "Makefile"),
        "-o",
        ".venv/.installed",
        f"BIN={here}",
        "BUNDLE=bundles/medklip/configs",
    ]
    os.execvp("/usr/bin/make", ["make", *makefile, *given])


def run(*arguments: str) -> NoReturn:
    if ADDRESS in os.environ and arguments[0] == "-m" and arguments[1] in MODULES:
        sys.exit(ask(arguments[1], list(arguments[2:])))
    os.execv(sys.executable, [sys.executable, *arguments])


def reduced(arguments: list[str]) -> list[str]:
    """A run of a bundle with what :data:`REDUCED` gives it; anything else as it is."""
    if "--config_file" not in arguments:
        return arguments
    place = arguments.index("--config_file") + 1
    files = ast.literal_eval(arguments[place]) if arguments[place].startswith("[") else [arguments[place]]
    options = reductions(files)
    more = options.pop("+", None)
    if more is not None:
        files = [*files, str(Path(files[0]).with_name(f"{more}.yaml"))]
    kept = [*arguments[:place], repr(files) if len(files) > 1 else files[0]]
    rest = iter(arguments[place + 1 :])
    for word in rest:
        if word.removeprefix("--") in options:
            next(rest)
        else:
            kept.append(word)
    return [*kept, *(word for key, value in options.items() for word in (f"--{key}", str(value)))]


def reduced_command(arguments: list[str]) -> list[str]:
    """A command of `medvlp` with what shortens it."""
    if arguments[:1] == ["prepare"]:
        files = [
            name for word in arguments[1:] for name in word.split(",") if name.endswith(".yaml") and "=" not in name
        ]
        options = reductions(files)
        return [*arguments, *(word for key, value in options.items() for word in ("--set", f"{key}={value}"))]
    for command, options in REDUCED_OPTIONS.items():
        if tuple(arguments[: len(command)]) == command:
            return [*arguments, *(word for key, value in options.items() for word in (f"--{key}", str(value)))]
    return arguments


def reductions(files: list[str]) -> dict[str, object]:
    """What a run of these configurations is given; a configuration outside a bundle is MedKLIP's."""
    first = Path(files[0])
    bundle = first.parts[first.parts.index("bundles") + 1] if "bundles" in first.parts else "medklip"
    overlays = {Path(file).stem for file in files[1:]}
    for (name, *others), options in REDUCED.items():
        if name == f"{bundle}/{first.stem}" and overlays >= set(others):
            return dict(options)
    return {}


def write_environment(folder: Path, here: Path) -> None:
    """A virtual environment of the programs."""
    shutil.copytree(here, folder / "bin")
    (folder / "bin" / "activate").write_text(f'PATH="{folder.resolve() / "bin"}:$PATH"\n')


def pip(arguments: list[str]) -> list[str]:
    """Checks that what is to be installed from here is there, with its extras, and installs a new package."""
    words = iter(arguments[1:])
    for word in words:
        if word in ("-c", "--constraint", "-r", "--requirement"):
            file = next(words)
            if not (Path.cwd() / file).is_file() and not (ROOT / file).is_file():
                sys.exit(f"pip: no file {file}")
        elif not word.startswith("-"):
            install(word)
    return ["-c", "pass"]


def install(wanted: str) -> None:
    name, _, extras = wanted.partition("[")
    own = {
        project_of(path)["name"]: path
        for path in [ROOT, *ROOT.glob("plugins/*")]
        if (path / "pyproject.toml").is_file()
    }
    folder = next((path for path in (Path(name), ROOT / name) if (path / "pyproject.toml").is_file()), own.get(name))
    if folder is None:
        if name.startswith(("plugins/", ".")):
            sys.exit(f"pip: no package in {name}")
        return
    project = project_of(folder)
    missing = [
        extra
        for extra in extras.rstrip("]").split(",")
        if extra and extra not in project.get("optional-dependencies", {})
    ]
    if missing:
        sys.exit(f"pip: {project['name']} has no extra {', '.join(missing)}")
    if project["name"] not in own:
        from tests.medvlp_toolkit.scaffold_packages import put_on_site

        site = Path(os.environ["PYTHONPATH"].split(os.pathsep)[0])
        site.mkdir(exist_ok=True)
        put_on_site(folder.resolve(), site)


def project_of(folder: Path) -> Mapping[str, dict]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
