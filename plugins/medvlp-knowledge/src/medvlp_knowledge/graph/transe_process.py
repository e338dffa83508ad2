"""The process that trains TransE: ``python -m medvlp_knowledge.graph.transe_process FOLDER``.

Reads ``triples.npy`` and ``task.json`` and writes ``embeddings.npy`` for
:class:`medvlp_knowledge.graph.transe.TransE`.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medvlp_toolkit.progress import Progress


def main(folder: Path) -> None:
    """Train on the given task."""
    task: dict[str, Any] = json.loads((folder / "task.json").read_text())
    embeddings = train(np.load(folder / "triples.npy", allow_pickle=False), task)
    np.save(folder / "embeddings.npy", embeddings)


def train(triples: NDArray[np.int64], task: dict[str, Any]) -> NDArray[np.float32]:
    """(E, 3) distinct triples and the fields of a ``TransE`` with ``entities``, ``relations`` and ``progress``."""
    logging.getLogger("pykeen").setLevel(logging.ERROR)  # the device used, for example
    from pykeen.models import TransE
    from pykeen.training import SLCWATrainingLoop, TrainingCallback
    from pykeen.triples import CoreTriplesFactory

    class Tick(TrainingCallback):  # type: ignore[misc]
        def __init__(self, bar: Progress) -> None:
            super().__init__()
            self.bar = bar

        def post_epoch(self, epoch: int, epoch_loss: float, **kwargs: object) -> None:
            self.bar.advance()

    factory = CoreTriplesFactory(torch.from_numpy(triples), task["entities"], task["relations"])
    batch = max(-(-len(triples) // task["batches_per_epoch"]), min(task["smallest_batch"], len(triples)))
    torch.manual_seed(task["seed"])
    model = TransE(
        triples_factory=factory,
        embedding_dim=task["dimension"],
        scoring_fct_norm=task["norm"],
        loss="marginranking",
        loss_kwargs={"margin": task["margin"]},
        random_seed=task["seed"],
    )
    loop = SLCWATrainingLoop(
        model=model,
        triples_factory=factory,
        optimizer=torch.optim.SGD(model.parameters(), lr=task["learning_rate"]),
        negative_sampler="bernoulli",
        negative_sampler_kwargs={"num_negs_per_pos": task["negatives"], "filtered": True},
    )
    # PyKEEN collects garbage after every epoch: of a small graph, looking through the imported modules takes far longer
    # than the epoch.
    gc.freeze()
    with Progress("embedding entities", task["epochs"], task["progress"]) as bar:
        loop.train(
            factory,
            num_epochs=task["epochs"],
            batch_size=batch,
            use_tqdm=False,
            callbacks=Tick(bar),
            pin_memory=False,
        )
    embeddings: NDArray[np.float32] = model.entity_representations[0](indices=None).detach().cpu().numpy()
    return embeddings.astype(np.float32)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
