"""A recipe with a frozen encoder, with LoRA, and with a learning rate for each depth: trained, resumed, exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import medvlp_toolkit as mv
from medvlp_toolkit.exporting import export_bundle
from tests.bundles.running import BUNDLES
from tests.bundles.tiny_encoders import arguments_of
from tests.bundles.whole_run import Data, Run, prepare

PREFIX = "model.image_encoder."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(prepare(tmp_path_factory.mktemp("phantoms"), recipe="medklip"), Path("none"))


def medklip(folder: Path, data: Data, encoder: str, between: tuple[str, ...] = (), **more: Any) -> Run:
    part = {"_target_": f"medvlp_toolkit.encoders.{encoder}", **arguments_of(encoder), **more}
    # The length of the schedule is fixed, so that a run of one epoch can be resumed for another.
    steps = {"schedule::total_steps": 12, "schedule::warmup_steps": 0}
    return Run("medklip", folder, data, {"image_size": 64, "image_encoder": part, **steps}, between=between)


def encoder_of(run: Run, checkpoint: str) -> dict[str, torch.Tensor]:
    state = torch.load(run.output / checkpoint, weights_only=False)["model"]
    return {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}


def model_of(workflow: Any) -> Any:
    return workflow.parser.get_parsed_content("pretraining_model").model


def test_lora_is_trained_resumed_and_exported_as_plain_weights(data: Data, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    made = medklip(tmp_path, data, "transformers_image", lora={"rank": 2})
    made.train()
    start = encoder_of(made, "checkpoint_epoch=1.pt")
    again = made.train(epochs=2, resume=True)
    assert again.trainer.state.epoch == 2
    end = encoder_of(made, "checkpoint_epoch=2.pt")
    moved = {name for name, value in end.items() if not torch.equal(value, start[name])}
    assert moved
    assert all(".lora_" in name for name in moved)
    weights = made.output / "model.pt"
    export_bundle(BUNDLES / "medklip", ["safetensors", "torchscript"], tmp_path / "out", weights=weights)
    exported = load_file(tmp_path / "out" / "model.safetensors")
    assert not [name for name in exported if "lora" in name or "base_layer" in name]
    data.radiograph(tmp_path / "radiograph.png")
    assert mv.load_bundle(BUNDLES / "medklip", weights=weights, device="cpu").score(tmp_path / "radiograph.png")


def test_a_frozen_encoder_is_the_same_after_training(data: Data, tmp_path: Path) -> None:
    made = medklip(tmp_path, data, "resnet", freeze=True)
    trained = made.train()
    encoder = model_of(trained).image_encoder
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert int(encoder.bn1.num_batches_tracked) == 0
    assert torch.equal(encoder.bn1.running_mean, torch.zeros(8))
    groups = trained.parser.get_parsed_content("optimizer").param_groups
    assert not {id(one) for group in groups for one in group["params"]} & {id(one) for one in encoder.parameters()}
    made.after("evaluate")  # the description does not say frozen: fine-tuning decides anew


@pytest.mark.parametrize("recipe", ["medklip", "contrastive"])
def test_an_overlay_gives_every_depth_its_learning_rate(recipe: str, data: Data, tmp_path: Path) -> None:
    part = {"_target_": "medvlp_toolkit.encoders.clip_vit", **arguments_of("clip_vit")}
    overlay = {"image_size": 64, "image_encoder": part, "layer_decay": 0.5}
    made = Run(recipe, tmp_path, data, overlay, between=("layer_decay",))
    trained = made.train()
    rates = sorted(
        {group["initial_lr"] for group in trained.parser.get_parsed_content("optimizer").param_groups}, reverse=True
    )
    assert rates == pytest.approx([rates[0] * 0.5**depth for depth in range(4)])


def test_the_page_puts_dinov2_of_a_folder_under_medklip_with_clips_loss(
    data: Data, tmp_path: Path, repository: Path
) -> None:
    """The overlay of docs/encoders.md as printed, with a small model in the folder and a small text encoder."""
    from transformers import AutoConfig, AutoModel

    page = (repository / "docs" / "encoders.md").read_text(encoding="utf-8")
    shown = page.split("# dinov2.yaml\n")[1].split("```")[0]
    small = AutoConfig.for_model("dinov2", hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56)
    AutoModel.from_config(small).save_pretrained(tmp_path / "dino")
    (tmp_path / "dinov2.yaml").write_text(shown.replace("models/dinov2-base", str(tmp_path / "dino")))
    text = {
        "_target_": "medvlp_toolkit.encoders.transformers_text",
        "config": {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "corpus": "@text_model::corpus",
    }
    overlay = {"image_size": 56, "text_encoder": text}
    made = Run("medklip", tmp_path, data, overlay, between=("clip", tmp_path / "dinov2.yaml"))
    model = model_of(made.train())
    assert type(model.image_encoder).__name__ == "TransformersImage"
    assert model.image_encoder.grid_size((56, 56)) == (4, 4)
    made.after("evaluate")
    data.radiograph(tmp_path / "radiograph.png")
    made.infer(tmp_path / "radiograph.png", tmp_path / "out", save_maps=["npy"])
    assert list((tmp_path / "out" / "heat_maps").glob("map_*.npy"))
