"""The contract of checkpoint importers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medvlp_toolkit.interfaces import CarriesKeyReport, DescribesItself, ImageEncoder, MakesNetwork, StatesTextWidth
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.testing.suites.plugin import PluginSuite


class CheckpointImporterSuite(PluginSuite):
    """What :class:`medvlp_toolkit.interfaces.CheckpointImporter` promises: every key fits, or the import fails.

    A subclass overrides :meth:`state_dict`; ``arguments`` are the importer's options.
    """

    kind = "checkpoint_importers"

    def state_dict(self) -> dict[str, Tensor]:
        """Names and tensors as the published checkpoint has them (random numbers will do)."""
        self.fail("override `state_dict` in the test class: names and shapes of the published checkpoint")

    def build(self) -> Any:
        return self.target

    def imported(self, state: dict[str, Tensor], what: str = "importing the checkpoint") -> PretrainingModel:
        with self.doing(what):
            model = self.target(state, **self.arguments)
        self.check(
            isinstance(model, PretrainingModel | ImageEncoder),
            f"it gives a {type(model).__name__}; expected a medvlp_toolkit.model.PretrainingModel or an image encoder",
        )
        return model  # type: ignore[no-any-return]

    @contextmanager
    def refused(self, change: Callable[[dict[str, Tensor]], str], what: str) -> Iterator[tuple[str, str]]:
        state = dict(self.state_dict())
        name = change(state)
        with self.refusing(f"a checkpoint with {what} ('{name}')", ValueError) as message:
            self.target(state, **self.arguments)
        yield name, message[0]

    def test_gives_a_pretraining_model(self) -> None:
        model = self.imported(self.state_dict())
        if isinstance(model, PretrainingModel):
            self.check(len(model.losses) > 0, "the imported model has no loss")
        else:
            self.check(isinstance(model, DescribesItself), "the imported encoder has no `architecture`")
        wrong = [name for name, value in model.state_dict().items() if not torch.isfinite(value.float()).all()]
        self.check(not wrong, f"the imported model holds numbers that are not finite: {', '.join(wrong[:5])}")

    def test_says_what_became_of_every_key(self) -> None:
        state = self.state_dict()
        model = self.imported(state)
        if not isinstance(model, CarriesKeyReport):
            return
        report = model.key_report
        silent = sorted(set(state) - set(report.used) - set(report.unused))
        self.check(not silent, f"its key_report does not mention {', '.join(silent[:5])}")

    def test_says_how_wide_descriptions_are(self) -> None:
        if not isinstance(self.target, StatesTextWidth):
            return
        with self.doing("text_width(state_dict)"):
            width = self.target.text_width(self.state_dict())
        self.check(isinstance(width, int) and width > 0, f"text_width gives {width!r}; expected a positive int")

    def test_makes_the_network_of_inference(self) -> None:
        if not isinstance(self.target, MakesNetwork):
            return
        model = self.imported(self.state_dict())
        with self.doing("network_def(model)"):
            network = self.target.network_def(model)
        self.check(
            isinstance(network, nn.Module), f"network_def gives a {type(network).__name__}; expected a torch.nn.Module"
        )

    def test_same_checkpoint_gives_the_same_model(self) -> None:
        one, other = (self.imported(self.state_dict()).state_dict() for _ in range(2))
        differing = [name for name in one if not torch.equal(one[name], other[name])]
        self.check(
            not differing, f"importing twice gives other values for {', '.join(differing[:5])}: not all are imported"
        )

    def test_values_of_the_checkpoint_are_in_the_model(self) -> None:
        state = self.state_dict()
        changed = {name: value + 1 if value.is_floating_point() else value for name, value in state.items()}
        one, other = self.imported(state).state_dict(), self.imported(changed).state_dict()
        moved = sum(value.numel() for name, value in one.items() if not torch.equal(value, other[name]))
        given = sum(value.numel() for value in state.values() if value.is_floating_point())
        self.check(
            moved >= 0.9 * given,
            f"of {given} values of the checkpoint only {moved} change the imported model when they change",
        )

    def test_checkpoint_is_not_changed(self) -> None:
        state = self.state_dict()
        before = {name: value.clone() for name, value in state.items()}
        model = self.imported(state)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        self.check(list(state) == list(before), "importing adds keys to the given dict or takes some away")
        changed = [name for name, value in state.items() if not torch.equal(value, before[name])]
        self.check(not changed, f"training the imported model changes the given tensors: {', '.join(changed[:5])}")

    def test_missing_key_is_refused(self) -> None:
        def drop(state: dict[str, Tensor]) -> str:
            name = list(state)[len(state) // 2]
            del state[name]
            return name

        with self.refused(drop, "a key missing"):
            pass

    def test_foreign_key_is_refused_by_name(self) -> None:
        def add(state: dict[str, Tensor]) -> str:
            state["a_key_of_something_else.weight"] = torch.zeros(2)
            return "a_key_of_something_else.weight"

        with self.refused(add, "a foreign key") as (name, message):
            self.check(name in message, f"the refusal of a foreign key does not name it: {message}")

    def test_wrong_shape_is_refused_by_name(self) -> None:
        def reshape(state: dict[str, Tensor]) -> str:
            name = [name for name, value in state.items() if value.ndim == 1][-1]
            state[name] = torch.zeros(state[name].shape[0] + 1)
            return name

        with self.refused(reshape, "a tensor of another shape") as (name, message):
            self.check(name in message, f"the refusal of a tensor of another shape does not name it: {message}")

    def test_checkpoint_of_another_model_is_refused(self) -> None:
        with self.refusing("the state dict of another model", ValueError):
            self.target({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, **self.arguments)
        with self.refusing("an empty state dict", ValueError):
            self.target({}, **self.arguments)
