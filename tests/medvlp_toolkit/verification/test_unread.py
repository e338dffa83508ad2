"""What a configuration sets is read: ids by something that runs, arguments by the code that takes them."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medvlp_toolkit.verification.bundle import verify_bundle
from medvlp_toolkit.verification.parameter_use import ParameterUse
from medvlp_toolkit.verification.sources import Sources

CLEAN = Path(__file__).with_name("bundle")

CODE = '''
"""A third party's package."""

import dataclasses

import torch
from torch import nn


class Handler:
    def __init__(
        self, every, strata=None, width=1, names=(), folder="", epochs=1, kept=0, shown=0, limit=0, mark=0, **options
    ):
        if width < 1:
            raise ValueError(f"width is {width}; it is 1 or more")
        if names is None:
            names = ()
        chosen = strata or [0]
        self.every, self.strata = every, tuple(chosen)
        self.width = width
        self.names = [name.lower() for name in names]
        self.folder = folder
        self.kept = kept
        self.shown = shown
        self.tracker = Tracker(epochs, **options)
        self._set_up(limit, mark)

    def _set_up(self, limit, mark=None):
        self.limit = limit
        self.mark = mark

    def attach(self, engine):
        return engine.add_event_handler(self.every, self.tracker, self.limit)

    def __repr__(self):
        return f"Handler({self.shown})"


class Tracker:
    def __init__(self, epochs, rate=0.1, decay=0.0):
        self.rate = rate

    def __call__(self):
        return self.rate


class Louder(Handler):
    def attach(self, engine):
        return self.folder


class Head(nn.Module):
    def __init__(self, width, dropout=0.0, temperature=1.0):
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.training_temperature = temperature

    def forward(self, x):
        return self.dropout(self.layer(x))


@dataclasses.dataclass
class Options:
    size: int = 1
    colour: str = "grey"

    def area(self):
        return self.size**2


def reader(handler, path, limit=None, strict=False, mode="cut", sink=None):
    """``mode`` is there to refuse; ``strict`` is passed on to what does not use it."""
    if mode == "refuse":
        raise ValueError("refused")
    global _sink
    _sink = sink
    return open(path), handler.kept, helper(path, strict=strict)


def one(value):
    return other(value)


def other(value):
    return one(value) or len(value)


def helper(path, strict, name=""):
    if not path:
        raise ValueError(f"no {name}")
    return helper(path, strict, name)
'''
USED = {
    "Handler": {"every", "folder", "kept", "rate", "limit"},
    "Tracker": {"rate"},
    "Head": {"width", "dropout"},
    "Options": {"size"},
    "reader": {"handler", "path", "mode", "sink"},
    "helper": {"path", "name"},
    "one": {"value"},
    "other": {"value"},
}
UNUSED = {
    "Handler": {"strata", "width", "names", "epochs", "shown", "decay", "mark"},
    "Tracker": {"epochs", "decay"},
    "Head": {"temperature"},
    "Options": {"colour"},
    "reader": {"limit", "strict"},
    "helper": {"strict"},
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed distribution that offers a plugin and has parameters that nothing comes of."""
    (tmp_path / "knob_maker.py").write_text(CODE)
    info = tmp_path / "knob_maker-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: knob-maker\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[medvlp_toolkit.encoders]\nknob_head = knob_maker:Head\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "knob_maker"
    sys.modules.pop("knob_maker", None)


@pytest.mark.parametrize(("target", "name"), [(t, n) for t, names in USED.items() for n in sorted(names)])
def test_a_parameter_that_reaches_something_is_used(target: str, name: str, package: str) -> None:
    module = importlib.import_module(package)
    assert ParameterUse(Sources([package])).is_used(getattr(module, target), name)


@pytest.mark.parametrize(("target", "name"), [(t, n) for t, names in UNUSED.items() for n in sorted(names)])
def test_a_parameter_that_is_only_checked_and_kept_is_not_used(target: str, name: str, package: str) -> None:
    module = importlib.import_module(package)
    assert not ParameterUse(Sources([package])).is_used(getattr(module, target), name)


def test_an_attribute_that_a_configuration_reads_is_used(package: str) -> None:
    module = importlib.import_module(package)
    uses = ParameterUse(Sources([package]), {"width"}.__contains__)
    assert uses.is_used(module.Handler, "width")


def test_code_of_other_packages_uses_what_it_takes(package: str) -> None:
    importlib.import_module(package)
    assert ParameterUse(Sources([package])).is_used(shutil.copytree, "symlinks")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    shutil.copytree(CLEAN, folder)
    return folder


def unused_of(bundle: Path) -> list[str]:
    problems = verify_bundle(bundle, strict=True).problems
    return [f"{p.line} {p.id} {p.message}" for p in problems if "does not use it" in p.message]


def test_arguments_that_code_does_not_use_are_reported_where_they_are_set(bundle: Path, package: str) -> None:
    config = bundle / "configs" / "train.yaml"
    assert unused_of(bundle) == []
    made = config.read_text() + (
        "  - $@handler.attach(@train::trainer)\n"
        "  - $reader(@handler, @dataset_dir, @batch_size)\n"
        "handler:\n"
        "  _target_: knob_maker.Handler\n"
        "  every: 3\n"
        "  strata: [1]\n"
        "head:\n"
        "  _target_: medvlp_toolkit.encoders.knob_head\n"
        "  width: 8\n"
        "  temperature: 0.5\n"
    )
    config.write_text(made.replace("  - $import glob\n", "  - $import glob\n  - $from knob_maker import reader\n"))
    first = len(made.splitlines()) - 8
    assert unused_of(bundle) == [
        f"{first + 1} run::2 knob_maker.reader takes limit and does not use it",
        f"{first + 5} handler::strata knob_maker.Handler takes strata and does not use it",
        f"{first + 9} head::temperature medvlp_toolkit.encoders.knob_head takes temperature and does not use it",
    ]


def unread_of(bundle: Path, *configs: str) -> list[tuple[str, str]]:
    found = verify_bundle(bundle, [bundle / "configs" / name for name in configs], strict=True)
    return [(p.file, p.id) for p in found.problems if "never read" in p.message]


def test_a_default_that_only_an_overlay_refers_to_is_read(bundle: Path) -> None:
    train, overlay = bundle / "configs" / "train.yaml", bundle / "configs" / "overlay.yaml"
    train.write_text(train.read_text() + "dropout: 0.2\n")
    assert unread_of(bundle) == [("configs/train.yaml", "dropout")]
    overlay.write_text(overlay.read_text().replace("$math.sqrt(0.04)", "$math.sqrt(@dropout)"))
    assert unread_of(bundle) == []
    assert unread_of(bundle, "train.yaml") == []


def test_what_only_a_further_overlay_refers_to_is_read(bundle: Path) -> None:
    configs = bundle / "configs"
    (configs / "larger.yaml").write_text("channels: 3\nepochs: 5\n+network_def: {dropout: 0.5}\n")
    assert unread_of(bundle) == [("configs/larger.yaml", "channels"), ("configs/larger.yaml", "epochs")]
    (configs / "wider.yaml").write_text('+network_def: {channels: "@channels"}\n')
    assert unread_of(bundle) == [("configs/larger.yaml", "epochs")]


def test_an_id_that_a_macro_copies_is_read(bundle: Path) -> None:
    train = bundle / "configs" / "train.yaml"
    train.write_text(train.read_text().replace("batch_size: 4", 'size: 4\nbatch_size: "%size"'))
    assert unread_of(bundle) == []


def test_without_strict_nothing_is_said_of_what_nothing_reads(bundle: Path) -> None:
    train = bundle / "configs" / "train.yaml"
    train.write_text(train.read_text() + "spare: 3\n")
    assert verify_bundle(bundle).problems == []
