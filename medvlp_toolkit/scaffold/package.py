"""The files of a new plugin package."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medvlp_toolkit import __version__, registries
from medvlp_toolkit.known_plugins import KNOWN_PLUGINS
from medvlp_toolkit.registry import RESERVED_NAMES
from medvlp_toolkit.scaffold.kinds import Kind, class_name

TEMPLATES = Path(__file__).parent / "templates"
#: Prefix of a distribution's name that is removed for the plugin's name.
_PREFIX = "medvlp_"


def package_files(distribution: str, kind: Kind) -> dict[str, str]:
    """Path within the package -> text.

    Raises:
        ValueError: when the name is not valid for a distribution, a module or a plugin.
    """
    module, plugin = names_of(distribution, kind)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    known = {
        "distribution": distribution,
        "module": module,
        "plugin": plugin,
        "kind": kind,
        "class_name": class_name(plugin),
        "requirements": [
            f"medvlp-toolkit{_contract()}",
            *kind.requires,
            *(f"{used}{_contract()}" for used in _distributions_used(kind)),
        ],
    }

    def written(template: str) -> str:
        return environment.get_template(template).render(known).strip("\n") + "\n"

    def named(path: str) -> str:
        return path.removesuffix(".j2").replace("__module__", module).replace("__plugin__", plugin)

    package = TEMPLATES / "package"
    templates = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.j2"))
    files = {named(path): written(f"package/{path}") for path in templates}
    for name in kind.data:
        files[f"src/{module}/{name}"] = written(f"kinds/{kind.registry}.{name}.j2")
    return files


def write_package(distribution: str, kind: Kind, parent: Path) -> list[Path]:
    """Write a package into ``parent/<distribution>``; returns the files written.

    Raises:
        ValueError: as :func:`package_files`.
        FileExistsError: when the folder exists and is not empty.
    """
    files = package_files(distribution, kind)
    folder = parent / distribution
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not an empty folder; nothing was written. Choose another name")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def names_of(distribution: str, kind: Kind) -> tuple[str, str]:
    """The names of the module and the plugin, derived from the distribution's."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", distribution):
        raise ValueError(f"'{distribution}' is not a distribution name; use letters, digits and -, e.g. my-filter")
    module = re.sub(r"[-_.]+", "_", distribution).lower()
    plugin = module.removeprefix(_PREFIX) or module
    for name in (module, plugin):
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"'{distribution}' gives the invalid Python name '{name}'; begin with a letter")
    if plugin in RESERVED_NAMES:
        raise ValueError(f"'{plugin}' belongs to the registry itself; choose another name")
    if any(ref.name == plugin and ref.distribution != distribution for ref in registries[kind.registry].refs()):
        taken = next(ref.distribution for ref in registries[kind.registry].refs() if ref.name == plugin)
        raise ValueError(f"{taken} has the {kind.noun} '{plugin}' already; choose another name")
    if module == "medvlp_toolkit" or any(ref.target.partition(":")[0].partition(".")[0] == module
                                         and ref.distribution.replace("_", "-").lower() != distribution.lower()
                                         for registry in registries.values() for ref in registry.refs()):  # fmt: skip
        raise ValueError(f"a package {module} is installed already; choose another name")
    return module, plugin


def _distributions_used(kind: Kind) -> list[str]:
    """Distributions whose plugins (``mv.encoders.resnet``) the template of a kind uses."""
    text = (TEMPLATES / "kinds" / f"{kind.registry}.py.j2").read_text(encoding="utf-8")
    used = re.findall(rf"\bmv\.({'|'.join(KNOWN_PLUGINS)})\.(\w+)", text)
    return sorted({KNOWN_PLUGINS[registry][name] for registry, name in used if name in KNOWN_PLUGINS[registry]})


def _contract() -> str:
    """From the toolkit's minor version, which is that of the contracts, up to the next one."""
    major, minor = (int(part) for part in __version__.split(".")[:2])
    return f">={major}.{minor},<{major}.{minor + 1}"
