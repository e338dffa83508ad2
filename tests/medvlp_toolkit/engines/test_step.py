"""What one iteration does: accumulation, clipping, precision, compilation, averages of weights, recomputation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from monai.inferers import SimpleInferer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from medvlp_toolkit.data.batches.dataset import StudyDataset, study_loader
from medvlp_toolkit.data.batches.device_images import DeviceImages, images_from
from medvlp_toolkit.data.batches.text_lengths import FixedLengths
from medvlp_toolkit.engines.device import autocast, set_tf32
from medvlp_toolkit.engines.finetuning_step import FinetuningStep
from medvlp_toolkit.engines.parallel import checkpoint_activations
from medvlp_toolkit.engines.step import Place, PretrainingStep, place_of
from medvlp_toolkit.evaluation.step import EvaluationStep
from tests.medvlp_toolkit.engines.training import make_network, make_store

CPU = torch.device("cpu")


def to_float(batch: Any) -> dict[str, Any]:
    return {**batch, "image": batch["image"].float() / 255}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> StudyDataset:
    return StudyDataset(make_store(tmp_path_factory.mktemp("store") / "store"))


class Engine:
    """As much of a trainer as a step asks for."""

    def __init__(self, network: nn.Module, learning_rate: float = 0.1) -> None:
        self.network = network
        self.optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate)
        self.inferer = SimpleInferer()
        self.state = SimpleNamespace(device=CPU, iteration=0, epoch_length=None, accumulating=False)

    def fire_event(self, event: Any) -> None:
        pass

    def run(self, step: PretrainingStep, batches: list[dict[str, Any]], epoch_length: int | None = None) -> list[Any]:
        outputs = []
        for batch in batches:
            self.state.epoch_length = epoch_length
            self.state.iteration += 1
            outputs.append(step(self, batch))
        return outputs


def without_dropout(network: nn.Module) -> nn.Module:
    """Neither dropout nor batch statistics: a batch in two parts gives what it gives whole."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    return network


def network_of(dataset: StudyDataset) -> nn.Module:
    network = make_network(len(dataset.entities), len(dataset.positions))
    network.model.image_encoder.norm = nn.Identity()  # type: ignore[assignment]
    return without_dropout(network)


def batches_of(dataset: StudyDataset, *slices: slice) -> list[dict[str, Any]]:
    return [dataset.__getitems__(range(len(dataset))[part]) for part in slices]


# -- accumulation -----------------------------------------------------------------------------------


def test_the_last_group_of_an_epoch_ends_with_it() -> None:
    places = [place_of(iteration, 5, 3) for iteration in range(1, 11)]
    epoch = [Place(0, 3), Place(1, 3), Place(2, 3), Place(0, 2), Place(1, 2)]
    assert places == epoch * 2
    assert [place.last for place in epoch] == [False, False, True, False, True]


def test_accumulated_gradients_are_the_mean_over_batches_with_a_flush_at_the_epochs_end(dataset: StudyDataset) -> None:
    batches = batches_of(dataset, slice(0, 3), slice(3, 6), slice(6, 9))
    accumulated = Engine(network_of(dataset))
    accumulated.run(PretrainingStep(to_float, accumulation_steps=2), batches, epoch_length=3)
    by_hand = Engine(network_of(dataset))
    for group in (batches[:2], batches[2:]):
        by_hand.optimizer.zero_grad()
        for batch in group:
            (by_hand.network(to_float(batch))["loss"] / len(group)).backward()
        by_hand.optimizer.step()
    for name, value in by_hand.network.state_dict().items():
        torch.testing.assert_close(accumulated.network.state_dict()[name], value, msg=name)


def test_the_optimiser_steps_once_a_group(dataset: StudyDataset) -> None:
    engine, step = Engine(network_of(dataset)), PretrainingStep(to_float, accumulation_steps=2)
    weight = next(iter(engine.network.parameters()))
    before = weight.detach().clone()
    (batch,) = batches_of(dataset, slice(0, 3))
    engine.run(step, [batch], epoch_length=4)
    assert engine.state.accumulating
    assert torch.equal(weight, before)
    engine.run(step, [batch], epoch_length=4)
    assert not engine.state.accumulating
    assert not torch.equal(weight, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "fp32, bf16, fp16"),
        ({"accumulation_steps": 0}, "1 or more"),
        ({"compile": "all"}, "expected false or step"),
    ],
)
def test_a_setting_that_is_invalid_is_reported_when_the_step_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainingStep(to_float, **options)


# -- precision, clipping ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_products_are_computed_in_the_precision_that_was_asked_for(precision: Any, dtype: torch.dtype) -> None:
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains_and_its_losses_agree(precision: Any, dataset: StudyDataset) -> None:
    batches = batches_of(dataset, slice(0, 8)) * 8
    engine = Engine(network_of(dataset))
    losses = [float(output["loss"]) for output in engine.run(PretrainingStep(to_float, precision), batches)]
    reference = Engine(network_of(dataset)).run(PretrainingStep(to_float), batches[:1])
    assert losses[0] == pytest.approx(float(reference[0]["loss"]), rel=0.02)
    assert losses[-1] < losses[0]
    assert all(value.dtype == torch.float32 for value in engine.network.parameters())


def test_only_half_precision_scales_and_its_scale_is_kept(dataset: StudyDataset) -> None:
    step = PretrainingStep(to_float, "fp16")
    Engine(network_of(dataset)).run(step, batches_of(dataset, slice(0, 4)))
    step.scaler(CPU).update(512.0)
    restored = PretrainingStep(to_float, "fp16")
    restored.load_state_dict(step.state_dict())
    assert restored.scaler(CPU).get_scale() == 512.0
    assert not PretrainingStep(to_float, "bf16").scaler(CPU).is_enabled()


def test_half_precision_skips_a_step_whose_gradients_overflow(dataset: StudyDataset) -> None:
    engine, step = Engine(network_of(dataset)), PretrainingStep(to_float, "fp16")
    before = [value.detach().clone() for value in engine.network.parameters()]
    (batch,) = batches_of(dataset, slice(0, 4))
    step._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    engine.run(step, [batch])
    assert all(torch.equal(value, old) for value, old in zip(engine.network.parameters(), before, strict=True))
    assert step.scaler(CPU).get_scale() < 2.0**40


def test_the_gradient_is_clipped_to_its_norm(dataset: StudyDataset) -> None:
    engine = Engine(network_of(dataset), learning_rate=1.0)
    before = [value.detach().clone() for value in engine.network.parameters()]
    engine.run(PretrainingStep(to_float, clip_norm=0.01), batches_of(dataset, slice(0, 4)))
    moved = [value.detach() - old for value, old in zip(engine.network.parameters(), before, strict=True)]
    assert torch.cat([step.flatten() for step in moved]).norm() == pytest.approx(0.01, rel=1e-3)


@pytest.fixture
def tf32_as_before() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def test_tf32_is_on_only_where_asked_for(tf32_as_before: None) -> None:
    for wanted, precision in ((True, "high"), (False, "highest")):
        set_tf32(wanted)
        assert torch.get_float32_matmul_precision() == precision
        assert torch.backends.cudnn.allow_tf32 is wanted


def test_evaluation_never_uses_tf32_and_leaves_the_process_as_it_was(tf32_as_before: None) -> None:
    class Recorded(EvaluationStep):
        def predict(self, engine: Any, batch: Any, prepared: Any) -> dict[str, Any]:
            return {"seen": (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)}

    engine: Any = SimpleNamespace(state=SimpleNamespace(device=torch.device("cpu")), network=torch.nn.Identity())
    set_tf32(True)
    assert Recorded(dict).compute(engine, {})["seen"] == ("highest", False)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)


# -- compilation, averages, recomputation -------------------------------------------------------------


@pytest.mark.slow
def test_a_compiled_step_gives_the_same_losses_and_names(dataset: StudyDataset) -> None:
    batches = batches_of(dataset, slice(0, 4), slice(4, 8), slice(8, 12))
    plain, compiled = Engine(network_of(dataset)), Engine(network_of(dataset))
    expected = plain.run(PretrainingStep(to_float), batches)
    found = compiled.run(PretrainingStep(to_float, compile="step"), batches)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    assert compiled.network.state_dict().keys() == plain.network.state_dict().keys()
    assert compiled.network._compiled_call_impl is not None


def test_the_average_of_weights_follows_the_optimisers_steps(dataset: StudyDataset) -> None:
    engine = Engine(network_of(dataset))
    average = AveragedModel(engine.network, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    step = PretrainingStep(to_float, accumulation_steps=2, ema=average)
    followed: list[Tensor] = []
    for batch in batches_of(dataset, slice(0, 4)) * 6:
        engine.run(step, [batch])
        if not engine.state.accumulating:
            followed.append(engine.network.model.fusion.norm.weight.detach().clone())
    expected = followed[0]
    for value in followed[1:]:
        expected = 0.5 * expected + 0.5 * value
    torch.testing.assert_close(average.module.model.fusion.norm.weight, expected)


def test_blocks_that_are_computed_again_give_the_same_gradients(dataset: StudyDataset) -> None:
    (batch,) = batches_of(dataset, slice(0, 4))
    plain, checkpointed = network_of(dataset), network_of(dataset)
    checkpoint_activations(checkpointed, ["model.fusion.layers.*"])
    calls: list[int] = []
    checkpointed.model.fusion.layers[0].linear1.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[index, union-attr]
    for network in (plain, checkpointed):
        network.train()(to_float(batch))["loss"].backward()
    assert len(calls) == 2
    for (name, one), (_, other) in zip(plain.named_parameters(), checkpointed.named_parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, msg=name)


def test_a_block_with_batch_normalisation_is_not_computed_twice(dataset: StudyDataset) -> None:
    network = make_network(len(dataset.entities), len(dataset.positions))
    with pytest.raises(ValueError, match="count every batch twice"):
        checkpoint_activations(network, ["model.image_encoder"])
    with pytest.raises(ValueError, match=r"no module is named like model\.image_encodr"):
        checkpoint_activations(network, ["model.image_encodr"])


# -- from the store to the device ---------------------------------------------------------------------


def test_images_kept_on_the_device_are_those_of_the_memory_map(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    mapped, kept = StudyDataset(store), StudyDataset(store)
    transform = images_from("device", kept, to_float, CPU)
    assert isinstance(transform, DeviceImages)
    assert transform.images.dtype == torch.uint8
    for one, other in zip(study_loader(mapped, 4, shuffle=True), study_loader(kept, 4, shuffle=True), strict=True):
        assert "image" not in other
        assert torch.equal(transform(other)["image"], to_float(one)["image"])


def test_images_that_do_not_fit_are_refused_before_they_are_read(
    dataset: StudyDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medvlp_toolkit.data.batches.device_images.free_memory", lambda device: 1000)
    with pytest.raises(ValueError, match="set images: memory_map"):
        images_from("device", dataset, to_float, CPU)
    assert dataset.reads_images
    assert images_from("memory_map", dataset, to_float, CPU) is to_float


def test_reports_are_cut_to_the_shortest_length_that_holds_them() -> None:
    mask = torch.zeros(2, 32, dtype=torch.int64)
    mask[0, :5], mask[1, :9] = 1, 1
    batch = {"attention_mask": mask, "input_ids": torch.arange(64).view(2, 32), "image": torch.zeros(2, 1, 4, 32)}
    cut = FixedLengths([16, 8])(batch)
    assert cut["input_ids"].shape == cut["attention_mask"].shape == (2, 16)
    assert torch.equal(cut["input_ids"], batch["input_ids"][:, :16])
    assert cut["image"].shape == batch["image"].shape
    assert FixedLengths([8])(batch)["input_ids"].shape == (2, 32)
    assert FixedLengths()(batch) is batch


# -- fine-tuning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_fine_tuning_accumulates_and_scales_as_pre_training_does(precision: Any) -> None:
    torch.manual_seed(0)
    engine = Engine(nn.Linear(4, 2))
    engine.loss_function = nn.BCEWithLogitsLoss()  # type: ignore[attr-defined]
    step = FinetuningStep(dict, precision=precision, accumulation_steps=2)
    batch = {"image": torch.randn(3, 4), "targets": torch.tensor([[0.0, 1.0]]).repeat(3, 1)}
    before = engine.network.weight.detach().clone()
    (first,) = engine.run(step, [batch], epoch_length=4)
    assert torch.equal(engine.network.weight, before)
    later = engine.run(step, [batch] * 7, epoch_length=4)
    assert float(later[-1]["loss"]) < float(first["loss"])
    assert step.scaler(CPU).is_enabled() == (precision == "fp16")
