"""Entity embeddings by translation: TransE (Bordes et al. 2013), trained by PyKEEN (Ali et al. 2021)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.knowledge_graph import GraphError


@dataclass(frozen=True)
class TransE:
    """Embeds entities so that head + relation is close to tail; the defaults are ARL's (Chen et al. 2022).

    Args:
        dimension: D.
        margin: by which a triple must be nearer than a corrupted one.
        norm: 1 or 2, of the distance.
        epochs, batches_per_epoch: length of the training. A batch has at least ``smallest_batch`` triples, so a small
            graph takes fewer steps.
        negatives: corrupted triples per triple. Head or tail is replaced with probabilities that depend on the
            relation's cardinality (Wang et al. 2014), and true triples are not used as negatives.
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

        Training runs in a separate process, because PyKEEN cannot be imported together with MONAI, whose learning-rate
        schedules have the same names as torch's (an error for PyKEEN's resolver).

        Args:
            progress: show a progress bar of epochs; None: only if standard error is a terminal.

        Raises:
            GraphError: without PyKEEN, or when training fails.
        """
        if find_spec("pykeen") is None:
            raise GraphError("training entity embeddings needs PyKEEN: pip install medvlp-toolkit[graph]")
        with tempfile.TemporaryDirectory() as folder:
            # Corruption and its filter read each triple once.
            np.save(Path(folder) / "triples.npy", np.unique(triples, axis=0))
            task = {**asdict(self), "entities": entities, "relations": relations, "progress": progress}
            (Path(folder) / "task.json").write_text(json.dumps(task))
            command = [sys.executable, "-W", "ignore", "-m", "medvlp_knowledge.graph.transe_process", folder]
            finished = subprocess.run(command, check=False)
            if finished.returncode:
                raise GraphError(
                    f"training the entity embeddings failed with status {finished.returncode}; its messages are above"
                )
            embeddings: NDArray[np.float32] = np.load(Path(folder) / "embeddings.npy", allow_pickle=False)
        return embeddings
