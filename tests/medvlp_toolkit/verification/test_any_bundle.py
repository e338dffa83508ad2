"""Bundles that nobody prepared for the check: MONAI's own skeleton, damaged files, and those shipped here."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from medvlp_toolkit.shipped_bundles import ShippedBundle, shipped_bundles
from medvlp_toolkit.verification.bundle import verify_bundle
from medvlp_toolkit.verification.composition import compose
from medvlp_toolkit.verification.located_file import read_located

CLEAN = Path(__file__).with_name("bundle")
ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "bundles" / "medklip" / "configs"
OVERLAID = [
    ("prepare.yaml", "demo.yaml"),
    ("train.yaml", "demo.yaml"),
    ("evaluate.yaml", "demo.yaml"),
    ("inference.yaml", "demo.yaml"),
    ("train.yaml", "multi_gpu_train.yaml"),
    ("train.yaml", "resume.yaml"),
    ("evaluate.yaml", "features.yaml"),
    ("train.yaml", "weak_pairs.yaml"),
    ("evaluate.yaml", "benchmarks/chestxray14.yaml"),
    ("prepare.yaml", "demo.yaml", "segmentation_demo.yaml"),
    ("train.yaml", "demo.yaml", "volume.yaml", "volume_demo.yaml"),
]


#: Set and not read today, by bundle: each leaves this list when it is fixed, and nothing joins it.
STANDING: dict[str, set[tuple[str, str]]] = {}


@pytest.mark.parametrize("bundle", shipped_bundles(), ids=lambda bundle: bundle.name)
def test_a_shipped_bundle_has_no_mistake_and_sets_nothing_that_nothing_reads(bundle: ShippedBundle) -> None:
    found = verify_bundle(bundle.folder, strict=True)
    problems = {(problem.file, problem.id) for problem in found.problems}
    assert problems == STANDING.get(bundle.name, set()), "\n".join(map(str, found.problems))
    assert found.compositions


@pytest.mark.parametrize("names", OVERLAID, ids="+".join)
def test_configurations_laid_over_each_other_have_no_mistake(names: tuple[str, ...]) -> None:
    found = verify_bundle(CONFIGS.parent, [CONFIGS / name for name in names])
    assert [str(problem) for problem in found.problems] == []


@pytest.mark.parametrize("names", OVERLAID, ids="+".join)
def test_files_are_composed_as_monai_composes_them(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.bundle import ConfigParser

    files = [str(CONFIGS / name) for name in names]
    parser = ConfigParser()
    parser.read_config(files)
    parser["batch_size"] = 3
    parser.resolve_macro_and_relative_ids()
    ours = compose([read_located(Path(file), file) for file in files], {"batch_size": 3})
    ours.resolve_macros([Path()])
    theirs = dict(parser.get())
    theirs.pop("_meta_")
    assert ours.config == theirs


def test_the_skeleton_that_monai_writes_is_checked(tmp_path: Path) -> None:
    from monai.bundle import init_bundle

    init_bundle(str(tmp_path / "fresh"), network="monai.networks.nets.BasicUNet")
    found = {(problem.file, problem.id) for problem in verify_bundle(tmp_path / "fresh").problems}
    assert ("configs/metadata.json", "schema") in found
    assert ("configs/inference.json", "network_def::_target_") in found


def test_an_empty_folder_is_checked(tmp_path: Path) -> None:
    assert {problem.file for problem in verify_bundle(tmp_path).problems} == {"LICENSE", "docs/README.md", "configs"}


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give the folder of a bundle"):
        verify_bundle(tmp_path / "nowhere")


ODD = {
    "a list": "- 1\n- 2\n",
    "a word": "hello\n",
    "nothing": "",
    "several documents": "a: 1\n---\nb: 2\n",
    "aliases within themselves": "a: &a [*a]\n",
    "aliases without end": "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
    ),
    "numbers as ids": "1: 2\n2.5: {3: 4}\ntrue: x\nnull: y\n",
    "keys that are lists": "? [1, 2]\n: 3\n",
    "dates": "when: 2024-13-45\nthen: 2024-01-01\n",
    "references to everything": "a: '@'\nb: '$@'\nc: '@::'\nd: '@::::::::x'\ne: '%'\nf: '%::'\ng: '%a.yaml'\n",
    "expressions of all kinds": "a: $\nb: $(\nc: $lambda: (yield)\nd: $\\0\ne: '$import'\n"
    "f: '$from . import x'\ng: $import a.b.c\n",
    "targets of all kinds": "a: {_target_: }\nb: {_target_: [x]}\nc: {_target_: '..'}\nd: {_target_: torch.}\n"
    "e: {_target_: '???'}\n"
    "f: {_target_: '@x'}\ng: {_target_: dict, a: 1}\nh: {_target_: eval}\ni: {_target_: antigravity.fly}\n"
    "j: {_target_: monai.bundle.__main__.x}\nk: {_target_: torch, 1: 2}\nl: {_target_: a b}\n",
    "overlaid ids": "a: 1\na::b: 2\nc#d: 3\n'+e': 4\n'+': 5\n'::': 6\n",
    "deep ids": "a: " + "{b: " * 200 + "1" + "}" * 200 + "\n",
    "paths of all kinds": "file: /\0/x\npath: '" + "x" * 5000
    + "'\ndataset_dir: '~'\nweights: 3\nroot: ''\nlog_dir: /no/where\n",
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_configuration_is_checked_without_an_error(name: str, tmp_path: Path) -> None:
    shutil.copytree(CLEAN, tmp_path / "odd")
    (tmp_path / "odd" / "configs" / "odd.yaml").write_text(ODD[name])
    assert {problem.file for problem in verify_bundle(tmp_path / "odd").problems} <= {"configs/odd.yaml"}
    verify_bundle(tmp_path / "odd", strict=True)
    verify_bundle(tmp_path / "odd", [tmp_path / "odd/configs/train.yaml", tmp_path / "odd/configs/odd.yaml"])


def test_damaged_configurations_are_checked_without_an_error(tmp_path: Path) -> None:
    """Lines dropped, doubled and cut anywhere."""
    draw = random.Random(0)
    for number in range(25):
        bundle = tmp_path / str(number)
        shutil.copytree(CLEAN, bundle)
        for file in (bundle / "configs").iterdir():
            text = file.read_text()
            for _ in range(3):
                start = draw.randrange(len(text))
                end = min(len(text), start + draw.randrange(1, 40))
                text = text[:start] + draw.choice(["", text[start:end] * 2, "@", "{", "%x", "::"]) + text[end:]
            file.write_text(text)
        verify_bundle(bundle, strict=bool(number % 2))


def test_a_bundle_of_json_is_checked_like_one_of_yaml(tmp_path: Path) -> None:
    import yaml

    shutil.copytree(CLEAN, tmp_path / "json")
    for file in (tmp_path / "json" / "configs").glob("*.yaml"):
        file.with_suffix(".json").write_text(json.dumps(yaml.safe_load(file.read_text()), indent=1))
        file.unlink()
    assert verify_bundle(tmp_path / "json").problems == []


def test_an_old_path_is_a_notice_that_names_the_new_one(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(CLEAN, bundle)
    config = bundle / "configs" / "old.yaml"
    config.write_text(
        "imports:\n  - $from medvlp_toolkit.engines.checkpoints import load_weights\n"
        "step:\n  _target_: medvlp_toolkit.engines.step.ScoringStep\n  transform: $load_weights\n"
        "run:\n  - $print(@step)\n"
    )
    found = verify_bundle(bundle, [config])
    assert not found.problems
    assert [notice for notice in found.notices if "has moved to" in notice] == [
        "configs/old.yaml:4: step::_target_: medvlp_toolkit.engines.step.ScoringStep has moved to "
        "medvlp_toolkit.evaluation.ScoringStep; the old path works in this release only",
        "configs/old.yaml:2: imports::0: medvlp_toolkit.engines.checkpoints.load_weights has moved to "
        "medvlp_toolkit.weights.load_weights; the old path works in this release only",
    ]
