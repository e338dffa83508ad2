"""How the core hangs together: imports lead one way, and nothing in it knows a plugin or is there for tests alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import pytest

from tests.architecture.imports import CORE, Arrow, Core, Level, between_folders, circles, loads
from tests.architecture.names import held_ids, mentions_of_plugins, without
from tests.architecture.size import kernel_size, lines_of_code
from tests.architecture.uses import unused_definitions, unused_methods

#: Folders and files of the core, from the bottom up: each imports only from layers beneath its own.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("terminal",),
    (
        *("version", "docstring", "known_plugins", "progress", "command_lines", "stop_signal", "files", "hub"),
        "shipped_bundles",
    ),
    ("run_lines",),
    ("registry",),
    ("moved",),
    ("__init__",),
    ("errors",),
    ("tables", "images"),
    ("data",),
    ("interfaces",),
    ("model",),
    ("weights",),
    ("preparing",),
    ("engines", "downstream"),
    ("evaluation",),
    ("inference",),
    ("exporting", "verification", "testing", "scaffold"),
    ("console",),
    ("cli",),
)
#: The package's own front door leads up to what it opens, when it is opened.
FRONT_DOOR = ("__init__.py", "inference/loaded_bundle.py")
#: Files that name plugins because that is what they are for: what to install for a name that is not installed.
NAME_PLUGINS = ("known_plugins.py",)
LEVELS = get_args(Level)
#: Lines of code of the kernel.
KERNEL_LIMIT = 6_000


def upward(core: Core) -> list[str]:
    """Imports that do not lead to a layer beneath, and files that no layer has."""
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}

    def part(file: str) -> str:
        return file.split("/")[0].removesuffix(".py")

    problems = [f"{file}: no layer has it" for file in core.files if part(file) not in layer]
    for arrow in core.inner:
        here, there = part(arrow.file), part(arrow.target)
        is_front_door = (arrow.file, arrow.target) == FRONT_DOOR and arrow.level != "module"
        if here != there and here in layer and there in layer and layer[there] >= layer[here] and not is_front_door:
            problems.append(str(arrow))
    return problems


def without_a_reason(core: Core) -> list[str]:
    """Imports of the core within functions that load nothing which the file does not load anyway.

    The command line's own are left out: `medvlp --help` reads every file of it.
    """
    loaded = loads(core)
    late = (arrow for arrow in core.inner if arrow.level == "function" and not arrow.file.startswith("cli/"))
    return [str(arrow) for arrow in late if not loaded[arrow.target] - loaded[arrow.file]]


def behind_the_front_door(core: Core, *levels: str) -> list[Arrow]:
    return [arrow for arrow in core.inner if arrow.level in levels and (arrow.file, arrow.target) != FRONT_DOOR]


#: What must find nothing.
CHECKS: dict[str, Callable[[Core], Sequence[object]]] = {
    "not downward": upward,
    "circles": lambda core: circles(behind_the_front_door(core, "module")),
    "later circles": lambda core: circles(behind_the_front_door(core, *LEVELS)),
    "circles of folders": lambda core: circles(between_folders(behind_the_front_door(core, *LEVELS))),
    "late imports": without_a_reason,
    "plugins": lambda core: without(mentions_of_plugins(core), *NAME_PLUGINS),
    "ids": lambda core: without(held_ids(core), *NAME_PLUGINS),
    "unused": lambda core: without(unused_definitions(core)),
    "unused methods": lambda core: without(unused_methods(core)),
}
#: What they find today: each leaves this list when it is fixed, and nothing joins it.
STANDING: dict[str, set[str]] = {}


@pytest.fixture(scope="module")
def core() -> Core:
    return Core(Path(__file__).parents[1])


@pytest.mark.parametrize("check", CHECKS)
def test_the_core_holds_together(check: str, core: Core) -> None:
    problems = [str(problem) for problem in CHECKS[check](core)]
    found = {re.sub(r":\d+\b", "", problem, count=1) for problem in problems}
    assert found == STANDING.get(check, set()), "\n".join(["found:", *problems])


def test_the_kernel_stays_small(core: Core) -> None:
    size = kernel_size(core.root)
    assert sum(size.values()) <= KERNEL_LIMIT, f"lines of code: {size}; `make size` prints them"


# -- each is found where it is put ----------------------------------------------------------------

GOOD = {
    "medvlp_toolkit/__init__.py": '''
        """The front door."""
        from typing import TYPE_CHECKING
        from medvlp_toolkit.registry import Registry
        if TYPE_CHECKING:
            from medvlp_toolkit.inference.loaded_bundle import LoadedBundle
        encoders = Registry()
        def load_bundle() -> "LoadedBundle":
            from medvlp_toolkit.inference.loaded_bundle import LoadedBundle
            return LoadedBundle()
        ''',
    "medvlp_toolkit/registry.py": "class Registry: pass\n",
    "medvlp_toolkit/known_plugins.py": "KNOWN = {'small_loss': 'medvlp-small'}\n",
    "medvlp_toolkit/data/__init__.py": "import lazy_loader\n",
    "medvlp_toolkit/data/__init__.pyi": "from .batches.dataset import Dataset as Dataset\n",
    "medvlp_toolkit/data/records.py": '''
        """Of medical records; MedKLIP's included."""
        class Record: pass
        ''',
    "medvlp_toolkit/data/batches/__init__.py": "",
    "medvlp_toolkit/data/batches/dataset.py": '''
        from medvlp_toolkit.data.records import Record
        class Dataset:
            def __init__(self): self.records = [Record()]
            def first(self): return self.records[0]
        ''',
    "medvlp_toolkit/model/__init__.py": "",
    "medvlp_toolkit/model/network.py": '''
        from medvlp_toolkit.data import Dataset
        class Network:
            def score(self):
                return self.helper(Dataset().first())
            def helper(self, record): return record
        ''',
    "medvlp_toolkit/inference/__init__.py": "",
    "medvlp_toolkit/inference/loaded_bundle.py": '''
        import torch
        from medvlp_toolkit.model.network import Network
        class LoadedBundle(Network): pass
        ''',
    "plugins/medvlp-small/pyproject.toml": '''
        [project]
        name = "medvlp-small"
        [project.entry-points."medvlp_toolkit.pretext_losses"]
        small_loss = "medvlp_small:small_loss"
        ''',
    "plugins/medvlp-small/src/medvlp_small/__init__.py": "def small_loss(network): return network.score()\n",
    "plugins/medvlp-small/src/medvlp_small/data/words.yaml": '''
        entries: [{id: normal}, {id: clear}, {id: sharp}, {id: left_hilum}]
        ''',
    "docs/python.md": "The name `load_bundle` is public.\n",
}  # fmt: skip
RECORDS, DATASET, NETWORK = (f"{CORE}/{name}.py" for name in ("data/records", "data/batches/dataset", "model/network"))
PLANTED = [
    ("not downward", RECORDS, "from medvlp_toolkit.model.network import Network", ":5 imports model/network.py"),
    ("not downward", RECORDS, "def later():\n    from medvlp_toolkit.model.network import Network", "(function level)"),
    ("not downward", RECORDS, "if TYPE_CHECKING:\n    from medvlp_toolkit.model import network", "(typing level)"),
    ("not downward", RECORDS, "import medvlp_toolkit.model.network", "model/network.py (module level)"),
    ("not downward", RECORDS, "from ..model import network", "model/network.py (module level)"),
    ("not downward", f"{CORE}/extras.py", "", "extras.py: no layer has it"),
    ("circles", RECORDS, "from medvlp_toolkit.data.batches import dataset", "data/records.py"),
    ("circles", RECORDS, "from medvlp_toolkit.data import Dataset", "data/records.py"),
    ("later circles", RECORDS, "def later():\n    from .batches.dataset import Dataset", "data/records.py"),
    ("circles of folders", RECORDS, "from medvlp_toolkit.data import batches", "['data/batches', 'data/records.py']"),
    ("late imports", NETWORK, "def later():\n    from medvlp_toolkit.data.records import Record", "data/records.py"),
    ("plugins", RECORDS, "import medvlp_small", "data/records.py:5: medvlp_small"),
    ("plugins", RECORDS, "HINT = 'pip install medvlp-small'", "data/records.py:5: medvlp-small"),
    ("plugins", RECORDS, "# as medvlp_small.loss does", "data/records.py:5: medvlp_small"),
    ("ids", RECORDS, "DEFAULT = 'small_loss'", "data/records.py:5: small_loss"),
    ("ids", RECORDS, "NORMAL = ['sharp', 'clear', 'normal']", "data/records.py:5: sharp"),
    ("ids", RECORDS, "SIDES = {'left_hilum': 'left'}", "data/records.py:5: left_hilum"),
    ("unused", RECORDS, "def forgotten(): return forgotten()", "data/records.py:5: forgotten"),
    ("unused", RECORDS, "class Old: pass\ndef old(): return Old()", "data/records.py:5: Old"),
    ("unused methods", DATASET, "    def last(self): return self.records[-1]", "dataset.py:6: Dataset.last"),
]  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A checkout with nothing wrong in it."""
    for name, text in GOOD.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_dedented(text))
    return tmp_path


def _dedented(text: str) -> str:
    lines = text.strip("\n").split("\n")
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines).rstrip() + "\n"


@pytest.mark.parametrize("check", CHECKS)
def test_a_small_core_with_nothing_wrong_passes(check: str, small: Path) -> None:
    assert CHECKS[check](Core(small)) == []


@pytest.mark.parametrize(("check", "file", "planted", "found"), PLANTED)
def test_what_is_planted_is_found(check: str, file: str, planted: str, found: str, small: Path) -> None:
    path = small / file
    before = path.read_text() + "\n\n" if path.is_file() else ""
    before = before.rstrip("\n") + "\n" * 2 if planted.startswith(" ") else before
    path.write_text(f"{before}{planted}\n")
    ast.parse(path.read_text())
    problems = CHECKS[check](Core(small))
    assert found in str(problems)
    assert problems


def test_lines_of_code_are_counted_without_comments_blanks_and_docstrings() -> None:
    source = (
        '"""What it is."""\n\nX = """a\ntext"""  # of two lines\n\n\ndef f():\n    """Does\n    it."""\n'
        "    # nothing\n    return (\n        1\n    )\n"
    )
    assert lines_of_code(source) == 2 + 1 + 3
