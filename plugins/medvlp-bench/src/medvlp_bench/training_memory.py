"""Memory use of a long training run: over epochs, and for each additional process on one machine."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

_ENTITIES, _POSITIONS = 8, 8


def make_small_store(options: str) -> str:
    """Write a packed store of ``studies`` small random images with findings; ``options``: folder, studies, size.

    Written as `prepare` does, but straight from arrays: what is measured is training, and a hundred thousand reports
    would take longer to filter than to train on.
    """
    import hashlib

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from medvlp_toolkit.data.store.store import SCHEMA_VERSION
    from medvlp_toolkit.files import sha256_of

    given = json.loads(options)
    folder, studies, size = Path(given["folder"]), int(given["studies"]), int(given["size"])
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(studies, 1, size, size))
    for start in range(0, studies, 4096):
        stop = min(start + 4096, studies)
        images[start:stop] = rng.integers(0, 256, (stop - start, 1, size, size), dtype=np.uint8)
    images.flush()
    del images
    ids = [f"study-{number:07d}" for number in range(studies)]
    columns = {"study_id": ids, "image_id": ids, "patient_id": ids, "split": ["train"] * studies}
    pq.write_table(pa.table(columns), folder / "studies.parquet")
    entities, positions = (
        [f"{kind}{n}" for n in range(count)] for kind, count in (("e", _ENTITIES), ("p", _POSITIONS))
    )
    found = np.sort(rng.integers(0, studies, 4 * studies))
    rows = len(found)
    findings = {
        "study": found,
        "entity": np.array(entities)[rng.integers(0, _ENTITIES, rows)],
        "presence": np.array(["present", "absent"])[rng.integers(0, 2, rows)],
        "position": np.array(positions)[rng.integers(0, _POSITIONS, rows)],
    }
    pq.write_table(pa.table(findings), folder / "findings.parquet")
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(folder.iterdir())}
    meta = {
        "schema_version": SCHEMA_VERSION,
        "counts": {"images": studies, "studies": studies, "rows": {"findings": rows}},
        "files": files,
        "entities": entities,
        "positions": positions,
        "labels": [],
        "made_by": hashlib.sha256(options.encode()).hexdigest(),
    }
    (folder / "store.json").write_text(json.dumps(meta))
    return str(folder)


def train_epochs(options: str) -> dict[str, Any]:
    """Train a small model on the store and note the memory after every epoch; ``options``: store, epochs, batch_size.

    ``rank`` and ``ranks`` join a gloo group through the file ``rendezvous``.
    """
    import torch
    import torch.distributed as dist
    from ignite.engine import Events
    from monai.engines import SupervisedTrainer
    from torch import nn

    import medvlp_toolkit as mv
    from medvlp_toolkit.data.batches.augmentation import TrainingAugmentation
    from medvlp_toolkit.data.batches.dataset import StudyDataset, study_loader
    from medvlp_toolkit.engines.checkpointing import Checkpointing
    from medvlp_toolkit.engines.guards import NonFiniteGuard
    from medvlp_toolkit.engines.handlers import ProgressBar, Throughput
    from medvlp_toolkit.engines.parallel import replicate
    from medvlp_toolkit.engines.step import PretrainingStep
    from medvlp_toolkit.model.pretraining import PretrainingModel
    from medvlp_toolkit.model.vision_language import VisionLanguageModel

    given = json.loads(options)
    torch.set_num_threads(1)
    if given.get("ranks", 1) > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{given['rendezvous']}", rank=given["rank"], world_size=given["ranks"]
        )
    before = memory()
    torch.manual_seed(0)
    dataset = StudyDataset(given["store"])
    loader = study_loader(dataset, given["batch_size"], shuffle=True, drop_last=True)
    opened = memory()
    width = 8
    encoder = mv.encoders.resnet(depth=10, in_channels=1, last_stage=1, widths=[width], strides=[1])
    model = VisionLanguageModel(
        image_encoder=encoder,
        image_projection=nn.Linear(encoder.num_features, width),
        fusion=mv.fusion_modules.entity_query_decoder(width=width, layers=1, heads=1, feed_forward=8),
        entity_bank=torch.randn(_ENTITIES, width),
    )
    losses = {
        "existence": mv.pretext_losses.entity_existence(width=width),
        "position": mv.pretext_losses.entity_position(position_bank=torch.randn(_POSITIONS, width), width=width),
    }
    network: nn.Module = PretrainingModel(model, losses)
    if dist.is_initialized():
        network = replicate(network, torch.device("cpu"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    augmentation = TrainingAugmentation(0, mean=[0.5], std=[0.25])
    trainer = SupervisedTrainer(
        device=torch.device("cpu"), max_epochs=given["epochs"], train_data_loader=loader, network=network,
        optimizer=optimizer, loss_function=lambda output, target: output["loss"],
        iteration_update=PretrainingStep(augmentation), decollate=False,
        train_handlers=[Throughput(), ProgressBar(), NonFiniteGuard(every=50)],
    )  # fmt: skip
    noted: list[dict[str, float]] = []
    started = time.perf_counter()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: noted.append(memory()))
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: dataset.set_epoch(engine.state.epoch))
    state = {"model": network, "optimizer": optimizer, "trainer": trainer}
    Checkpointing(Path(given["folder"]) / "run", state).attach(trainer)
    trainer.run()
    if dist.is_initialized():
        dist.destroy_process_group()
    return {
        "before": before,
        "opened": opened,
        "epochs": noted,
        "seconds": time.perf_counter() - started,
        "studies": len(dataset),
    }


def memory() -> dict[str, float]:
    """This process's memory in MiB: ``own`` (private), ``shared`` pages of files, and ``proportional``."""
    import gc

    gc.collect()
    noted: dict[str, float] = {}
    for line in Path(f"/proc/{os.getpid()}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        noted[name] = float(value.split()[0]) / 1024 if value.strip().endswith("kB") else 0.0
    own = noted["Private_Clean"] + noted["Private_Dirty"]
    return {"own": noted["Anonymous"], "private": own, "proportional": noted["Pss"], "resident": noted["Rss"]}
