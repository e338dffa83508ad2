"""A pre-training bundle's model with a checkpoint's weights, at another image size too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import medvlp_toolkit as mv
from medvlp_toolkit.downstream.pretrained_bundle import PretrainedBundle
from medvlp_toolkit.model.pretraining import PretrainingModel

RECIPE = """
image_size: 16
width: 16
mean: [0.5]
image_encoder:
  _target_: medvlp_toolkit.encoders.clip_vit
  image_size: "@image_size"
  patch_size: 8
  width: "@width"
  layers: 1
  heads: 2
  in_channels: 1
text_encoder:
  _target_: medvlp_toolkit.encoders.transformers_text
  config: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}
  corpus: [which half is bright]
fusion:
  _target_: medvlp_toolkit.fusion_modules.knowledge_co_attention
  width: "@width"
  layers: 1
  heads: 2
  knowledge: false
model:
  _target_: medvlp_toolkit.model.vision_language.VisionLanguageModel
  image_encoder: "@image_encoder"
  text_encoder: "@text_encoder"
  fusion: "@fusion"
evaluation_transform:
  _target_: medvlp_toolkit.data.batches.augmentation.EvaluationTransform
  image_size: "@image_size"
  mean: "@mean"
  std: [0.2]
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A third party's bundle, and a checkpoint of it."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.yaml").write_text(RECIPE)
    torch.manual_seed(3)
    model = PretrainedBundle(tmp_path).model
    matching = mv.pretext_losses.image_text_matching(pooled_width=32, knowledge=False)
    pretraining = PretrainingModel(model, {"image_text_matching": matching})
    torch.save({"model": pretraining.state_dict()}, tmp_path / "best.pt")
    return tmp_path


def test_weights_and_matching_head_are_the_checkpoints(bundle: Path) -> None:
    state = torch.load(bundle / "best.pt", weights_only=True)["model"]
    given = PretrainedBundle(bundle, checkpoint=bundle / "best.pt")
    for name, value in given.model.state_dict().items():
        assert torch.equal(value, state[f"model.{name}"])
    head = given.matching_head()
    assert head is not None
    assert torch.equal(head.weight, state["losses.image_text_matching.head.weight"])
    assert given.text_model() is None


def test_images_are_normalised_as_in_pretraining(bundle: Path) -> None:
    transform = PretrainedBundle(bundle).evaluation_transform(48)
    assert (transform.image_size, transform.mean.tolist()) == (48, [0.5])
    assert transform.std.tolist() == pytest.approx([0.2])


def test_position_embeddings_follow_the_image_size(bundle: Path) -> None:
    small = PretrainedBundle(bundle, checkpoint=bundle / "best.pt").model.image_encoder
    large = PretrainedBundle(bundle, checkpoint=bundle / "best.pt", overrides={"image_size": 32}).model.image_encoder
    assert large.positional_embedding.shape == (17, 16)  # type: ignore[union-attr]
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():  # the encoder resamples at each pass what was resampled once here
        assert torch.allclose(small.eval()(image), large.eval()(image), atol=1e-5)


def test_overlays_are_those_of_the_pretraining_run(bundle: Path) -> None:
    (bundle / "configs" / "small.yaml").write_text(yaml.safe_dump({"width": 8}))
    assert PretrainedBundle(bundle, ["small.yaml"]).model.fusion.width == 8
    with pytest.raises(ValueError, match=r"entries of .* do not fit the model .* were the overlays"):
        PretrainedBundle(bundle, ["small.yaml"], bundle / "best.pt")
    with pytest.raises(FileNotFoundError, match="has no such configuration"):
        PretrainedBundle(bundle, ["other.yaml"])


def test_a_configuration_without_model_is_one_line(bundle: Path) -> None:
    (bundle / "configs" / "train.yaml").write_text("width: 8\n")
    with pytest.raises(ValueError, match="has no id `model`") as caught:
        PretrainedBundle(bundle)
    assert "\n" not in str(caught.value)
