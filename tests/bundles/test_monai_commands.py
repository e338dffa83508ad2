"""MONAI's own commands on the shipped pre-training bundles, and the Python object that reads them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import medvlp_toolkit as mv
from medvlp_toolkit.shipped_bundles import bundles_folder, copy_bundle
from medvlp_toolkit.verification import metadata
from medvlp_toolkit.weights.weights import write_weights

SCHEMA = Path(metadata.__file__).with_name("metadata_schema.json")


def knowledge_graph(folder: Path) -> None:
    """What ARL's bundle keeps beside its weights: here of six entities; the metadata says how many."""
    from medvlp_toolkit.data.knowledge_graph import KnowledgeGraph

    names = ("effusion", "pneumothorax", "consolidation", "nodule", "edema", "lung")
    edges = np.array([[0, 1, 2, 3, 4], [5, 5, 5, 5, 5]])
    vectors = np.random.default_rng(0).normal(size=(len(names), 32)).astype(np.float32)
    (folder / "models").mkdir()
    graph = KnowledgeGraph(edges, np.zeros(5, np.int64), vectors, names, names, ("located_in",))
    graph.write(folder / "models" / "graph.safetensors")
    file = folder / "configs" / "metadata.json"
    told = json.loads(file.read_text())
    told["network_data_format"]["outputs"]["pred"]["num_channels"] = len(graph)
    file.write_text(json.dumps(told))


def nothing_more(folder: Path) -> None:
    (folder / "models").mkdir()


@dataclass(frozen=True)
class Recipe:
    """A pre-training bundle, what makes its network small enough for a test, and what it keeps beside its weights."""

    name: str
    smaller: dict[str, Any] = field(default_factory=dict)
    complete: Callable[[Path], None] = nothing_more
    draws: bool = True

    @property
    def is_there(self) -> bool:
        return (bundles_folder() / self.name / "configs" / "inference.yaml").is_file()


RECIPES = [
    Recipe("medklip", {"undescribed::image_encoder": {"depth": 18}, "width": 32, "undescribed::fusion": {"layers": 2}}),
    Recipe(
        "arl",
        {"undescribed::image_encoder": {"pretrained": None, "layers": 1}, "width": 48},
        knowledge_graph,
        draws=False,
    ),
    Recipe(
        "kad",
        {
            "undescribed::image_encoder": {"depth": 18},
            "undescribed::text_encoder::config": {
                "model_type": "bert",
                "vocab_size": 20,
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            },
            "width": 32,
            "undescribed::fusion": {"layers": 2},
        },
    ),
    Recipe("contrastive", {"undescribed::image_encoder": {"pretrained": None, "layers": 1}, "width": 48}, draws=False),
]


@dataclass(frozen=True)
class Exported:
    """A copy of a bundle with random weights in ``models/``, and the network that has them."""

    folder: Path
    network: torch.nn.Module
    smaller: dict[str, Any]
    draws: bool

    @property
    def config(self) -> str:
        return str(self.folder / "configs" / "inference.yaml")

    @property
    def meta(self) -> str:
        return str(self.folder / "configs" / "metadata.json")

    @property
    def weights(self) -> str:
        return str(self.folder / "models" / "model.pt")

    def image(self) -> torch.Tensor:
        inputs = json.loads(Path(self.meta).read_text())["network_data_format"]["inputs"]["image"]
        torch.manual_seed(1)
        return torch.rand(1, inputs["num_channels"], *inputs["spatial_shape"])


@pytest.fixture(scope="module", params=[r for r in RECIPES if r.is_there], ids=lambda recipe: recipe.name)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    from monai.bundle import ConfigParser

    recipe: Recipe = request.param
    folder = tmp_path_factory.mktemp("zoo") / recipe.name
    copy_bundle(recipe.name, folder)
    recipe.complete(folder)
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.yaml"))
    for key, value in {"bundle_root": str(folder), **recipe.smaller}.items():
        parser[key] = value
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def").eval()
    for value in network.state_dict().values():
        if value.is_floating_point() and value.ndim == 2 and not value.any():
            value.normal_()  # a bank of zeros would hide what depends on it
    write_weights(network.state_dict(), folder / "models")
    return Exported(folder, network, recipe.smaller, recipe.draws)


def test_verify_metadata(exported: Exported, tmp_path: Path) -> None:
    """Against a schema that lies there already: MONAI then downloads none."""
    from monai.bundle import verify_metadata

    shutil.copy(SCHEMA, tmp_path / "schema.json")
    verify_metadata(meta_file=exported.meta, filepath=str(tmp_path / "schema.json"))


def test_verify_net_in_out(exported: Exported) -> None:
    from monai.bundle import verify_net_in_out

    verify_net_in_out(
        net_id="network_def", meta_file=exported.meta, config_file=exported.config, device="cpu",
        bundle_root=str(exported.folder), **exported.smaller,
    )  # fmt: skip


def test_ckpt_export_gives_torchscript_with_the_same_scores(exported: Exported, tmp_path: Path) -> None:
    from monai.bundle import ckpt_export

    ckpt_export(
        net_id="network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=exported.weights,
        meta_file=exported.meta, config_file=exported.config, bundle_root=str(exported.folder), **exported.smaller,
    )  # fmt: skip
    scripted = torch.jit.load(str(tmp_path / "model.ts")).eval()
    with torch.no_grad():
        torch.testing.assert_close(scripted(exported.image()), exported.network(exported.image()))


def test_onnx_export_gives_the_same_scores(exported: Exported, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime onnx onnxscript")
    from monai.bundle import onnx_export

    onnx_export(
        net_id="network_def", filepath=str(tmp_path / "model.onnx"), ckpt_file=exported.weights,
        meta_file=exported.meta, config_file=exported.config, bundle_root=str(exported.folder), **exported.smaller,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (scores,) = session.run(None, {session.get_inputs()[0].name: exported.image().numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(scores, exported.network(exported.image()).numpy(), atol=1e-5, rtol=1e-4)


def test_safetensors_hold_what_the_pt_file_holds(exported: Exported) -> None:
    state = torch.load(exported.weights, weights_only=True)
    beside = load_file(exported.folder / "models" / "model.safetensors")
    assert state.keys() == beside.keys()
    assert all(torch.equal(state[name], beside[name]) for name in state)


@pytest.fixture
def radiograph(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 70), dtype=np.uint8)).save(path)
    return path


def test_run_workflow(exported: Exported, radiograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.bundle import run_workflow

    monkeypatch.chdir(tmp_path)
    run_workflow(
        "ConfigWorkflow", config_file=exported.config, workflow_type="infer", bundle_root=str(exported.folder),
        images=str(radiograph), output_dir=str(tmp_path / "out"), device="$torch.device('cpu')", **exported.smaller,
    )  # fmt: skip
    assert (tmp_path / "out" / "probabilities.csv").is_file()


def test_load_reads_a_copy_in_json(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.bundle import load

    monkeypatch.chdir(tmp_path)
    name = exported.folder.name
    copy_bundle(name, tmp_path / "bundles" / name, as_json=True)
    assert not list((tmp_path / "bundles").rglob("*.yaml"))
    shutil.copytree(exported.folder / "models", tmp_path / "bundles" / name / "models")
    inference = tmp_path / "bundles" / name / "configs" / "inference.json"
    config = json.loads(inference.read_text()) | {"bundle_root": str(inference.parents[1])}
    for key, value in exported.smaller.items():
        *outer, last = key.split("::")
        part = config
        for step in outer:
            part = part[step]
        part[last] = value
    inference.write_text(json.dumps(config))
    network = load(name, bundle_dir=tmp_path / "bundles", workflow_type="inference", device="cpu").eval()
    with torch.no_grad():
        torch.testing.assert_close(network(exported.image()), exported.network(exported.image()))


def test_a_loaded_bundle_scores_an_image_and_says_where_it_looked(exported: Exported, radiograph: Path) -> None:
    bundle = mv.load_bundle(exported.folder, device="cpu", overrides=exported.smaller)
    scores = bundle.score(radiograph)
    assert tuple(scores) == bundle.entities
    assert all(0 <= score <= 1 for score in scores.values())
    with pytest.raises(ValueError, match="'unicorn' is not scored"):
        bundle.heat_map(radiograph, "unicorn")
    if exported.draws:
        heat = bundle.heat_map(radiograph, bundle.entities[3])
        assert heat.shape == (90, 70)
        assert heat.min() >= 0
        assert np.isfinite(heat).all()
    else:
        with pytest.raises(ValueError, match="no heat map is available"):
            bundle.heat_map(radiograph, bundle.entities[3])
    with pytest.raises(FileNotFoundError, match="no image at"):
        bundle.score(radiograph.with_name("none.png"))


def test_a_folder_without_a_bundle_or_weights_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give the folder of a bundle"):
        mv.load_bundle(tmp_path)
    copy_bundle("medklip", tmp_path / "medklip")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        mv.load_bundle(tmp_path / "medklip")
    copy_bundle("vqa", tmp_path / "vqa")
    with pytest.raises(ValueError, match="give a bundle that scores images"):
        mv.load_bundle(tmp_path / "vqa")


def test_importing_the_toolkit_for_load_bundle_loads_no_torch() -> None:
    import subprocess

    code = "import sys, medvlp_toolkit as mv; assert callable(mv.load_bundle); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
