"""The U-shaped segmenter: its shape, its skip connections, its loss."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss
from torch import nn

import medvlp_toolkit as mv
from medvlp_toolkit.downstream.segmentation import UShapedSegmenter


def encoder(**options: object) -> nn.Module:
    made: nn.Module = mv.encoders.resnet(
        **{"depth": 10, "in_channels": 1, "widths": (4, 8, 16), **options}  # type: ignore[arg-type]
    )
    return made


@pytest.mark.parametrize("size", [(32, 32), (36, 44), (33, 47)])
def test_a_logit_for_every_pixel_whatever_the_size(size: tuple[int, int]) -> None:
    network = UShapedSegmenter(encoder()).eval()
    assert network(torch.rand(2, 1, *size)).shape == (2, 1, *size)


def test_volumes_are_segmented_too() -> None:
    network = UShapedSegmenter(encoder(spatial_dims=3), classes=2).eval()
    assert network(torch.rand(1, 1, 32, 24, 20)).shape == (1, 2, 32, 24, 20)


def test_stages_that_do_not_halve_need_no_upsampling() -> None:
    network = UShapedSegmenter(encoder(strides=(1, 2, 1))).eval()
    assert network(torch.rand(1, 1, 32, 32)).shape == (1, 1, 32, 32)


def test_the_published_decoder_has_its_published_widths() -> None:
    network = UShapedSegmenter(mv.encoders.resnet(depth=50))
    convolutions = [step.convolutions.conv_0.conv for step in network.steps]
    assert [convolution.out_channels for convolution in convolutions] == [512, 256, 128, 64]
    # Half from the transposed convolution; the skip connections have 512, 256, 64 channels and the image 3.
    assert [convolution.in_channels for convolution in convolutions] == [1024, 512, 192, 67]
    assert network.bridge.conv_1.conv.out_channels == 1024


def test_every_skip_connection_carries_something() -> None:
    network = UShapedSegmenter(encoder()).eval()
    image = torch.rand(1, 1, 32, 32)
    maps = [level.detach().requires_grad_() for level in network.image_encoder.feature_maps(image)]
    network.image_encoder.feature_maps = lambda _: maps
    image.requires_grad_()
    network(image).sum().backward()
    for level in (image, *maps):
        assert level.grad is not None
        assert level.grad.abs().max() > 0


def test_feature_maps_are_those_of_the_forward_pass() -> None:
    one = encoder().eval()
    image = torch.rand(2, 1, 40, 40)
    maps = one.feature_maps(image)
    assert [m.shape[1] for m in maps] == list(one.feature_channels)
    assert [40 // m.shape[-1] for m in maps[:3]] == list(one.feature_strides[:3])
    torch.testing.assert_close(maps[-1].flatten(2).transpose(1, 2), one(image))


def test_a_frozen_encoder_keeps_weights_and_statistics() -> None:
    network = UShapedSegmenter(encoder(), freeze=True).train()
    before = {name: value.clone() for name, value in network.image_encoder.state_dict().items()}
    network(torch.rand(2, 1, 32, 32)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in network.image_encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in network.image_encoder.parameters())
    assert network.head.conv.weight.grad is not None


def test_an_encoder_without_feature_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="no feature_maps"):
        UShapedSegmenter(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="4 steps up"):
        UShapedSegmenter(encoder(), widths=(8, 8))


def test_the_loss_is_cross_entropy_plus_soft_dice_over_the_batch() -> None:
    """What finetune_segmentation.yaml configures, against the published formula."""
    logits, mask = torch.randn(3, 1, 8, 8), (torch.rand(3, 1, 8, 8) > 0.6).float()
    probability = logits.sigmoid()
    dice = (2 * (probability * mask).sum() + 1) / (probability.sum() + mask.sum() + 1)
    expected = nn.functional.binary_cross_entropy_with_logits(logits, mask) + 1 - dice
    loss = DiceCELoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    torch.testing.assert_close(loss(logits, mask), expected)
