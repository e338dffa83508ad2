"""Tests of plugins that are neural modules: gradients, determinism, independent samples, saving."""

from __future__ import annotations

import copy
import io
import json
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from medvlp_toolkit.interfaces import DescribesItself
from medvlp_toolkit.testing.suites.plugin import PluginSuite

#: Tolerance of float32 computations in a different order, as a share of the largest value.
TOLERANCE = 2e-5


class ModuleSuite(PluginSuite):
    """Base of the suites for encoders and fusion modules.

    Attributes:
        torchscript: whether the plugin promises to work in TorchScript, which exporting a bundle needs.
        unused_parameters: prefixes of parameters that an ordinary pass does not read; distributed training waits for
            their gradients until they are frozen.
    """

    torchscript: ClassVar[bool] = False
    unused_parameters: ClassVar[tuple[str, ...]] = ()
    batch_size: ClassVar[int] = 3

    def inputs(self, module: nn.Module, size: int, seed: int = 0) -> tuple[Any, ...]:
        """Positional arguments for one pass over ``size`` samples."""
        raise NotImplementedError

    def features(self, output: Any) -> Tensor:
        """The tensor (size, …) of an output that is its result."""
        if not isinstance(output, Tensor):
            self.fail(f"its forward gives {type(output).__name__}; expected a tensor")
        return output

    def outputs(self, output: Any) -> list[Tensor]:
        """All tensors of an output that are used; together they reach every parameter."""
        return [self.features(output)]

    # -- for the suites -----------------------------------------------------------------------

    def module(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        module = self.built()
        self.check(isinstance(module, nn.Module), f"it builds a {type(module).__name__}; expected a torch.nn.Module")
        return module  # type: ignore[no-any-return]

    def run(self, module: nn.Module, *inputs: Any, what: str = "a forward pass", **options: Any) -> Any:
        with self.doing(what):
            return module(*inputs, **options)

    def sliced(self, inputs: tuple[Any, ...], rows: slice) -> tuple[Any, ...]:
        return tuple(x[rows] if isinstance(x, Tensor) else x for x in inputs)

    def check_empty_batch(self) -> None:
        """A batch without a readable file has no sample, and is scored like any other."""
        module = self.module().eval()
        inputs = self.sliced(self.inputs(module, self.batch_size), slice(0, 0))
        with torch.no_grad():
            features = self.features(self.run(module, *inputs, what="a batch without a sample"))
        shape = tuple(features.shape)
        self.check(shape[0] == 0, f"a batch without a sample gives features {shape}; expected none, (0, …)")

    def same(self, one: Tensor, other: Tensor) -> bool:
        return one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * other.abs().max())

    # -- the rules ----------------------------------------------------------------------------

    def test_output_is_finite_float32(self) -> None:
        module = self.module().eval()
        features = self.features(self.run(module, *self.inputs(module, self.batch_size)))
        self.check(features.dtype == torch.float32, f"float32 input gives {features.dtype}; expected torch.float32")
        self.check(bool(torch.isfinite(features).all()), "ordinary input gives infinite or undefined numbers")

    def test_evaluation_repeats_itself(self) -> None:
        module = self.module().eval()
        inputs = self.inputs(module, self.batch_size)
        with torch.no_grad():
            first, second = (self.features(self.run(module, *inputs)) for _ in range(2))
        self.check(torch.equal(first, second), "in evaluation mode the same input gives another output each time")

    def test_evaluation_changes_no_state(self) -> None:
        module = self.module().eval()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        with torch.no_grad():
            self.run(module, *self.inputs(module, self.batch_size))
        changed = [name for name, value in module.state_dict().items() if not torch.equal(value, before[name])]
        self.check(not changed, f"a pass in evaluation mode changes {', '.join(changed[:5])}")

    def test_input_is_not_changed(self) -> None:
        module = self.module().eval()
        inputs = self.inputs(module, self.batch_size)
        before = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
        with torch.no_grad():
            self.run(module, *inputs)
        for given, kept in zip(inputs, before, strict=True):
            self.check(not isinstance(given, Tensor) or torch.equal(given, kept), "a pass changes its input in place")

    def test_samples_do_not_influence_one_another_in_evaluation(self) -> None:
        module = self.module().eval()
        inputs = self.inputs(module, self.batch_size)
        with torch.no_grad():
            together = self.features(self.run(module, *inputs))
            for number in range(self.batch_size):
                one = self.sliced(inputs, slice(number, number + 1))
                alone = self.features(self.run(module, *one, what="a batch of one"))
                self.check(
                    self.same(alone, together[number : number + 1]),
                    "in evaluation mode a sample's features depend on the other samples of its batch",
                )

    def test_every_parameter_receives_a_gradient(self) -> None:
        module = self.module().train()
        outputs = self.outputs(self.run(module, *self.inputs(module, self.batch_size)))
        with self.doing("the backward pass"):
            # Weighted, because the plain sum of normalised features is constant and has no gradient.
            weighted = [(one * torch.linspace(-1, 1, one.numel()).view_as(one)).sum() for one in outputs]
            torch.stack(weighted).sum().backward()
        cut_off = [
            name
            for name, parameter in module.named_parameters()
            if parameter.requires_grad and parameter.grad is None and not name.startswith(self.unused_parameters)
        ]
        self.check(
            not cut_off,
            f"{len(cut_off)} parameters receive no gradient ({', '.join(cut_off[:5])}): distributed training would "
            "wait for them; remove or freeze what is not read",
        )
        wrong = [n for n, p in module.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
        self.check(not wrong, f"the gradient of {', '.join(wrong[:5])} is not finite")

    def test_works_under_bfloat16_autocast(self) -> None:
        module = self.module().eval()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            features = self.features(
                self.run(module, *self.inputs(module, self.batch_size), what="a pass under bfloat16 autocast")
            )
        self.check(bool(torch.isfinite(features).all()), "under bfloat16 autocast it gives numbers that are not finite")

    def test_state_dict_restores_it(self) -> None:
        module = self.module(seed=0).eval()
        with torch.no_grad():  # different from any initialisation
            for parameter in module.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        file = io.BytesIO()
        with self.doing("saving its state dict and reading it back with weights_only=True"):
            torch.save(module.state_dict(), file)
            state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
            restored = self.module(seed=1).eval()
            restored.load_state_dict(state)
        inputs = self.inputs(module, self.batch_size)
        with torch.no_grad():
            same = self.same(self.features(self.run(module, *inputs)), self.features(self.run(restored, *inputs)))
        self.check(same, "a fresh instance with the saved state dict gives other features: some state is not in it")

    def test_is_built_again_from_its_own_description(self) -> None:
        module = self.module().eval()
        if not isinstance(module, DescribesItself):
            return
        with self.doing("writing its architecture() as JSON"):
            arguments = json.loads(json.dumps(module.architecture()))
        with self.doing("building it again with its architecture()"):
            again: nn.Module = self.target(**arguments).eval()
            again.load_state_dict(module.state_dict())
        inputs = self.inputs(module, self.batch_size)
        with torch.no_grad():
            ours = self.features(self.run(module, *inputs))
            theirs = self.features(self.run(again, *inputs, what="what its architecture() builds"))
        self.check(self.same(ours, theirs), "what its architecture() builds gives other features with the same weights")

    def test_copies_of_it_give_the_same(self) -> None:
        """Weight averaging copies modules, and spawned processes receive pickles."""
        module = self.module().eval()
        with self.doing("copying it (copy.deepcopy)"):
            copied = copy.deepcopy(module)
        inputs = self.inputs(module, self.batch_size)
        with torch.no_grad():
            ours = self.features(self.run(module, *inputs))
            for other in (copied, self.check_pickles(module)):
                theirs = self.features(self.run(other, *inputs, what="a copy of it"))
                self.check(self.same(ours, theirs), "a copy of it, or its unpickled form, gives other features")
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.add_(1.0)
            after = self.features(self.run(module, *inputs))
        self.check(torch.equal(ours, after), "changing a copy's weights changes the original's features")

    def test_torchscript_gives_the_same(self) -> None:
        if not self.torchscript:
            pytest.skip("TorchScript is not promised; set `torchscript = True` in the test class if it is")
        module = self.module().eval()
        file = io.BytesIO()
        with self.doing("torch.jit.script"):
            torch.jit.save(torch.jit.script(module), file)
            scripted = torch.jit.load(io.BytesIO(file.getvalue()))
        inputs = self.inputs(module, self.batch_size)
        with torch.no_grad():
            ours = self.features(self.run(module, *inputs))
            theirs = self.features(self.run(scripted, *inputs, what="the scripted module"))
        self.check(self.same(ours, theirs), "the scripted module gives other features")

    def test_runs_where_it_is_moved(self) -> None:
        if not torch.cuda.is_available():
            pytest.skip("no accelerator here")
        module = self.module().eval().to("cuda")
        inputs = tuple(x.to("cuda") if isinstance(x, Tensor) else x for x in self.inputs(module, self.batch_size))
        with torch.no_grad():
            features = self.features(self.run(module, *inputs, what="a pass on the accelerator"))
        self.check(features.device.type == "cuda", f"input on the accelerator gives features on {features.device}")
