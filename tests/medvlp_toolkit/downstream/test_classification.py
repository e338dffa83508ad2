"""A classifier on a pre-trained encoder: what learns, and from what it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import medvlp_toolkit as mv
from medvlp_toolkit.downstream.classification import ImageClassifier
from medvlp_toolkit.downstream.losses import ExclusiveLabelLoss, KnownLabelLoss
from medvlp_toolkit.downstream.pretrained import load_pretrained

WIDTHS = (4, 8, 8, 8)


def encoder(last_stage: int = 3, width: int = 4) -> nn.Module:
    made: nn.Module = mv.encoders.resnet(depth=10, in_channels=1, last_stage=last_stage, widths=(width, *WIDTHS[1:]))
    return made


@pytest.fixture
def pretrained(tmp_path: Path) -> tuple[Path, nn.Module]:
    """A pre-training checkpoint, and the encoder in it."""
    torch.manual_seed(3)
    source = encoder()
    state = {f"model.image_encoder.{name}": value for name, value in source.state_dict().items()}
    path = tmp_path / "best.pt"
    torch.save({"model": {**state, "losses.existence.head.weight": torch.zeros(2, 4)}}, path)
    return path, source


def test_a_logit_per_label_comes_from_the_mean_over_tokens() -> None:
    network = ImageClassifier(encoder(), labels=5).eval()
    image = torch.rand(2, 1, 32, 32)
    tokens = network.image_encoder(image)
    torch.testing.assert_close(network(image), network.head(tokens.mean(dim=1)))


def test_one_image_alone_is_classified_like_in_a_batch() -> None:
    network = ImageClassifier(encoder(), labels=2).eval()
    images = torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(network(images[:1]), network(images)[:1])


def test_linear_probing_leaves_weights_and_statistics_of_the_encoder_alone() -> None:
    network = ImageClassifier(encoder(), labels=2, freeze=True)
    before = {name: value.clone() for name, value in network.image_encoder.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    for _ in range(2):
        network.train()
        network(torch.rand(4, 1, 32, 32)).sum().backward()
        optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in network.image_encoder.state_dict().items())
    assert network.head.weight.grad is not None


def test_full_fine_tuning_reaches_the_first_layer() -> None:
    network = ImageClassifier(encoder(), labels=2).train()
    network(torch.rand(2, 1, 32, 32)).sum().backward()
    assert network.image_encoder.conv1.weight.grad.abs().max() > 0


def test_a_classifier_is_exported_as_torchscript() -> None:
    for freeze in (False, True):
        network = ImageClassifier(encoder(), labels=2, freeze=freeze).eval()
        image = torch.rand(1, 1, 32, 32)
        torch.testing.assert_close(torch.jit.script(network)(image), network(image))


def test_no_label_is_refused() -> None:
    with pytest.raises(ValueError, match="label_names"):
        ImageClassifier(encoder(), labels=0)


# -- pre-trained weights ----------------------------------------------------------------------


def test_the_encoder_starts_from_the_pretrained_weights(pretrained: tuple[Path, nn.Module]) -> None:
    path, source = pretrained
    network = load_pretrained(ImageClassifier(encoder(), labels=2), path)
    for name, value in source.state_dict().items():
        assert torch.equal(network.image_encoder.state_dict()[name], value), name


def test_a_stage_that_pretraining_lacks_stays_random(
    pretrained: tuple[Path, nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path, source = pretrained
    fresh = encoder(last_stage=4)
    fourth = {name: value.clone() for name, value in fresh.layer4.state_dict().items()}
    network = load_pretrained(ImageClassifier(fresh, labels=2), path)
    assert torch.equal(network.image_encoder.conv1.weight, source.conv1.weight)
    assert all(torch.equal(fourth[name], value) for name, value in network.image_encoder.layer4.state_dict().items())
    assert "layer4 random" in caplog.text


def test_weights_for_inference_serve_as_well(pretrained: tuple[Path, nn.Module], tmp_path: Path) -> None:
    source = pretrained[1]
    path = tmp_path / "model.pt"
    torch.save({f"image_encoder.{name}": value for name, value in source.state_dict().items()}, path)
    network = load_pretrained(ImageClassifier(encoder(), labels=2), path)
    assert torch.equal(network.image_encoder.conv1.weight, source.conv1.weight)


@pytest.mark.parametrize("nothing", [None, "null"])
def test_without_a_checkpoint_the_network_stays_random(nothing: str | None) -> None:
    network = ImageClassifier(encoder(), labels=2)
    before = network.image_encoder.conv1.weight.clone()
    assert torch.equal(load_pretrained(network, nothing).image_encoder.conv1.weight, before)


def test_another_encoder_is_refused_with_the_whole_list(pretrained: tuple[Path, nn.Module]) -> None:
    with pytest.raises(ValueError, match="not the one configured") as caught:
        load_pretrained(ImageClassifier(encoder(width=8), labels=2), pretrained[0])
    assert "conv1.weight: shape (4, 1, 7, 7), expected (8, 1, 7, 7)" in str(caught.value)
    with pytest.raises(ValueError, match=r"layer3\.0\.conv1\.weight: not part of this encoder"):
        load_pretrained(ImageClassifier(encoder(last_stage=2), labels=2), pretrained[0])


def test_a_published_file_is_to_be_imported_first(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_final.pth"
    torch.save({"model": {"module.res_features.0.weight": torch.zeros(2)}}, path)
    with pytest.raises(ValueError, match="medvlp import"):
        load_pretrained(ImageClassifier(encoder(), labels=2), path)


# -- losses -----------------------------------------------------------------------------------


def test_unknown_labels_carry_no_loss_and_no_gradient() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    targets = torch.tensor([[1, 0, -1], [-1, 0, 1], [-1, -1, -1], [1, 2, 0]], dtype=torch.int8)
    loss = KnownLabelLoss()(logits, targets)
    loss.backward()
    known = (targets == 0) | (targets == 1)
    expected = nn.functional.binary_cross_entropy_with_logits(logits[known], targets[known].float())
    torch.testing.assert_close(loss, expected)
    assert logits.grad is not None
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).all()


def test_nothing_known_gives_a_zero_that_can_be_optimised() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    for loss in (KnownLabelLoss(), ExclusiveLabelLoss()):
        value = loss(logits, torch.full((2, 3), -1))
        value.backward()
        assert value.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_grades_that_exclude_each_other_are_a_cross_entropy() -> None:
    logits = torch.randn(3, 4)
    targets = torch.tensor([[0, 1, 0, 0], [-1, -1, -1, -1], [0, 0, 0, 1]])
    expected = nn.functional.cross_entropy(logits[[0, 2]], torch.tensor([1, 3]))
    torch.testing.assert_close(ExclusiveLabelLoss()(logits, targets), expected)
