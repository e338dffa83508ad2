"""Each mistake put into a bundle that has none is found, at its place, with its fix."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from medvlp_toolkit.verification.bundle import verify_bundle
from medvlp_toolkit.verification.problem import Problem

CLEAN = Path(__file__).with_name("bundle")
TRAIN, OVERLAY, INFERENCE = "configs/train.yaml", "configs/overlay.yaml", "configs/inference.json"
METADATA, LOGGING = "configs/metadata.json", "configs/logging.conf"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    shutil.copytree(CLEAN, folder)
    (folder / "models").mkdir()
    state = {"layer.weight": torch.zeros(2, 2)}
    torch.save(state, folder / "models" / "model.pt")
    save_file(state, folder / "models" / "model.safetensors")
    return folder


def replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        text = (bundle / file).read_text()
        assert text.count(old) >= 1, f"{file} has no {old!r}"
        (bundle / file).write_text(text.replace(old, new, 1))

    return change


def together(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        for one in changes:
            one(bundle)

    return change


def append(file: str, text: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / file).write_text((bundle / file).read_text() + text)

    return change


def write(file: str, content: bytes) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / file).parent.mkdir(exist_ok=True, parents=True)
        (bundle / file).write_bytes(content)

    return change


def remove(file: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / file).unlink()


def truncate(file: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / file).write_bytes((bundle / file).read_bytes()[:-40])


def nothing(bundle: Path) -> None:
    """The mistake is in the call."""


def other_keys(bundle: Path) -> None:
    save_file({"another.weight": torch.zeros(2, 2)}, bundle / "models" / "model.safetensors")


def metadata_with(**changed: Any) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        metadata = json.loads((bundle / METADATA).read_text()) | changed
        kept = {key: value for key, value in metadata.items() if value is not None}
        (bundle / METADATA).write_text(json.dumps(kept, indent=2))

    return change


@dataclass(frozen=True)
class Mistake:
    name: str
    seed: Callable[[Path], None]
    file: str
    id: str
    told: str
    line: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    strict: bool = False


MISTAKES = [
    # -- syntax
    Mistake(
        "YAML that cannot be read", replace(TRAIN, "batch_size: 4", "batch_size: [4"), TRAIN, "", "not readable as YAML"
    ),
    Mistake(
        "a value that begins with @, not quoted",
        replace(TRAIN, '"@learning_rate"', "@learning_rate"),
        TRAIN,
        "",
        "quote a value that begins with @",
        19,
    ),
    Mistake(
        "JSON that cannot be read",
        replace(INFERENCE, '"data": []', '"data": [],'),
        INFERENCE,
        "",
        "not readable as JSON",
        13,
    ),
    Mistake(
        "an id given twice in YAML",
        append(TRAIN, "batch_size: 8\n"),
        TRAIN,
        "batch_size",
        "given twice, first on line 9",
        66,
    ),
    Mistake(
        "an id given twice in JSON",
        replace(INFERENCE, '"dataset_dir"', '"bundle_root": "/", "dataset_dir"'),
        INFERENCE,
        "bundle_root",
        "given twice",
        3,
    ),
    Mistake("bytes that are no text", write(OVERLAY, b"\xff\xfe\x00"), OVERLAY, "", "not text in UTF-8"),
    Mistake(
        "a number that YAML takes for text",
        replace(TRAIN, "1.0e-3", "1e-3"),
        TRAIN,
        "learning_rate",
        "1e-3 is text in YAML 1.1, not a number; write 0.001",
        7,
    ),
    Mistake(
        "an object of Python's in YAML",
        append(TRAIN, "x: !!python/object/apply:os.getcwd []\n"),
        TRAIN,
        "x",
        "no constructor for the tag",
    ),
    # -- targets
    Mistake(
        "a plugin's name mistyped",
        replace(TRAIN, "encoders.resnet", "encoders.resnett"),
        TRAIN,
        "encoder::_target_",
        "no encoders plugin named 'resnett'; did you mean 'resnet'?",
        21,
    ),
    Mistake(
        "a name of MONAI's mistyped",
        replace(TRAIN, "LoadImaged", "LoadImged"),
        TRAIN,
        "train::preprocessing::transforms::0::_target_",
        "did you mean 'LoadImaged'?",
        31,
    ),
    Mistake(
        "a module of torch mistyped",
        replace(TRAIN, "torch.optim.Adam", "torch.optm.Adam"),
        TRAIN,
        "optimizer::_target_",
        "torch has no optm; did you mean 'optim'?",
    ),
    Mistake(
        "a class of torch mistyped",
        replace(TRAIN, "torch.optim.Adam", "torch.optim.Adan"),
        TRAIN,
        "optimizer::_target_",
        "torch.optim has no Adan; did you mean 'Adam'?",
    ),
    Mistake(
        "a package that is not installed",
        replace(TRAIN, "torch.optim.Adam", "no_such_package.Adam"),
        TRAIN,
        "optimizer::_target_",
        "pip install no-such-package",
    ),
    Mistake(
        "a target that cannot be called",
        replace(TRAIN, "torch.optim.Adam", "torch.float32"),
        TRAIN,
        "optimizer::_target_",
        "which is not callable",
    ),
    Mistake(
        "a target that is no text",
        replace(TRAIN, "_target_: torch.optim.Adam", "_target_: 5"),
        TRAIN,
        "optimizer::_target_",
        "expected a dotted path",
    ),
    Mistake(
        "a class that the bundle's script lacks",
        replace(TRAIN, "network.SmallNetwork", "network.SmalNetwork"),
        TRAIN,
        "network_def::_target_",
        "network.py has no SmalNetwork; did you mean 'SmallNetwork'?",
    ),
    Mistake(
        "a script that the bundle lacks",
        replace(TRAIN, "scripts.network.Small", "scripts.netwrk.Small"),
        TRAIN,
        "network_def::_target_",
        "no netwrk",
    ),
    Mistake(
        "a script that is no Python",
        write("scripts/network.py", b"class SmallNetwork(:\n"),
        TRAIN,
        "network_def::_target_",
        "network.py:1 is not readable as Python",
    ),
    Mistake(
        "an unknown mode",
        replace(TRAIN, "_target_: CacheDataset", "_target_: CacheDataset\n    _mode_: partial"),
        TRAIN,
        "train::dataset::_mode_",
        "one of default, callable, debug",
    ),
    # -- arguments
    Mistake(
        "an argument of a plugin mistyped",
        replace(TRAIN, "depth: 18", "depht: 18"),
        TRAIN,
        "encoder::depht",
        "takes no argument depht; did you mean 'depth'?",
        22,
    ),
    Mistake(
        "an argument of a script's class mistyped",
        replace(TRAIN, "dropout: 0.1", "drop_out: 0.1"),
        TRAIN,
        "network_def::drop_out",
        "did you mean 'dropout'?",
    ),
    Mistake(
        "a required argument missing",
        replace(TRAIN, '    device: "@device"\n', ""),
        TRAIN,
        "train::trainer::_target_",
        "lacks the argument device; add device: …",
    ),
    Mistake(
        "a required argument of a script's class missing",
        replace(TRAIN, "  channels: 1\n", ""),
        TRAIN,
        "network_def::_target_",
        "lacks the argument channels",
    ),
    Mistake(
        "text where a number belongs",
        replace(TRAIN, 'max_epochs: "@max_epochs"', "max_epochs: '3'"),
        TRAIN,
        "train::trainer::max_epochs",
        "takes a whole number for max_epochs",
    ),
    Mistake(
        "text for a number that a class passes on to its base",
        together(
            replace(TRAIN, "_target_: SupervisedTrainer", "_target_: medvlp_toolkit.engines.Trainer"),
            replace(TRAIN, 'max_epochs: "@max_epochs"', "max_epochs: '3'"),
        ),
        TRAIN,
        "train::trainer::max_epochs",
        "medvlp_toolkit.engines.Trainer takes a whole number for max_epochs, not '3'",
    ),
    Mistake(
        "text for a number that an evaluator passes on to its base",
        replace(INFERENCE, '"SupervisedEvaluator",', '"medvlp_toolkit.engines.Evaluator", "epoch_length": "3",'),
        INFERENCE,
        "evaluator::epoch_length",
        "medvlp_toolkit.engines.Evaluator takes a whole number for epoch_length, not '3'",
    ),
    Mistake(
        "text for a number that a step passes on to its base",
        append(TRAIN, "step: {_target_: medvlp_toolkit.engines.FinetuningStep, transform: null, clip_norm: a lot}\n"),
        TRAIN,
        "step::clip_norm",
        "medvlp_toolkit.engines.FinetuningStep takes a number for clip_norm, not 'a lot'",
    ),
    # -- references and macros
    Mistake(
        "a reference mistyped",
        replace(TRAIN, '"@train::loader"', '"@train::loadr"'),
        TRAIN,
        "train::trainer::train_data_loader",
        "@train::loadr refers to an id that does not exist; did you mean 'train::loader'",
    ),
    Mistake(
        "a reference in an expression mistyped",
        replace(TRAIN, "@network_def.to", "@netwrk_def.to"),
        TRAIN,
        "network",
        "did you mean 'network_def'",
        15,
    ),
    Mistake(
        "a circle",
        replace(TRAIN, "max_epochs: 3", 'max_epochs: "@train::trainer::max_epochs"'),
        TRAIN,
        "train::trainer::max_epochs",
        "is a circular reference: ",
    ),
    Mistake(
        "a handler that refers to the trainer it is of",
        replace(TRAIN, "tag_name: loss", 'tag_name: "$@train::trainer.name"'),
        TRAIN,
        "train::handlers",
        "train::trainer → ",
    ),
    Mistake(
        "a macro of an id that is not there",
        replace(TRAIN, "batch_size: 4", 'batch_size: "%batch"'),
        TRAIN,
        "batch_size",
        "%batch names no id",
    ),
    Mistake(
        "a macro of a file that is not there",
        replace(TRAIN, "batch_size: 4", 'batch_size: "%sizes.yaml::batch"'),
        TRAIN,
        "batch_size",
        "%sizes.yaml: no such file",
    ),
    Mistake(
        "a merge into nothing",
        replace(OVERLAY, "+network_def", "+netwrk_def"),
        OVERLAY,
        "netwrk_def",
        "did you mean 'network_def'",
        4,
    ),
    Mistake(
        "a merge of a list into a mapping",
        replace(OVERLAY, "+network_def:\n  dropout: $math.sqrt(0.04)", "+network_def: [1]"),
        OVERLAY,
        "network_def",
        "+ joins two mappings or two lists",
    ),
    # -- expressions
    Mistake(
        "an expression that is no Python",
        replace(TRAIN, "torch.device('cpu')", "torch.device('cpu'"),
        TRAIN,
        "device",
        "is not a Python expression",
        6,
    ),
    Mistake(
        "a name that nothing imports",
        replace(TRAIN, "  - $import glob\n", ""),
        TRAIN,
        "files",
        "uses the name glob, which is not imported",
    ),
    Mistake(
        "an attribute that a module lacks",
        replace(TRAIN, "monai.utils.set_determinism", "monai.utils.set_determinsm"),
        TRAIN,
        "initialize::0",
        "monai.utils has no set_determinsm; did you mean 'set_determinism'?",
    ),
    Mistake(
        "an import of a module that is not there",
        replace(TRAIN, "import glob", "import glob2"),
        TRAIN,
        "imports::0",
        "there is no module glob2",
    ),
    Mistake(
        "a call with an unknown argument",
        replace(TRAIN, "make_loss(weight=0.5)", "make_loss(wait=0.5)"),
        TRAIN,
        "train::trainer::loss_function",
        "it takes weight",
    ),
    Mistake(
        "an @ within text",
        replace(TRAIN, "@dataset_dir + '/*.png'", "@dataset_dir + '/@x.png'"),
        TRAIN,
        "files",
        "an @ inside text is parsed as a reference",
    ),
    Mistake(
        "a word that MONAI takes for an import",
        replace(TRAIN, "$@network.parameters()", "$[p for p in @network.parameters() if p.important]"),
        TRAIN,
        "optimizer::params",
        "MONAI reads it as an import statement",
    ),
    # -- overrides
    Mistake(
        "an override mistyped", nothing, "--set", "max_epoch", "did you mean 'max_epochs'", settings={"max_epoch": 1}
    ),
    Mistake(
        "a nested override mistyped",
        nothing,
        "--set",
        "optimzer::lr",
        "did you mean 'optimizer::lr'",
        settings={"optimzer::lr": 1.0},
    ),
    Mistake(
        "an override of an argument that is not taken",
        nothing,
        "--set",
        "encoder::dept",
        "did you mean 'depth'?",
        settings={"encoder::dept": 50},
    ),
    Mistake(
        "an id that only the overlay knows",
        append(OVERLAY, "batch_sise: 2\n"),
        OVERLAY,
        "batch_sise",
        "did you mean 'batch_size'?",
        7,
    ),
    # -- paths
    Mistake(
        "an absolute path that is not there",
        replace(TRAIN, "dataset_dir: data", "dataset_dir: /no/such/data"),
        TRAIN,
        "dataset_dir",
        "/no/such/data: no such file or folder",
        5,
    ),
    Mistake(
        "a path of an override that is not there",
        nothing,
        "--set",
        "dataset_dir",
        "no such file or folder",
        settings={"dataset_dir": "my/dta"},
    ),
    Mistake(
        "a file of an argument that is not there",
        replace(TRAIN, "path: chest_entities", "path: my/entities.yaml"),
        TRAIN,
        "descriptions::path",
        "my/entities.yaml: no such file",
    ),
    Mistake(
        "a file of the bundle that is not there",
        append(TRAIN, "labels: \"$@bundle_root + '/configs/labels.txt'\"\n"),
        TRAIN,
        "labels",
        "configs/labels.txt is not in the bundle",
    ),
    # -- what nothing reads
    Mistake("an id that nothing reads", append(TRAIN, "spare: 3\n"), TRAIN, "spare", "never read", 66, strict=True),
    Mistake(
        "an id within others that nothing reads",
        replace(TRAIN, "train:\n", "train:\n  spare: {a: [1, 2], b: 3}\n"),
        TRAIN,
        "train::spare",
        "never read",
        28,
        strict=True,
    ),
    Mistake(
        "an id that only another unread one refers to",
        append(TRAIN, 'spare: 3\nunread: "@spare"\n'),
        TRAIN,
        "spare",
        "never read",
        66,
        strict=True,
    ),
    Mistake(
        "an id of an overlay that its configuration no longer refers to",
        replace(TRAIN, '  lr: "@learning_rate"\n', ""),
        OVERLAY,
        "learning_rate",
        "never read",
        1,
        strict=True,
    ),
    Mistake(
        "an import that no expression uses",
        replace(TRAIN, "  - $import glob\n", "  - $import glob\n  - $import json\n"),
        TRAIN,
        "imports::1",
        "imports json, which is never used",
        3,
        strict=True,
    ),
    # -- what MONAI asks for
    Mistake(
        "no length of the training",
        replace(TRAIN, '    max_epochs: "@max_epochs"\n', ""),
        TRAIN,
        "train::trainer::max_epochs",
        "MONAI requires it in every training workflow",
    ),
    Mistake(
        "no inferer for training",
        replace(TRAIN, "  inferer:\n    _target_: SimpleInferer\n", ""),
        TRAIN,
        "train::inferer",
        "MONAI requires it",
    ),
    Mistake(
        "no dataset_dir for inference",
        replace(INFERENCE, '  "dataset_dir": "data",\n', ""),
        INFERENCE,
        "dataset_dir",
        "MONAI requires it in every inference workflow",
    ),
    # -- metadata
    Mistake("no version", metadata_with(version=None), METADATA, "version", "is missing"),
    Mistake(
        "a version that is none", metadata_with(version="latest"), METADATA, "version", "'latest' is not a version"
    ),
    Mistake(
        "a version without a word on it",
        metadata_with(version="0.3.0"),
        METADATA,
        "changelog",
        "no entry for version 0.3.0",
    ),
    Mistake("authors as a list", metadata_with(authors=["A", "B"]), METADATA, "authors", "is a list; expected string"),
    Mistake(
        "a field mistyped",
        metadata_with(task=None, taks="Tells apart"),
        METADATA,
        "task",
        "is missing; did you mean 'taks'?",
    ),
    Mistake(
        "a tensor without its type of numbers",
        replace(METADATA, '        "dtype": "float32",\n', ""),
        METADATA,
        "network_data_format::inputs::image::dtype",
        "is missing",
    ),
    Mistake(
        "no address of the schema", metadata_with(schema="here"), METADATA, "schema", "not the address of a schema"
    ),
    Mistake(
        "metadata that cannot be read",
        replace(METADATA, '"name": "small",', '"name": "small"'),
        METADATA,
        "",
        "not readable as JSON",
    ),
    Mistake("no metadata", remove(METADATA), METADATA, "", "is missing"),
    # -- other files
    Mistake("no licence", remove("LICENSE"), "LICENSE", "", "is missing"),
    Mistake("no model card", remove("docs/README.md"), "docs/README.md", "", "is missing"),
    Mistake("no logging.conf", remove(LOGGING), LOGGING, "", "runs would show no progress"),
    Mistake(
        "a handler that logging.conf lacks",
        replace(LOGGING, "[handler_console]", "[handler_consol]"),
        LOGGING,
        "handlers",
        "no section [handler_console]",
    ),
    Mistake("weights cut off", truncate("models/model.pt"), "models/model.pt", "", "cannot be read as weights"),
    Mistake(
        "safetensors cut off",
        truncate("models/model.safetensors"),
        "models/model.safetensors",
        "",
        "not readable as safetensors",
    ),
    Mistake(
        "weights that would run code",
        write("models/model.pt", pickle.dumps(print)),
        "models/model.pt",
        "",
        "nothing in it was executed",
    ),
    Mistake(
        "a pointer instead of weights",
        write("models/model.pt", b"version https://git-lfs.github.com/spec/v1\n"),
        "models/model.pt",
        "",
        "git lfs pull",
    ),
    Mistake(
        "weights that are two different ones", other_keys, "models/model.safetensors", "", "other entries than model.pt"
    ),
    Mistake(
        "a download without a checksum",
        write("large_files.yml", b"large_files:\n- path: models/a.pt\n  url: https://x/y\n"),
        "large_files.yml",
        "large_files::0::hash_val",
        "a damaged download would pass",
        2,
    ),
    # -- what has to be installed
    Mistake(
        "a distribution that is not installed",
        append(OVERLAY, "requirements: [no-such-filters>=2]\n"),
        OVERLAY,
        "requirements::0",
        "no-such-filters is not installed; pip install 'no-such-filters>=2'",
        7,
    ),
    Mistake(
        "a distribution in another version",
        append(OVERLAY, "requirements: [medvlp-toolkit>=99]\n"),
        OVERLAY,
        "requirements::0",
        "is installed; pip install 'medvlp-toolkit>=99'",
    ),
    # -- strict
    Mistake(
        "a target of an unknown package",
        replace(TRAIN, "torch.optim.Adam", "subprocess.run"),
        TRAIN,
        "optimizer::_target_",
        "not allowed with --strict: has the target subprocess.run",
        strict=True,
    ),
    Mistake(
        "a target that fetches code",
        replace(TRAIN, "torch.optim.Adam", "torch.hub.load"),
        TRAIN,
        "optimizer::_target_",
        "not allowed with --strict",
        strict=True,
    ),
    Mistake(
        "an expression that runs a command",
        append(TRAIN, "x: $__import__('os').system('true')\n"),
        TRAIN,
        "x",
        "not allowed with --strict: uses __import__",
        strict=True,
    ),
    Mistake(
        "an expression that digs",
        append(TRAIN, "x: $().__class__.__base__.__subclasses__()\n"),
        TRAIN,
        "x",
        "accesses .__class__",
        strict=True,
    ),
    Mistake(
        "remote code of a hub",
        append(TRAIN, "x: {_target_: transformers.AutoModel.from_pretrained, trust_remote_code: true}\n"),
        TRAIN,
        "x::trust_remote_code",
        "sets trust_remote_code: True",
        strict=True,
    ),
]


def found_in(bundle: Path, mistake: Mistake) -> list[Problem]:
    return verify_bundle(bundle, settings=mistake.settings, strict=mistake.strict).problems


def test_the_bundle_without_a_mistake_has_none(bundle: Path) -> None:
    assert [str(problem) for problem in verify_bundle(bundle).problems] == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_seeded_mistake_is_found_at_its_place(mistake: Mistake, bundle: Path) -> None:
    mistake.seed(bundle)
    found = found_in(bundle, mistake)
    matching = [
        p for p in found if (p.file, p.id) == (mistake.file, mistake.id) and mistake.told in f"{p.message}; {p.fix}"
    ]
    assert matching, "\n".join(["found instead:", *map(str, found)])
    if mistake.line is not None:
        assert mistake.line in [problem.line for problem in matching]


def test_all_mistakes_are_reported_at_once(bundle: Path) -> None:
    seeded = [one for one in MISTAKES if one.name in {
        "a plugin's name mistyped", "a reference mistyped", "a number that YAML takes for text", "no licence",
        "a version without a word on it", "an id that only the overlay knows",
    }]  # fmt: skip
    for mistake in seeded:
        mistake.seed(bundle)
    found = {(problem.file, problem.id) for problem in verify_bundle(bundle).problems}
    assert {(mistake.file, mistake.id) for mistake in seeded} <= found


def test_nothing_of_the_bundle_is_imported_and_its_folder_stays_off_the_path(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bundle / "json.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(bundle)
    before = list(sys.path)
    verify_bundle(Path())
    assert sys.path == before
    assert not [name for name, module in sys.modules.items() if str(bundle) in str(getattr(module, "__file__", ""))]


def test_no_expression_is_evaluated(bundle: Path, tmp_path: Path) -> None:
    trap = tmp_path / "evaluated"
    append(TRAIN, f"trap: $open('{trap}', 'w')\ninit: $__import__('pathlib').Path('{trap}').touch()\n")(bundle)
    verify_bundle(bundle)
    assert not trap.exists()


def test_what_is_disabled_needs_nothing(bundle: Path) -> None:
    text = "handler: {_target_: a_package_that_nobody_installed.Handler, _disabled_: true, level: 1}\n"
    append(TRAIN, text)(bundle)
    assert verify_bundle(bundle).problems == []
    replace(TRAIN, "_disabled_: true", "_disabled_: false")(bundle)
    assert len(verify_bundle(bundle).problems) == 1
