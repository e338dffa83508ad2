"""The contract of pretext losses."""

from __future__ import annotations

import io
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from medvlp_toolkit.interfaces import BATCH_KEYS, RequiresMore
from medvlp_toolkit.model.encodings import Encodings
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel
from medvlp_toolkit.testing.suites.plugin import PluginSuite
from medvlp_toolkit.testing.suites.stand_in import Sizes, stand_in_batch, stand_in_model, without_terms

PARTS = (
    "image_encoder",
    "image_projection",
    "text_encoder",
    "text_projection",
    "knowledge_encoder",
    "entity_projection",
    "fusion",
)


class PretextLossSuite(PluginSuite):
    """What :class:`medvlp_toolkit.interfaces.PretextLoss` promises.

    The loss reads a small stand-in model and a random batch that holds exactly the keys of its ``needs``.

    Attributes:
        sizes: of that model and batch: ``sizes.width`` is the D to build the loss with.
        couples_samples: True for losses that contrast the samples of a batch.
    """

    kind = "pretext_losses"
    sizes: ClassVar[Sizes] = Sizes()
    couples_samples: ClassVar[bool] = False

    # -- for subclasses -----------------------------------------------------------------------

    def model(self) -> VisionLanguageModel:
        return stand_in_model(self.sizes)

    def batch(self, loss: nn.Module, seed: int = 0) -> dict[str, Any]:
        """A batch of ``sizes.batch`` samples; override for keys of your own."""
        unknown = sorted(set(loss.needs) - BATCH_KEYS)  # type: ignore[arg-type]
        self.check(
            not unknown,
            f"`needs` names {', '.join(unknown)}, not in the batch table of medvlp_toolkit.interfaces; override "
            "`batch` in the test class to supply keys of your own",
        )
        return stand_in_batch(loss.needs, self.sizes, seed)  # type: ignore[arg-type]

    def empty_batch(self, loss: nn.Module) -> dict[str, Any] | None:
        """A batch without a single term for the loss; None where there is no such batch."""
        return without_terms(self.batch(loss))

    # -- for the suite ------------------------------------------------------------------------

    def loss(self) -> nn.Module:
        torch.manual_seed(0)
        loss = self.built()
        self.check(isinstance(loss, nn.Module), f"it builds a {type(loss).__name__}; expected a torch.nn.Module")
        return loss  # type: ignore[no-any-return]

    def run(
        self, loss: nn.Module, batch: dict[str, Any], model: VisionLanguageModel | None = None, what: str = "a pass"
    ) -> tuple[Tensor, Tensor]:
        encodings = Encodings(model if model is not None else self.model(), batch)
        try:
            result = loss(encodings)
        except KeyError as error:
            key = error.args[0] if error.args else ""
            if key in BATCH_KEYS:
                self.fail(f"it reads the batch key '{key}', which its `needs` do not name")
            with self.doing(what):
                raise
        except Exception:
            with self.doing(what):
                raise
        self.check(
            isinstance(result, tuple) and len(result) == 2 and all(isinstance(part, Tensor) for part in result),
            "its forward does not give two tensors: the sum over its terms, and how many there were",
        )
        total, count = result
        self.check(
            total.ndim == 0 and count.ndim == 0,
            f"sum and count have shapes {tuple(total.shape)} and {tuple(count.shape)}; expected two scalars",
        )
        return total, count

    # -- the rules ----------------------------------------------------------------------------

    def test_declares_what_it_needs_and_reads(self) -> None:
        loss = self.loss()
        for attribute in ("needs", "reads"):
            value = getattr(loss, attribute, None)
            self.check(
                isinstance(value, frozenset) and all(isinstance(name, str) for name in value),
                f"its `{attribute}` is {value!r}; expected a frozenset of strings",
            )
        unknown = sorted(set(loss.reads) - set(PARTS))  # type: ignore[arg-type]
        self.check(not unknown, f"`reads` names {', '.join(unknown)}; the model's parts are {', '.join(PARTS)}")
        self.check(isinstance(getattr(loss, "head", None), nn.Module), "it has no `head` that is a torch.nn.Module")

    def test_says_what_it_requires_of_the_parts(self) -> None:
        loss = self.loss()
        if not isinstance(loss, RequiresMore):
            return
        with self.doing("requires(model)"):
            lacking = loss.requires(self.model())
        self.check(
            not isinstance(lacking, str) and all(isinstance(clause, str) for clause in lacking),
            f"requires(model) gives {lacking!r}; expected a list of clauses, empty where nothing is missing",
        )
        self.check(not lacking, f"the stand-in model has every part, and it {'; '.join(lacking)}")

    def test_gives_a_sum_and_how_many_terms_it_has(self) -> None:
        loss = self.loss()
        total, count = self.run(loss, self.batch(loss))
        self.check(bool(torch.isfinite(total)), f"the sum is {total.item()}")
        self.check(total.dtype == torch.float32, f"the sum is {total.dtype}; expected torch.float32")
        self.check(total.requires_grad, "the sum is cut off from the model: nothing would be trained")
        self.check(
            count.item() > 0 and count.item() == int(count.item()),
            f"the count is {count.item()} for a batch that has terms; expected a positive whole number",
        )
        self.check(not count.requires_grad, "the count carries a gradient")

    def test_reads_no_key_that_it_does_not_need(self) -> None:
        loss = self.loss()
        self.run(loss, self.batch(loss))  # the batch holds its needs and nothing else

    def test_evaluation_repeats_itself(self) -> None:
        loss = self.loss().eval()
        batch, model = self.batch(loss), self.model().eval()
        first, second = (self.run(loss, batch, model) for _ in range(2))
        self.check(
            torch.equal(first[0], second[0]) and torch.equal(first[1], second[1]),
            "the same batch gives another loss each time: draw only what is absent from the batch",
        )

    def test_batch_is_not_changed(self) -> None:
        loss = self.loss()
        batch = self.batch(loss)
        before = {key: value.clone() if isinstance(value, Tensor) else value for key, value in batch.items()}
        self.run(loss, batch)
        self.check(batch.keys() == before.keys(), "it adds keys to the batch or takes some away")
        changed = [k for k, v in batch.items() if isinstance(v, Tensor) and not torch.equal(v, before[k])]
        self.check(not changed, f"it changes {', '.join(changed)} of the batch in place")

    def test_gradient_reaches_exactly_the_parts_it_reads(self) -> None:
        loss, model = self.loss(), self.model()
        total, _ = self.run(loss, self.batch(loss), model)
        with self.doing("the backward pass"):
            total.backward()
        for name in PARTS:
            gradients = [p.grad for p in getattr(model, name).parameters() if p.grad is not None]
            reached = any(bool(gradient.abs().max() > 0) for gradient in gradients)
            if name in loss.reads:  # type: ignore[operator]
                self.check(reached, f"`reads` names {name}, and no gradient reaches it")
            else:
                self.check(
                    not gradients, f"its gradient reaches {name}, which `reads` does not name: it would be frozen"
                )
            self.check(all(torch.isfinite(g).all() for g in gradients), f"the gradient of {name} is not finite")

    def test_gradient_reaches_all_its_own_parameters(self) -> None:
        loss = self.loss()
        self.run(loss, self.batch(loss))[0].backward()
        self.check_connected(loss, "an ordinary batch")

    def check_connected(self, loss: nn.Module, what: str) -> None:
        cut_off = [name for name, p in loss.named_parameters() if p.requires_grad and p.grad is None]
        self.check(
            not cut_off,
            f"with {what} its parameters {', '.join(cut_off)} receive no gradient: distributed training would wait",
        )
        wrong = [n for n, p in loss.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
        self.check(not wrong, f"with {what} the gradient of {', '.join(wrong)} is not finite")

    def test_batch_without_a_term_gives_a_connected_zero(self) -> None:
        loss = self.loss()
        batch = self.empty_batch(loss)
        if batch is None:
            pytest.skip("every batch has terms for this loss")
        total, count = self.run(loss, batch, what="a batch without a term")
        self.check(
            count.item() == 0,
            f"a batch without a term counts {count.item()} (override `empty_batch` where another batch has none)",
        )
        self.check(total.item() == 0.0, f"a batch without a term has the sum {total.item()}; expected 0")
        self.check(total.requires_grad, "the zero of a batch without a term is cut off from the head")
        total.backward()
        self.check_connected(loss, "a batch without a term")

    def test_sums_and_counts_of_two_halves_add_up(self) -> None:
        if self.couples_samples:
            pytest.skip("the loss contrasts samples")
        loss, model = self.loss().eval(), self.model().eval()
        batch = self.batch(loss)
        middle = self.sizes.batch // 2
        whole = self.run(loss, batch, model)
        halves = [
            self.run(loss, {key: value[rows] for key, value in batch.items()}, model, "half of the batch")
            for rows in (slice(None, middle), slice(middle, None))
        ]
        for number, what in enumerate(("sum", "count")):
            added = halves[0][number] + halves[1][number]
            self.check(
                torch.allclose(added.float(), whole[number].float(), rtol=1e-4, atol=1e-5),
                f"the {what} of a batch is {whole[number].item()}, and those of its halves add up to {added.item()}: "
                "several ranks would not equal one (set `couples_samples = True` where that is meant)",
            )

    def test_weighted_total_is_the_mean_over_its_terms(self) -> None:
        loss, model = self.loss().eval(), self.model().eval()
        batch = self.batch(loss)
        total, count = self.run(loss, batch, model)
        with self.doing("training it in a PretrainingModel"):
            combined = PretrainingModel(model, {"mine": loss}, weights={"mine": 2.0}).eval()(batch)
        self.check(
            torch.allclose(combined["mine"], total / count) and torch.allclose(combined["loss"], 2 * combined["mine"]),
            "in a PretrainingModel the loss is not its sum divided by its count",
        )

    def test_sum_is_float32_under_bfloat16_autocast(self) -> None:
        loss = self.loss()
        batch = self.batch(loss)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            total, _ = self.run(loss, batch, what="a pass under bfloat16 autocast")
        self.check(
            total.dtype == torch.float32,
            f"under bfloat16 autocast the sum is {total.dtype}: hundreds of terms do not add up in it; "
            "compute the terms with .float()",
        )

    def test_state_dict_restores_it(self) -> None:
        loss, model = self.loss().eval(), self.model().eval()
        with torch.no_grad():
            for parameter in loss.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        file = io.BytesIO()
        with self.doing("saving its state dict and reading it back with weights_only=True"):
            torch.save(loss.state_dict(), file)
            torch.manual_seed(1)
            restored = self.built().eval()
            restored.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
        batch = self.batch(loss)
        self.check(
            torch.allclose(self.run(loss, batch, model)[0], self.run(restored, batch, model)[0], rtol=1e-5),
            "a fresh instance with the saved state dict gives another loss: some state is not in it",
        )
