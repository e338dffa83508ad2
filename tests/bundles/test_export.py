"""Exported bundles give what the bundle gives, say what they are, and are refused where they would not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_toolkit.cli.main import app
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.exporting import FORMATS, export_bundle
from medvlp_toolkit.exporting.source import ExportSource
from tests.bundles.export_sources import GRAPH, KINDS, NAMES, with_encoder, write_source
from tests.bundles.running import BUNDLES
from tests.bundles.tiny_encoders import image_encoders

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'medvlp-toolkit[onnx]'")


@dataclass(frozen=True)
class Case:
    kind: str
    weights: Path
    out: Path
    shown: dict[str, Any]

    @property
    def bundle(self) -> Path:
        return BUNDLES / KINDS[self.kind][0]

    def loaded(self) -> Any:
        return mv.load_bundle(self.bundle, weights=self.weights, device="cpu")


@pytest.fixture(
    scope="module", params=[pytest.param(kind, marks=pytest.mark.slow) if kind == "volume" else kind for kind in KINDS]
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Each recipe, and MedKLIP on volumes, in all three formats through the command."""
    folder = tmp_path_factory.mktemp(request.param)
    weights = write_source(request.param, folder / "run")
    formats = [word for name in FORMATS for word in ("--format", name)]
    bundle = str(BUNDLES / KINDS[request.param][0])
    arguments = ["export", bundle, "--weights", str(weights), "--out", str(folder / "out"), *formats, "--json"]
    if request.param == "arl":  # names for people are the graph's
        arguments += ["--set", f"graph_file={folder / 'run' / 'graph.safetensors'}"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return Case(request.param, weights, folder / "out", json.loads(done.stdout))


def inputs(case: Case, count: int) -> np.ndarray:
    shape = json.loads((case.out / "export.json").read_text())["metadata"]["input"]["shape"]
    return np.random.default_rng(count).normal(size=(count, *shape[1:])).astype(np.float32)


def expected(case: Case, images: np.ndarray) -> dict[str, np.ndarray]:
    """By the network itself, and by the maps that the toolkit draws."""
    network = case.loaded().network
    given = torch.from_numpy(images)
    with torch.no_grad():
        found = {"probability": network(given).numpy()}
        if case.kind != "arl":
            found["attention"] = HeatMapper(network).on_grid(network.attend(given)[1], given.shape[2:])
    return found


@pytest.mark.parametrize("count", [1, 3])
def test_onnx_takes_batches_of_any_size_and_names_its_outputs(case: Case, count: int) -> None:
    session = onnxruntime.InferenceSession(str(case.out / "model.onnx"))
    images = inputs(case, count)
    for name, values in expected(case, images).items():
        np.testing.assert_allclose(session.run([name], {"image": images})[0], values, atol=1e-5)
    assert [one.name for one in session.get_outputs()] == list(expected(case, images))


def test_torchscript_gives_the_outputs_by_name(case: Case) -> None:
    loaded = torch.jit.load(str(case.out / "model.ts"))
    for count in (1, 3):
        images = inputs(case, count)
        with torch.no_grad():
            found = loaded(torch.from_numpy(images))
        assert set(found) == set(expected(case, images))
        for name, values in expected(case, images).items():
            np.testing.assert_allclose(found[name].numpy(), values, atol=1e-5)


def test_exported_safetensors_are_weights_of_the_bundle(case: Case) -> None:
    again = mv.load_bundle(case.bundle, weights=case.out / "model.safetensors", device="cpu")
    images = torch.from_numpy(inputs(case, 2))
    with torch.no_grad():
        assert torch.equal(again.network(images), case.loaded().network(images))


def test_every_file_states_entities_preprocessing_and_hashes(case: Case) -> None:
    import hashlib

    onnx = onnxruntime.InferenceSession(str(case.out / "model.onnx")).get_modelmeta().custom_metadata_map
    archive = {"metadata.json": ""}
    torch.jit.load(str(case.out / "model.ts"), _extra_files=archive)
    with safe_open(case.out / "model.safetensors", framework="numpy") as file:
        header = file.metadata()
    assert onnx == json.loads(archive["metadata.json"]) == header
    told = json.loads((case.out / "export.json").read_text())
    assert json.loads(onnx["entities"]) == list(case.loaded().entities) == told["metadata"]["entities"]
    assert onnx["weights_sha256"] == hashlib.sha256(case.weights.read_bytes()).hexdigest()
    description = case.weights.with_name("model.json")
    assert onnx["configuration_sha256"] == hashlib.sha256(description.read_bytes()).hexdigest()
    for entry in told["files"].values():
        assert entry["sha256"] == hashlib.sha256((case.out / entry["file"]).read_bytes()).hexdigest()
    steps = json.loads(onnx["preprocessing"])
    if case.kind == "volume":
        assert (steps["kind"], steps["size"], steps["window"]) == ("volume", [24, 24, 24], [-1000.0, 400.0])
    else:
        stored = [96, 80] if case.kind == "medklip" else [64, 64]
        assert (steps["fit"], steps["size"], steps["input_size"]) == ("stretch", stored, [64, 64])
        assert (steps["mean"], steps["std"]) == ([0.45], [0.25])
    names = json.loads(onnx["entity_names"])
    assert names == list(NAMES) if case.kind == "arl" else "pleural effusion" in [name.lower() for name in names]
    assert str(case.weights.parent) not in json.dumps(told), "no path of this machine is passed on"


def test_the_differences_are_shown_and_kept(case: Case) -> None:
    for found in case.shown["max_difference"].values():
        assert set(found) == ({"probability"} if case.kind == "arl" else {"probability", "attention"})
        assert all(0 <= value < 1e-5 for value in found.values())
    assert case.shown["images"] == 4
    assert ("gives no attention" in case.shown["no_attention"]) == (case.kind == "arl")


def test_the_model_card_describes_input_outputs_and_files(case: Case) -> None:
    card = (case.out / "README.md").read_text()
    entities = GRAPH if case.kind == "arl" else case.loaded().entities
    assert all(f"`{entity}`" in card for entity in entities)
    assert "no clinical use" in card
    assert "Map -1000.0 to 0" in card if case.kind == "volume" else "subtract the mean [0.45]" in card
    assert ("run_onnx.py" in card) == (case.kind != "volume") == (case.out / "run_onnx.py").is_file()
    assert "{{" not in card


#: Fails as an installation without torch would.
WITHOUT_TORCH = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "monai", "medvlp_toolkit"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def picture(kind: str, path: Path) -> Path:
    """A picture that is not square: of 8 bits, of 16, and a large JPEG, which is decoded smaller."""
    values = np.random.default_rng(3).integers(0, 255, (7, 9), dtype=np.uint8)
    if kind == "deep.png":
        Image.fromarray(values.astype(np.uint16) * 40 + 300).save(path / kind)
    else:
        side = 900 if kind.endswith("jpg") else 90
        Image.fromarray(values).resize((side, side // 2), Image.Resampling.BICUBIC).save(path / kind)
    return path / kind


@pytest.mark.parametrize("kind", ["grey.png", "deep.png", "large.jpg"])
def test_the_example_scores_a_picture_without_torch_as_the_bundle_does(case: Case, kind: str, tmp_path: Path) -> None:
    if case.kind == "volume":
        pytest.skip("there is no example for volumes")
    image = picture(kind, tmp_path)
    command = [
        sys.executable,
        "-c",
        WITHOUT_TORCH,
        str(case.out / "run_onnx.py"),
        str(case.out / "model.onnx"),
        str(image),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    found = {name: float(value) for value, name in (line.split() for line in done.stdout.splitlines())}
    scores = case.loaded().score(image)
    assert found.keys() == scores.keys()
    assert all(abs(found[name] - value) < 1e-4 for name, value in scores.items())
    assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.fixture(scope="module")
def medklip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source("medklip", tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("recipe", ["medklip", pytest.param("arl", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "encoder", [name if name == "clip_vit" else pytest.param(name, marks=pytest.mark.slow) for name in image_encoders()]
)
def test_every_registered_encoder_is_exported(recipe: str, encoder: str, tmp_path: Path) -> None:
    """With a class token too, whose share of the attention is left out."""
    weights = write_source(recipe, tmp_path / "run", **with_encoder(encoder), **without_patches(recipe, encoder))
    done = export_bundle(BUNDLES / recipe, ["onnx", "torchscript"], tmp_path / "out", weights=weights)
    assert all(value < 1e-5 for found in done.differences.values() for value in found.values())


def without_patches(recipe: str, encoder: str) -> dict[str, Any]:
    """Nothing to rebuild where an encoder cannot leave patches out."""
    from tests.bundles.tiny_encoders import masks

    return {"losses::masked_image::_disabled_": True} if recipe == "arl" and not masks(encoder) else {}


def test_a_users_own_images_are_compared(medklip: Path, tmp_path: Path) -> None:
    for kind in ("grey.png", "large.jpg"):
        picture(kind, tmp_path)
    done = export_bundle(
        BUNDLES / "medklip", ["torchscript"], tmp_path / "out", weights=medklip, images=tmp_path, overrides={}
    )
    assert done.images == 2


def test_one_layer_of_attention_is_exported_where_the_bundle_names_one(medklip: Path, tmp_path: Path) -> None:
    settings = {"weights": medklip, "overrides": {"attention_layers": -1}}
    export_bundle(BUNDLES / "medklip", ["torchscript"], tmp_path / "out", **settings)  # type: ignore[arg-type]
    source = ExportSource(BUNDLES / "medklip", **settings)  # type: ignore[arg-type]
    images = np.random.default_rng(0).normal(size=(1, 1, 64, 64)).astype(np.float32)
    loaded = torch.jit.load(str(tmp_path / "out" / "model.ts"))
    found = loaded(torch.from_numpy(images))["attention"].detach().numpy()
    np.testing.assert_allclose(found, source.outputs(images)["attention"], atol=1e-6)
    every = ExportSource(BUNDLES / "medklip", weights=medklip).outputs(images)["attention"]
    assert np.abs(found - every).max() > 1e-4


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["export", *arguments])
    assert done.exit_code == 2, done.output
    message = done.stderr.strip().splitlines()
    assert len(message) == 1, message
    return message[0]


def test_a_difference_beyond_the_tolerance_writes_nothing(medklip: Path, tmp_path: Path) -> None:
    message = refused(
        str(BUNDLES / "medklip"), "--weights", str(medklip), "--format", "onnx", "--out", str(tmp_path / "out"),
        "--tolerance", "0",
    )  # fmt: skip
    assert "onnx differs from the bundle by" in message
    assert "nothing was written" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bundle", ["vqa", "retrieval", "image_text_classification"])
def test_a_bundle_that_reads_texts_is_refused_in_a_line(bundle: str, tmp_path: Path) -> None:
    message = refused(str(BUNDLES / bundle), "--format", "onnx", "--out", str(tmp_path / "out"))
    assert "scores no entities of an image alone" in message


def test_unknown_format_missing_weights_and_missing_bundle_are_a_line(medklip: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "out"))
    assert "format coreml is not one of onnx" in refused(
        str(BUNDLES / "medklip"), "--weights", str(medklip), "--format", "coreml", *out
    )
    nowhere = str(tmp_path / "no.pt")
    assert "no weights at" in refused(str(BUNDLES / "medklip"), "--weights", nowhere, "--format", "onnx", *out)
    assert "is not a folder" in refused(str(tmp_path / "none"), "--format", "onnx", *out)


def test_a_folder_with_something_else_is_left_alone(medklip: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    arguments = (str(BUNDLES / "medklip"), "--weights", str(medklip), "--format", "torchscript")
    assert "holds no export" in refused(*arguments, "--out", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    out = tmp_path / "out"
    export_bundle(BUNDLES / "medklip", ["torchscript"], out, weights=medklip)
    export_bundle(BUNDLES / "medklip", ["safetensors"], out, weights=medklip)
    assert set(json.loads((out / "export.json").read_text())["files"]) == {"torchscript", "safetensors"}
    other = write_source("arl", tmp_path / "arl")
    assert "export of other weights" in refused(
        str(BUNDLES / "arl"), "--weights", str(other), "--format", "torchscript", "--out", str(out)
    )


class DependsOnValues(nn.Module):
    """A projection that looks at the values to decide what to compute, which no exporter follows."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        shown = self.inner(tokens)
        return shown if float(shown.sum()) > 0 else shown[:, : int(shown.abs().max()) + 1]


def test_a_part_that_cannot_be_converted_is_a_line(
    medklip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ExportSource.__init__

    def with_such_a_part(self: ExportSource, *given: Any, **more: Any) -> None:
        whole(self, *given, **more)
        self.network.image_projection = DependsOnValues(self.network.image_projection)

    monkeypatch.setattr(ExportSource, "__init__", with_such_a_part)
    monkeypatch.setattr(ExportSource, "outputs", lambda self, images: {"probability": np.zeros((len(images), 7))})
    monkeypatch.setattr(ExportSource, "_attention", lambda self, image: None)
    message = refused(
        str(BUNDLES / "medklip"), "--weights", str(medklip), "--format", "onnx", "--out", str(tmp_path / "out")
    )
    assert "cannot be exported as onnx: EntityScorer holds a part that torch cannot convert" in message


def test_a_transform_that_does_more_than_the_metadata_can_say_is_refused(
    medklip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medvlp_toolkit.data import EvaluationTransform

    class Inverting(EvaluationTransform):
        def normalise(self, image: Tensor) -> Tensor:
            return super().normalise(1 - image)

    whole = ExportSource.__init__

    def inverting(self: ExportSource, *given: Any, **more: Any) -> None:
        whole(self, *given, **more)
        self.transform = self._transform = Inverting(64, [0.45], [0.25])

    monkeypatch.setattr(ExportSource, "__init__", inverting)
    message = refused(
        str(BUNDLES / "medklip"), "--weights", str(medklip), "--format", "onnx", "--out", str(tmp_path / "out")
    )
    assert "does more to an image than resizing" in message
