"""The handlers that every training has: what each leaves, what goes when it is left out, what may be added."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from medvlp_toolkit.data import EvaluationTransform, StudyDataset, study_loader, training_loader
from medvlp_toolkit.engines import Evaluator, PretrainingStep, Trainer, TrainingHandlers
from medvlp_toolkit.evaluation import EntityAUC, ScoringStep
from medvlp_toolkit.model import from_pretraining_model
from medvlp_toolkit.weights import export_network
from medvlp_toolkit.weights.weights import read_weights
from tests.medvlp_toolkit.engines.training import make_network, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "store")


class Count:
    """A handler of one's own, with something to keep."""

    def __init__(self) -> None:
        self.iterations = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.iterations += 1

    def state_dict(self) -> dict[str, int]:
        return {"iterations": self.iterations}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.iterations = state["iterations"]


def train(
    store: Path, folder: Path, epochs: int = 1, metric: Any = None, handlers: tuple[Any, ...] = (), **options: Any
) -> Any:
    """A short training with the handlers; the trainer."""
    dataset = StudyDataset(store)
    network = make_network(len(dataset.entities), len(dataset.positions))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    transform = EvaluationTransform(0, mean=[0.5], std=[0.25])
    trainer = Trainer(
        network, max_epochs=epochs, train_data_loader=training_loader(dataset, 4), optimizer=optimizer,
        iteration_update=PretrainingStep(transform), train_handlers=list(handlers),
    )  # fmt: skip
    evaluator = Evaluator(
        from_pretraining_model(network), val_data_loader=study_loader(dataset, 4),
        iteration_update=ScoringStep(transform), key_val_metric={"entity_auc": metric or EntityAUC()},
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
    TrainingHandlers(folder, schedule, **options).attach(trainer, evaluator)
    trainer.run()
    return trainer


LEFT = {
    "tensorboard": "tensorboard",
    "training_note": "training.json",
    "best_checkpoint": "best.pt",
    "checkpointing": "checkpoint_epoch=1.pt",
}


def test_a_training_leaves_its_figures_its_checkpoints_and_its_best_weights(store: Path, tmp_path: Path) -> None:
    trainer = train(store, tmp_path, epochs=2)
    assert {"tensorboard", "training.json", "best.pt", "checkpoint_epoch=2.pt"} <= {p.name for p in tmp_path.iterdir()}
    assert json.loads((tmp_path / "training.json").read_text())["complete"]
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * 0.9**trainer.state.iteration)


@pytest.mark.parametrize("name", LEFT)
def test_each_can_be_left_out(name: str, store: Path, tmp_path: Path) -> None:
    train(store, tmp_path, without=[name])
    names = {path.name for path in tmp_path.iterdir()}
    assert LEFT[name] not in names
    assert set(LEFT.values()) - {LEFT[name]} <= names


def test_a_name_that_is_none_is_refused_with_all_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no handler is named tensorbord; there are progress, training_note, tensor"):
        TrainingHandlers(tmp_path, without=["tensorbord"])


def test_a_patience_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="patience is 0; expected 1 validation or more"):
        TrainingHandlers(tmp_path, patience=0)


def test_a_handler_of_ones_own_runs_and_is_kept(store: Path, tmp_path: Path) -> None:
    first = Count()
    trainer = train(store, tmp_path, handlers=(first,), state={"count": first})
    assert first.iterations == trainer.state.iteration
    resumed = Count()
    train(store, tmp_path, epochs=2, handlers=(resumed,), state={"count": resumed}, resume=True)
    assert resumed.iterations == 2 * first.iterations


class Told(EntityAUC):
    """A metric whose values are given."""

    def __init__(self, values: list[float]) -> None:
        self.values = iter(values)
        super().__init__()

    def compute(self) -> float:
        return next(self.values)


@pytest.mark.parametrize(("lower", "best"), [(False, 0.9), (True, 0.2)])
def test_the_better_of_the_key_metric_is_kept_and_ends_training(
    lower: bool, best: float, store: Path, tmp_path: Path
) -> None:
    values = [0.5, 0.9, 0.2, 0.3, 0.4, 0.5]
    trainer = train(store, tmp_path, 6, Told(values), lower_is_better=lower, patience=2, keep_checkpoints=9)
    state = torch.load(tmp_path / f"checkpoint_epoch={trainer.state.epoch}.pt", weights_only=True)
    assert state["best"] == {"score": best, "epoch": values.index(best) + 1}
    assert trainer.state.epoch == values.index(best) + 1 + 2
    then = torch.load(tmp_path / f"checkpoint_epoch={values.index(best) + 1}.pt", weights_only=True)["model"]
    assert all(torch.equal(value, then[name]) for name, value in read_weights(tmp_path / "best.pt").items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": Told([float("nan")] * 2)}, "entity_auc was not a number in any of 2 validations"),
        ({"val_interval": None}, "no validation was run"),
    ],
)
def test_where_no_validation_chooses_the_last_weights_are_the_best_and_that_is_said(
    options: dict[str, Any], said: str, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        train(store, tmp_path, 2, **options)
    (line,) = [record.message for record in caplog.records if "best.pt" in record.message]
    assert said in line
    assert f"{tmp_path / 'best.pt'} holds the weights of the last epoch" in line
    last = torch.load(tmp_path / "checkpoint_epoch=2.pt", weights_only=True)["model"]
    assert all(torch.equal(value, last[name]) for name, value in read_weights(tmp_path / "best.pt").items())


def test_one_number_among_the_validations_is_enough(store: Path, tmp_path: Path, caplog: Any) -> None:
    train(store, tmp_path, 2, Told([0.6, float("nan")]), keep_checkpoints=2)
    first = torch.load(tmp_path / "checkpoint_epoch=1.pt", weights_only=True)["model"]
    assert all(torch.equal(value, first[name]) for name, value in read_weights(tmp_path / "best.pt").items())
    assert not any("last epoch" in record.message for record in caplog.records)


def test_an_export_without_best_weights_says_so(store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = train(store, tmp_path, without=["best_checkpoint"])
    with caplog.at_level(logging.WARNING):
        export_network(lambda: from_pretraining_model(trainer.network), trainer.network, tmp_path)
    assert any("exporting the current weights" in record.message for record in caplog.records)
    exported = read_weights(tmp_path / "model.pt")
    assert torch.equal(exported["fusion.norm.weight"], trainer.network.model.fusion.norm.weight)
