"""A third party's package of every kind: installed in an environment of its own, used in MedKLIP, and taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from medvlp_toolkit.scaffold.kinds import KINDS
from medvlp_toolkit.scaffold.package import write_package

CONFIGS = Path(__file__).parents[2] / "bundles" / "medklip" / "configs"
SHORT = ("--image_size", "64", "--epochs", "1", "--batch_size", "16", "--log_every", "1", "--min_positives", "1")
#: The configuration that an overlay is laid over.
BASE = dict.fromkeys(KINDS, "train") | {"report_filters": "prepare", "data_sources": "prepare"}


class Environment:
    """A fresh virtual environment that sees this one's packages beneath its own."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.python = folder / "bin" / "python"
        (site,) = folder.glob("lib/python*/site-packages")
        beneath = [path for path in sys.path if path.endswith("site-packages")]
        (site / "beneath.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in beneath))

    def pip(self, *words: object) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *map(str, words)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)

    def run(self, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [str(self.python), "-W", "ignore", *map(str, words)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)

    def run_bundle(self, names: list[Path], *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "monai.bundle", "run", "--config_file", str(list(map(str, names))), *words, cwd=cwd)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.bundles.running import run_bundle

    folder = tmp_path_factory.mktemp("third_parties") / "store"
    run_bundle("prepare", "demo", **{"dataset_dir": str(folder), "source::count": 96, "image_size": 64, "workers": 0})
    return folder


def folder_of_studies(folder: Path) -> None:
    from PIL import Image

    from medvlp_phantom import Phantom

    phantom = Phantom(seed=3, size=64)
    for index in range(12):
        study = phantom.study(index)
        (folder / f"p{index}").mkdir(parents=True)
        Image.fromarray(study.image).save(folder / f"p{index}" / "a.png")
        (folder / f"p{index}" / "a.txt").write_text(study.report.text)


def their_checkpoint(file: Path) -> None:
    import torch

    import medvlp_toolkit as mv
    from medvlp_medklip.projection import entity_projection, image_projection

    parts = {
        "backbone.": mv.encoders.resnet(depth=18),
        "visual_projection.": image_projection(256, 128),
        "textual_projection.": entity_projection(128, 128),
        "decoder.": mv.fusion_modules.entity_query_decoder(128, 2, 4, 48),
        "classifier.": torch.nn.Linear(128, 2),
    }
    state = {f"{prefix}{name}": value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    torch.save(state, file)


def words_for(kind: str, folder: Path, store: Path) -> list[Any]:
    if kind == "data_sources":
        folder_of_studies(folder / "studies")
        return ["--studies", folder / "studies", "--dataset_dir", folder / "made", "--image_size", 64, "--workers", 0]
    if kind == "report_filters":
        return ["--dataset_dir", folder / "made", "--source::count", 24, "--image_size", 64, "--workers", 0]
    if kind == "checkpoint_importers":
        their_checkpoint(folder / "theirs.pt")
    return ["--dataset_dir", store, "--output_dir", folder / "run", *SHORT]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_is_found_used_tested_and_missed(
    kind: str, environment: Environment, store: Path, tmp_path: Path
) -> None:
    name = f"acme-{kind.replace('_', '-')}"
    plugin = name.replace("-", "_")
    write_package(name, KINDS[kind], tmp_path)
    package = tmp_path / name

    environment.pip("install", "--no-deps", "--no-build-isolation", "-e", package)
    listed = environment.run("-m", "medvlp_toolkit.cli.main", "plugins", kind, "--json", cwd=tmp_path)
    assert (plugin, name) in [(entry["name"], entry["distribution"]) for entry in json.loads(listed.stdout)]
    tested = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", package, cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout[-2000:]

    configs = [CONFIGS / f"{BASE[kind]}.yaml", CONFIGS / "demo.yaml", package / "overlay.yaml"]
    words = words_for(kind, tmp_path, store)
    if kind == "checkpoint_importers":
        words += ["--checkpoint", tmp_path / "theirs.pt"]
    done = environment.run_bundle(configs, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "made" / "store.json").is_file() or (tmp_path / "run" / "model.pt").is_file()

    environment.pip("uninstall", "-y", name)
    missed = environment.run_bundle(configs, *words, cwd=tmp_path)
    assert missed.returncode != 0
    assert f"no {kind} plugin named '{plugin}'" in missed.stderr
    assert f"{name} is not installed; pip install '{name}'" in missed.stderr
    assert "Traceback" not in missed.stderr
