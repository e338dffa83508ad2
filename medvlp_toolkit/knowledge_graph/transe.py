"""Entity embeddings by translation: TransE (Bordes et al. 2013), trained by PyKEEN (Ali et al. 2021)."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.progress import Progress


@dataclass(frozen=True)
class TransE:
    """Embeds entities so that head + relation lies near tail: the defaults are those of ARL (Chen et al. 2022).

    Args:
        dimension: D.
        margin: by which a triple must be nearer than a corrupted one.
        norm: 1 or 2, of the distance.
        epochs, batches_per_epoch: length of the training. A batch has ``smallest_batch`` triples at least: a small
            graph takes fewer steps.
        negatives: corrupted triples per triple. Head or tail is replaced as often as the relation's cardinality
            suggests (Wang et al. 2014), and true triples are not taken for false.
        learning_rate: of plain gradient descent.
        seed: the same graph and seed give the same embeddings.
    """

    dimension: int = 256
    margin: float = 5.0
    norm: int = 1
    epochs: int = 1000
    batches_per_epoch: int = 100
    smallest_batch: int = 64
    negatives: int = 25
    learning_rate: float = 1.0
    seed: int = 0

    def fit(
        self, triples: NDArray[np.int64], entities: int, relations: int, progress: bool | None = None
    ) -> NDArray[np.float32]:
        """(E, 3) of head, relation, tail -> (entities, dimension), each of length 1.

        Args:
            progress: show a bar of epochs (None: if standard error is a terminal).

        Raises:
            ModuleNotFoundError: without PyKEEN.
        """
        try:
            with _quiet():
                from pykeen.models import TransE as Model
                from pykeen.training import SLCWATrainingLoop, TrainingCallback
                from pykeen.triples import CoreTriplesFactory
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"training entity embeddings needs PyKEEN ({error.name} is missing): pip install medvlp-toolkit[graph]"
            ) from None
        import torch

        class Tick(TrainingCallback):  # type: ignore[misc]
            def __init__(self, bar: Progress) -> None:
                super().__init__()
                self.bar = bar

            def post_epoch(self, epoch: int, epoch_loss: float, **kwargs: object) -> None:
                self.bar.advance()

        # Corruption by Bernoulli sampling and the filter of true triples read the factory, one row per triple.
        factory = CoreTriplesFactory(torch.from_numpy(np.unique(triples[:, :3], axis=0)), entities, relations)
        batch = max(-(-factory.num_triples // self.batches_per_epoch), min(self.smallest_batch, factory.num_triples))
        with _quiet(), torch.random.fork_rng(devices=[]), Progress("embedding entities", self.epochs, progress) as bar:
            torch.manual_seed(self.seed)
            model = Model(
                triples_factory=factory,
                embedding_dim=self.dimension,
                scoring_fct_norm=self.norm,
                loss="marginranking",
                loss_kwargs={"margin": self.margin},
                random_seed=self.seed,
            )
            loop = SLCWATrainingLoop(
                model=model,
                triples_factory=factory,
                optimizer=torch.optim.SGD(model.parameters(), lr=self.learning_rate),
                negative_sampler="bernoulli",
                negative_sampler_kwargs={"num_negs_per_pos": self.negatives, "filtered": True},
            )
            loop.train(
                factory, num_epochs=self.epochs, batch_size=batch, use_tqdm=False, callbacks=Tick(bar), pin_memory=False
            )
            embeddings: NDArray[np.float32] = model.entity_representations[0](indices=None).detach().cpu().numpy()
        return embeddings.astype(np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """PyKEEN's manners: it logs and warns of what the caller cannot change."""
    log = logging.getLogger("pykeen")
    level = log.level
    log.setLevel(logging.ERROR)
    gc.freeze()  # it also collects garbage after every epoch, and need not look through all that is here already
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        gc.unfreeze()
        log.setLevel(level)
