"""The contract of fusion modules."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medvlp_toolkit.interfaces import ChoosesKnowledge, ComputesParts, FusionOutput, Knowledge, PoolsPairs
from medvlp_toolkit.testing.suites.module import ModuleSuite


class FusionModuleSuite(ModuleSuite):
    """What :class:`medvlp_toolkit.interfaces.FusionModule` promises.

    Attributes:
        reads_text_mask: False for modules whose text is entity queries, which have no padding.
        knowledge_width: Dk of the linked entities; None for a module that ignores them.
        gives_attention: whether ``need_attention`` returns attention.
    """

    kind = "fusion_modules"
    image_tokens: ClassVar[int] = 9
    text_tokens: ClassVar[int] = 5
    reads_text_mask: ClassVar[bool] = True
    knowledge_width: ClassVar[int | None] = None
    gives_attention: ClassVar[bool] = True

    def inputs(self, module: nn.Module, size: int, seed: int = 0) -> tuple[Any, ...]:
        width = self.width(module)
        generator = torch.Generator().manual_seed(seed)
        image = torch.randn(size, self.image_tokens, width, generator=generator)
        text = torch.randn(size, self.text_tokens, width, generator=generator)
        if self.knowledge_width is None:
            return image, text
        linked = 2
        knowledge = Knowledge(
            torch.randn(size, linked, self.knowledge_width, generator=generator),
            torch.ones(size, linked, dtype=torch.bool),
            torch.zeros(size, linked, self.text_tokens).index_fill_(2, torch.tensor([1]), 1.0),
        )
        return image, text, torch.ones(size, self.text_tokens, dtype=torch.long), knowledge

    def sliced(self, inputs: tuple[Any, ...], rows: slice) -> tuple[Any, ...]:
        return tuple(Knowledge(*(part[rows] for part in x)) if isinstance(x, Knowledge) else x[rows] for x in inputs)

    def width(self, module: nn.Module) -> int:
        width = getattr(module, "width", None)
        self.check(isinstance(width, int), f"its `width` is {width!r}; expected an int, the D of its features")
        return int(width)  # type: ignore[arg-type]

    def fused(self, output: Any) -> FusionOutput:
        self.check(
            isinstance(output, tuple) and getattr(output, "_fields", ()) == FusionOutput._fields,
            f"its forward gives {type(output).__name__}; expected medvlp_toolkit.interfaces.FusionOutput",
        )
        return FusionOutput(*output)

    def features(self, output: Any) -> Tensor:
        return self.fused(output).text

    def outputs(self, output: Any) -> list[Tensor]:
        fused = self.fused(output)
        given = [tensor for tensor in (fused.image, fused.text, fused.pooled) if tensor is not None]
        return [tensor for tensor in given if tensor.requires_grad]  # the image may pass unchanged

    def test_gives_features_of_its_width_for_image_and_text(self) -> None:
        module = self.module().eval()
        inputs = self.inputs(module, self.batch_size)
        fused = self.fused(self.run(module, *inputs))
        for name, tensor, given in (("image", fused.image, inputs[0]), ("text", fused.text, inputs[1])):
            self.check(
                tensor.shape == given.shape,
                f"`{name}` leaves as {tuple(tensor.shape)}, having come as {tuple(given.shape)}",
            )
        if fused.pooled is not None:
            self.check(
                fused.pooled.ndim == 2 and fused.pooled.shape[0] == self.batch_size,
                f"`pooled` is {tuple(fused.pooled.shape)}; expected ({self.batch_size}, Dp) or None",
            )

    def test_pooled_feature_has_the_declared_width(self) -> None:
        module = self.module().eval()
        with torch.no_grad():
            pooled = self.fused(self.run(module, *self.inputs(module, self.batch_size))).pooled
        declared = module.pooled_width if isinstance(module, PoolsPairs) else None
        given = None if pooled is None else pooled.shape[1]
        self.check(
            declared == given,
            f"`pooled` has width {given}, and its `pooled_width` is {declared}: heads of pairs are sized by it (leave "
            "`pooled_width` out where `pooled` is None)",
        )

    def test_says_whether_it_reads_knowledge(self) -> None:
        module = self.module()
        if isinstance(module, ChoosesKnowledge):
            self.check(
                module.reads_knowledge or self.knowledge_width is None,
                "its `reads_knowledge` is False, so that it is never given the `knowledge_width` of the test class",
            )

    def test_a_part_computed_alone_is_the_same(self) -> None:
        module = self.module().eval()
        if not isinstance(module, ComputesParts) or not module.computes_parts:
            return
        inputs = self.inputs(module, self.batch_size)
        with torch.no_grad():
            whole = self.fused(self.run(module, *inputs))
            for part in ("text", "image", "pooled"):
                alone = self.fused(self.run(module, *inputs, compute=part, what=f"a pass with compute='{part}'"))
                one, other = getattr(alone, part), getattr(whole, part)
                self.check(
                    (one is None and other is None) or self.same(one, other),
                    f"compute='{part}' gives another {part} than computing all",
                )
            published = self.fused(self.run(module, *inputs, compute="published", what="compute='published'"))
        self.check(self.same(published.text, whole.text), "compute='published' gives other text than computing all")

    def test_attention_is_given_only_when_asked_for(self) -> None:
        module = self.module().eval()
        inputs = self.inputs(module, self.batch_size)
        with torch.no_grad():
            without = self.fused(self.run(module, *inputs))
            asked = self.fused(self.run(module, *inputs, need_attention=True, what="a pass with need_attention=True"))
        self.check(without.attention is None, "it returns attention that was not requested, which costs time")
        self.check(self.same(asked.text, without.text), "requesting attention changes the text features")
        if not self.gives_attention:
            return
        if asked.attention is None:
            self.fail("need_attention=True gives None (set `gives_attention = False` if it has none)")
        shape = tuple(asked.attention.shape)
        self.check(
            len(shape) == 4 and shape[0] == self.batch_size and shape[2:] == (self.text_tokens, self.image_tokens),
            f"attention is {shape}; expected (B, layers, text tokens, image tokens) = "
            f"({self.batch_size}, layers, {self.text_tokens}, {self.image_tokens})",
        )
        self.check(bool((asked.attention >= 0).all()), "attention holds negative numbers")
        self.check(
            self.same(asked.attention.sum(-1), torch.ones(shape[:3])),
            "attention over the image tokens does not sum to one for each text token and layer",
        )

    def test_text_features_depend_on_image_and_text(self) -> None:
        module = self.module().eval()
        inputs = self.inputs(module, self.batch_size)
        others = self.inputs(module, self.batch_size, seed=1)
        with torch.no_grad():
            text = self.features(self.run(module, *inputs))
            other_image = self.features(self.run(module, others[0], *inputs[1:]))
            other_text = self.features(self.run(module, inputs[0], others[1], *inputs[2:]))
        self.check(not self.same(text, other_image), "another image does not change the text features")
        self.check(not self.same(text, other_text), "another text does not change the text features")

    def test_empty_batch_gives_no_features(self) -> None:
        self.check_empty_batch()

    def test_gradient_reaches_image_and_text(self) -> None:
        module = self.module().eval()
        image, text, *rest = self.inputs(module, self.batch_size)
        image.requires_grad_(), text.requires_grad_()
        features = self.features(self.run(module, image, text, *rest))
        (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
        for name, tensor in (("image", image), ("text", text)):
            self.check(tensor.grad is not None and tensor.grad.abs().max() > 0, f"no gradient reaches the {name}")

    def test_masked_text_tokens_do_not_count(self) -> None:
        module = self.module().eval()
        image, text, *rest = self.inputs(module, self.batch_size)
        mask = torch.ones(self.batch_size, self.text_tokens, dtype=torch.long)
        mask[:, -1] = 0
        changed = text.clone()
        changed[:, -1] += 1.0
        more = rest[1:]
        with torch.no_grad():
            one = self.features(self.run(module, image, text, mask, *more, what="a pass with text_mask"))
            other = self.features(self.run(module, image, changed, mask, *more))
        if self.reads_text_mask:
            self.check(
                self.same(one[:, :-1], other[:, :-1]),
                "a masked text token changes the others (set `reads_text_mask = False` where text is entity queries)",
            )

    def test_same_text_for_all_samples_may_be_an_expanded_view(self) -> None:
        module = self.module().eval()
        image, text, *rest = self.inputs(module, self.batch_size)
        view = text[:1].expand(self.batch_size, -1, -1)
        with torch.no_grad():
            from_view = self.features(self.run(module, image, view, *rest, what="a pass with an expanded text"))
            from_copy = self.features(self.run(module, image, view.clone(), *rest))
        self.check(
            self.same(from_view, from_copy), "a view of one text for all samples gives other features than a copy"
        )

    def test_missing_mask_and_knowledge_are_allowed(self) -> None:
        module = self.module().eval()
        image, text, *_ = self.inputs(module, self.batch_size)
        with torch.no_grad():
            fused = self.fused(
                self.run(module, image, text, text_mask=None, knowledge=None, what="a pass without mask and knowledge")
            )
        self.check(bool(torch.isfinite(fused.text).all()), "without mask and knowledge it gives undefined numbers")

    def test_stopping_after_a_layer_keeps_the_shapes(self) -> None:
        module = self.module().eval()
        inputs = self.inputs(module, self.batch_size)
        with torch.no_grad():
            fused = self.fused(self.run(module, *inputs, stop_after=1, what="a pass with stop_after=1"))
        self.check(
            fused.image.shape == inputs[0].shape and fused.text.shape == inputs[1].shape,
            "stopping after the first layer gives features of other shapes",
        )
