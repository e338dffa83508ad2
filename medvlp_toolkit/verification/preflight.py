"""``medvlp doctor --bundle``: whether a training has what it needs on this machine, before anything of it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvlp_toolkit.data.knowledge_graph import GraphError, KnowledgeGraph
from medvlp_toolkit.data.store.store import PackedStore, StoreError
from medvlp_toolkit.errors import user_message
from medvlp_toolkit.hub import is_downloaded, model_folder, why_offline
from medvlp_toolkit.verification.estimates import estimates
from medvlp_toolkit.verification.values import Values
from medvlp_toolkit.weights.nested import SEPARATOR, walk
from medvlp_toolkit.weights.weights import NONE

#: Arguments of parts that name a model of the hub, or a folder with one.
_MODELS = ("pretrained", "tokenizer")
_GRAPHS, _WEIGHTS = ("graph_file",), ("checkpoint",)
_SPLITS = ("train_split", "validation_split")


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, whether it is fine (None: it cannot be told), what was found, and the fix."""

    what: str
    ok: bool | None
    found: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.found}" + (f". Fix: {self.fix}" if self.fix else "")


def preflight(
    bundle: str | Path, overlays: Sequence[str | Path] = (), settings: Mapping[str, Any] | None = None
) -> list[Check]:
    """Look at what ``train.yaml`` of a bundle needs: text model, store, graph, weights, disk space, memory.

    Ids that say where things are are evaluated, as a run would; no model and no image is loaded.

    Args:
        bundle: its folder.
        overlays: configurations laid over ``train.yaml``, by path or by name within ``configs/``.
        settings: overrides by id.

    Raises:
        FileNotFoundError: when the bundle or a configuration is not there.
    """
    files = _files(Path(bundle), overlays)
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    given = {"bundle_root": str(bundle), **(settings or {})}
    for id_, value in given.items():
        parser[id_] = value
    config = dict(parser.get())
    values = Values(parser)
    return [
        *_models(config, values),
        *_stores(values),
        *_graphs(values),
        *_weights(values),
        *(Check(*one) for one in estimates(Path(bundle), files, given, values)),
    ]


def _files(bundle: Path, overlays: Sequence[str | Path]) -> list[Path]:
    configs = bundle / "configs"
    names = ("train.yaml", "train.yml", "train.json")
    base = next((file for name in names if (file := configs / name).is_file()), None)
    if base is None:
        raise FileNotFoundError(f"{configs} holds no train.yaml; give the folder of a bundle that trains")
    given = [path if (path := Path(overlay)).is_file() else configs / overlay for overlay in overlays]
    missing = next((path for path in given if not path.is_file()), None)
    if missing is not None:
        raise FileNotFoundError(f"no overlay at {missing}; name a file of {configs}, or give its path")
    return [base, *given]


def _models(config: Mapping[str, Any], values: Values) -> Iterator[Check]:
    """Every part that takes its weights or its tokenizer by folder or hub name."""
    for id_, part in walk(config):
        if not isinstance(part, Mapping) or "_target_" not in part or part.get("_disabled_") is True:
            continue
        for argument in _MODELS:
            name = part.get(argument)
            if isinstance(name, str) and name.startswith(("@", "$")):
                name = values(f"{id_}{SEPARATOR}{argument}")
            if isinstance(name, str) and name not in NONE:
                yield _model(f"{id_}{SEPARATOR}{argument}", name)


def _model(id_: str, name: str) -> Check:
    if Path(name).expanduser().is_file():
        return Check(id_, True, f"{name} is there")
    try:
        folder = model_folder(name)
    except FileNotFoundError:
        return Check(id_, False, f"the folder {name} does not exist", f"copy the model there, or give --{id_} FOLDER")
    if folder is not None:
        if any((folder / file).is_file() for file in ("config.json", "tokenizer.json", "tokenizer_config.json")):
            return Check(id_, True, f"folder {name}")
        return Check(id_, False, f"the folder {name} holds no config.json", "download all files of the model there")
    if is_downloaded(name):
        return Check(id_, True, f"{name} was downloaded before")
    offline = why_offline()
    if not offline:
        return Check(id_, True, f"{name} will be downloaded from the hub")
    fix = f"`hf download {name} --local-dir FOLDER` where the hub is reached, copy it here, and give --{id_} FOLDER"
    return Check(id_, False, f"{name} was not downloaded before, and {offline}", fix)


def _stores(values: Values) -> Iterator[Check]:
    folder = values("dataset_dir")
    if not isinstance(folder, str | Path):
        return
    try:
        store = PackedStore.open(folder)
    except StoreError as error:
        yield Check("store", False, str(error))
        return
    splits = store.meta["counts"]["splits"]
    missing = [name for id_ in _SPLITS if isinstance(name := values(id_), str) and name not in splits]
    if missing:
        there = ", ".join(splits) or "none"
        yield Check(
            "store", False, f"{folder} has no split {', '.join(missing)}", f"set {_SPLITS[0]} to one of {there}"
        )
    else:
        yield Check("store", True, repr(store))


def _graphs(values: Values) -> Iterator[Check]:
    for id_ in _GRAPHS:
        file = values(id_)
        if not isinstance(file, str | Path) or str(file) in NONE:
            continue
        try:
            yield Check(id_, True, f"{file}, {KnowledgeGraph.read(file)!r}")
        except (FileNotFoundError, GraphError) as error:
            yield Check(id_, False, user_message(error) or str(error))


def _weights(values: Values) -> Iterator[Check]:
    for id_ in _WEIGHTS:
        file = values(id_)
        if not isinstance(file, str | Path) or str(file) in NONE:
            continue
        if Path(file).is_file():
            yield Check(id_, True, f"{file}, {Path(file).stat().st_size / 2**20:,.0f} MiB")
        else:
            fix = f"give --{id_} FILE, of a training or of `medvlp import`; null starts without"
            yield Check(id_, False, f"there is no {file}", fix)
