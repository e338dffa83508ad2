"""A small training with everything a checkpoint must keep: dropout, batch normalisation, accumulation, a schedule."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

import medvlp_toolkit as mv
from medvlp_toolkit.data.batches.augmentation import EvaluationTransform
from medvlp_toolkit.data.batches.dataset import StudyDataset, study_loader
from medvlp_toolkit.engines.checkpointing import Checkpointing
from medvlp_toolkit.engines.guards import NonFiniteGuard, StoreGuard
from medvlp_toolkit.engines.parallel import replicate
from medvlp_toolkit.engines.random_states import RandomStates
from medvlp_toolkit.engines.ranks import rank, seed_rank
from medvlp_toolkit.engines.run_configuration import RunConfiguration
from medvlp_toolkit.engines.run_lock import lock_run
from medvlp_toolkit.engines.schedules import WarmupCosine
from medvlp_toolkit.engines.step import PretrainingStep
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel

WIDTH, TEXT_WIDTH, SIZE, STUDIES = 16, 12, 16, 22


class Encoder(nn.Module):
    """(B, 1, 16, 16) -> (B, 16, 10), normalised over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 10, kernel_size=4, stride=4)
        self.norm = nn.BatchNorm2d(10)

    def forward(self, image: Tensor) -> Tensor:
        tokens: Tensor = self.norm(self.embed(image)).flatten(2).transpose(1, 2)
        return tokens


def make_store(folder: Path, studies: int = STUDIES, size: int = SIZE) -> Path:
    from medvlp_bench.generated_images import write_store

    return write_store(folder, studies, size)


def make_network(entities: int, positions: int) -> PretrainingModel:
    torch.manual_seed(0)
    model = VisionLanguageModel(
        image_encoder=Encoder(),
        image_projection=nn.Linear(10, WIDTH),
        text_projection=nn.Linear(TEXT_WIDTH, WIDTH),
        fusion=mv.fusion_modules.entity_query_decoder(width=WIDTH, layers=1, heads=2, feed_forward=24, dropout=0.2),
        entity_bank=torch.randn(entities, TEXT_WIDTH),
    )
    bank = torch.randn(positions, TEXT_WIDTH)
    losses = {
        "existence": mv.pretext_losses.entity_existence(width=WIDTH),
        "position": mv.pretext_losses.entity_position(position_bank=bank, width=WIDTH),
    }
    return PretrainingModel(model, losses)


def make_trainer(store: Path, folder: Path, options: Mapping[str, Any]) -> Any:
    """A MONAI trainer that checkpoints into ``folder`` and writes each iteration's loss into ``losses-<rank>.txt``."""
    device = torch.device("cpu")
    dataset = StudyDataset(store)
    loader = study_loader(
        dataset, options.get("batch_size", 2), shuffle=True, drop_last=True, num_workers=options.get("num_workers", 0)
    )
    network: nn.Module = make_network(len(dataset.entities), len(dataset.positions))
    if dist.is_initialized():
        network = replicate(network, device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, fused=True)
    epochs = options.get("epochs", 2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, WarmupCosine(epochs * len(loader), 3))
    step = PretrainingStep(
        EvaluationTransform(0, mean=[0.5], std=[0.25]),
        precision=options.get("precision", "fp32"),
        clip_norm=1.0,
        accumulation_steps=options.get("accumulation_steps", 3),
    )
    trainer = SupervisedTrainer(
        device=device, max_epochs=epochs, train_data_loader=loader, network=network, optimizer=optimizer,
        loss_function=lambda output, target: output["loss"], iteration_update=step, decollate=False,
    )  # fmt: skip
    guard = NonFiniteGuard(every=50, output_dir=folder)
    stores = StoreGuard(dataset.store)
    for handler in (guard, stores):
        handler.attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: schedule.step())
    trainer.add_event_handler(Events.ITERATION_COMPLETED, _note_loss, folder / f"losses-{rank()}.txt")
    for event, handle in options.get("handlers", {}).items():
        trainer.add_event_handler(event, handle)
    state = {
        "configuration": RunConfiguration({"epochs": epochs, "batch_size": options.get("batch_size", 2)}),
        "store": stores, "model": network, "optimizer": optimizer, "lr_scheduler": schedule, "trainer": trainer,
        "step": step, "random": RandomStates(),
    }  # fmt: skip
    Checkpointing(
        folder, state, every=options.get("every", 4), keep=options.get("keep", 2),
        resume=options.get("resume", "auto"), guard=guard,
    ).attach(trainer)  # fmt: skip
    return trainer


def _note_loss(engine: Any, path: Path) -> None:
    with path.open("a") as file:  # on the disk at once: the process may be killed
        file.write(f"{engine.state.iteration} {float(engine.state.output['loss']).hex()}\n")


def losses_of(folder: Path, number: int = 0) -> dict[int, str]:
    """Iteration -> loss; of an iteration that was run twice, the later one."""
    return dict(_pair(line) for line in (folder / f"losses-{number}.txt").read_text().splitlines())


def _pair(line: str) -> tuple[int, str]:
    iteration, loss = line.split()
    return int(iteration), loss


# -- in processes of their own ----------------------------------------------------------------------


class At:
    """A handler that does something in one iteration of one rank."""

    def __init__(self, iteration: int, number: int, action: Callable[[Any], None]) -> None:
        self.iteration, self.number, self.action = iteration, number, action

    def __call__(self, engine: Any) -> None:
        if engine.state.iteration == self.iteration and rank() == self.number:
            self.action(engine)


def kill_itself(engine: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def terminate_itself(engine: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt_itself(engine: Any) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_itself_twice(engine: Any) -> None:
    interrupt_itself(engine)
    interrupt_itself(engine)


def fail(engine: Any) -> None:
    raise ValueError("this rank fails")


def spoil_loss(engine: Any) -> None:
    for parameter in engine.network.parameters():
        parameter.data.fill_(float("nan"))


def kill_worker(engine: Any) -> None:
    worker = next(iter(engine._dataloader_iter._workers))
    os.kill(worker.pid, signal.SIGKILL)


def _run(number: int, ranks: int, store: str, folder: str, options: dict[str, Any]) -> None:
    """What a process does; its own log and error go into ``log-<rank>.txt``."""
    import sys

    from medvlp_toolkit.errors import user_message

    torch.set_num_threads(1)
    Path(folder).mkdir(parents=True, exist_ok=True)
    log = Path(folder) / f"log-{number}.txt"
    faulthandler.enable(log.open("a"))
    logging.basicConfig(filename=log, level=logging.WARNING, format="%(message)s", force=True)
    try:
        for limit, value in options.get("limits", {}).items():
            import resource

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(limit, value)
        if ranks > 1:
            rendezvous = f"file://{folder}/rendezvous-{options['attempt']}"
            dist.init_process_group("gloo", init_method=rendezvous, rank=number, world_size=ranks)
        if number == 0:
            lock_run(folder)
        trainer = make_trainer(Path(store), Path(folder), options)
        seed_rank(0)
        trainer.run()
    except Exception as error:
        with log.open("a") as file:
            file.write(f"error: {user_message(error) or repr(error)}\n")
        sys.exit(1)
    if number == 0:
        network = trainer.network
        torch.save(getattr(network, "module", network).state_dict(), Path(folder) / "weights.pt")


def run_training(store: Path, folder: Path, ranks: int = 1, wait: bool = True, **options: Any) -> list[Any]:
    """Train in processes of their own; their exit codes, negative for a signal. Without ``wait`` the processes."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["monai.engines", "medvlp_toolkit.engines.checkpointing"])
    options["attempt"] = len(list(folder.glob("rendezvous-*"))) if folder.exists() else 0
    processes = [
        context.Process(target=_run, args=(number, ranks, str(store), str(folder), options)) for number in range(ranks)
    ]
    for process in processes:
        process.start()
    if not wait:
        return processes
    for process in processes:
        process.join(240)
        if process.is_alive():
            process.kill()
            process.join()
            raise AssertionError(f"a process hangs; {log_of(folder)}")
    return [process.exitcode for process in processes]


def log_of(folder: Path, number: int = 0) -> str:
    path = folder / f"log-{number}.txt"
    return path.read_text() if path.exists() else ""
