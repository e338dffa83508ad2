"""The contract of image encoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medvlp_toolkit.interfaces import FitsPositions, GivesFeatureMaps, ShiftsTokens
from medvlp_toolkit.testing.suites.module import ModuleSuite


class ImageEncoderSuite(ModuleSuite):
    """What :class:`medvlp_toolkit.interfaces.ImageEncoder` promises.

    Attributes:
        image_shapes: shapes (C, *spatial) that the encoder accepts; the first is used in all tests.
    """

    kind = "encoders"
    image_shapes: ClassVar[Sequence[tuple[int, ...]]] = ((3, 64, 64),)

    def image(self, size: int, shape: Sequence[int], seed: int = 0) -> Tensor:
        return torch.randn(size, *shape, generator=torch.Generator().manual_seed(seed))

    def inputs(self, module: nn.Module, size: int, seed: int = 0) -> tuple[Any, ...]:
        return (self.image(size, self.image_shapes[0], seed),)

    def test_declares_its_attributes(self) -> None:
        module = self.module()
        for attribute, expected in (("num_features", int), ("num_prefix_tokens", int), ("supports_masking", bool)):
            value = getattr(module, attribute, None)
            self.check(
                isinstance(value, expected), f"its `{attribute}` is {value!r}; expected of type {expected.__name__}"
            )
        for method in ("grid_size", "summary"):
            self.check(callable(getattr(module, method, None)), f"it has no method `{method}`")

    def test_gives_a_token_for_every_place_of_the_grid(self) -> None:
        module = self.module().eval()
        for shape in self.image_shapes:
            with torch.no_grad():
                tokens = self.features(
                    self.run(module, self.image(2, shape), what=f"encoding an image of shape {tuple(shape)}")
                )
            with self.doing(f"grid_size({tuple(shape[1:])})"):
                grid = module.grid_size(tuple(shape[1:]))  # type: ignore[operator]
            self.check(
                isinstance(grid, tuple) and len(grid) == len(shape) - 1 and all(isinstance(n, int) for n in grid),
                f"grid_size gives {grid!r} for {len(shape) - 1} spatial axes; expected a tuple with an int for each",
            )
            expected = (2, math.prod(grid) + module.num_prefix_tokens, module.num_features)
            self.check(
                tuple(tokens.shape) == expected,
                f"an image of shape {tuple(shape)} gives tokens {tuple(tokens.shape)}; grid_size {grid}, "
                f"num_prefix_tokens and num_features promise {expected}",
            )

    def test_summary_is_one_vector_per_image(self) -> None:
        module = self.module().eval()
        with torch.no_grad():
            tokens = self.features(self.run(module, *self.inputs(module, self.batch_size)))
            with self.doing("summary(tokens)"):
                summary = module.summary(tokens)  # type: ignore[operator]
        expected = tokens[:, 0] if module.num_prefix_tokens else tokens.mean(dim=1)  # type: ignore[truthy-bool]
        self.check(
            isinstance(summary, Tensor) and self.same(summary, expected),
            "summary(tokens) is neither the first prefix token nor, without one, the mean over tokens",
        )

    def test_image_decides_the_tokens(self) -> None:
        module = self.module().eval()
        with torch.no_grad():
            one, other = (self.features(self.run(module, *self.inputs(module, 1, seed))) for seed in (0, 1))
        self.check(not self.same(one, other), "two images give the same tokens")

    def test_empty_batch_gives_no_features(self) -> None:
        self.check_empty_batch()

    def test_gradient_reaches_the_image(self) -> None:
        module = self.module().eval()
        image = self.inputs(module, 1)[0].requires_grad_()
        output = self.features(self.run(module, image))
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
        self.check(image.grad is not None and image.grad.abs().max() > 0, "no gradient reaches the image")

    def test_gradient_of_an_image_does_not_depend_on_its_batch(self) -> None:
        module = self.module().eval()
        images = self.inputs(module, 2)[0]
        gradients = []
        for batch in (images, images[:1]):
            given = batch.clone().requires_grad_()
            tokens = self.features(self.run(module, given))[0]
            (tokens * torch.linspace(-1, 1, tokens.numel()).view_as(tokens)).sum().backward()
            assert given.grad is not None
            gradients.append(given.grad[0])
        scale = gradients[0].abs().max()
        self.check(
            bool((gradients[0] - gradients[1]).abs().max() <= 1e-3 * scale),
            "the gradient of an image alone differs from its gradient in a batch of two",
        )

    def test_masked_pass_sees_only_the_kept_patches(self) -> None:
        module = self.module().eval()
        image = self.inputs(module, 2)[0]
        count = math.prod(module.grid_size(tuple(image.shape[2:])))  # type: ignore[operator]
        keep = torch.stack([torch.randperm(count)[: max(1, count // 4)].sort().values for _ in range(2)])
        if not module.supports_masking:
            with self.refusing("`keep` for an encoder with supports_masking = False", ValueError):
                module(image, keep)
            return
        with torch.no_grad():
            tokens = self.features(self.run(module, image, keep, what="a pass with `keep`"))
        expected = (2, keep.shape[1] + module.num_prefix_tokens, module.num_features)  # type: ignore[operator]
        self.check(tuple(tokens.shape) == expected, f"a masked pass gives {tuple(tokens.shape)}; expected {expected}")

    def test_tokens_that_look_elsewhere_say_where(self) -> None:
        module = self.module()
        if not isinstance(module, ShiftsTokens):
            return
        with self.doing("token_shift()"):
            shift = module.token_shift()
        axes = len(self.image_shapes[0]) - 1
        self.check(
            isinstance(shift, tuple) and len(shift) == axes and all(abs(float(cells)) <= 1 for cells in shift),
            f"token_shift gives {shift!r}; expected a tuple of {axes} numbers of grid cells, each within one cell",
        )

    def test_feature_maps_are_as_declared(self) -> None:
        module = self.module().eval()
        if not isinstance(module, GivesFeatureMaps):
            return
        shape = self.image_shapes[0]
        with torch.no_grad(), self.doing("feature_maps(image)"):
            maps = module.feature_maps(self.image(2, shape))
        given = [(level.shape[1], *level.shape[2:]) for level in maps]
        expected = [
            (channels, *(-(-size // stride) for size in shape[1:]))
            for channels, stride in zip(module.feature_channels, module.feature_strides, strict=True)
        ]
        self.check(
            given == expected,
            f"feature_maps of an image {tuple(shape)} are {given}; feature_channels and feature_strides promise "
            f"{expected}",
        )

    def test_position_embeddings_fit_themselves(self) -> None:
        for name, part in self.module().named_modules():
            if not isinstance(part, FitsPositions):
                continue
            own: Any = part.positional_embedding  # type: ignore[attr-defined]
            with self.doing("fit_positions of its own position embeddings"):
                fitted = part.fit_positions(own)
            where = name or "the encoder"
            self.check(self.same(fitted, own), f"fit_positions changes the position embeddings of {where} itself")

    def test_image_of_wrong_channels_is_refused_with_a_message(self) -> None:
        module = self.module().eval()
        image = self.image(1, (7, *self.image_shapes[0][1:]))
        with self.refusing("an image of 7 channels", ValueError, RuntimeError):
            module(image)
