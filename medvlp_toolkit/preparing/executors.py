"""Where chunks are packed: in this process, in worker processes, or on a Dask cluster."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_connection
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.store.rejected import Reason, Rejected
from medvlp_toolkit.preparing.packing import ChunkPacker, PackedChunk, unpack_rows, wider, write_arrays
from medvlp_toolkit.preparing.record_json import dump, load

Job = tuple[int, bytes]  # a chunk's number and its records


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Packing(ABC):
    """Packs chunks and writes their arrays into the files in ``folder``.

    ``pack`` may return the results in any order; chunk ``k`` starts at row ``k × chunk_size``.
    """

    def __init__(self, packer: ChunkPacker, folder: Path, chunk_size: int) -> None:
        self.packer, self.folder, self.chunk_size = packer, folder, chunk_size

    @abstractmethod
    def pack(self, jobs: Iterable[Job]) -> Iterator[tuple[int, PackedChunk]]: ...

    @abstractmethod
    def close(self) -> None:
        """Stop the workers, if any were started."""


class InProcess(Packing):
    """Packs in this process."""

    def pack(self, jobs: Iterable[Job]) -> Iterator[tuple[int, PackedChunk]]:
        for number, content in jobs:
            yield number, self.packer.write(self.folder, content, number * self.chunk_size)

    def close(self) -> None:
        pass


class Parallel(Packing):
    """Packs through futures, with a bounded number of chunks in flight.

    A worker that dies (a decoder that crashes on a damaged file) can lose the work of others too. The chunks in flight
    are then packed again one by one, and a chunk that kills its worker again is packed study by study: only a study
    that kills a worker twice is rejected.
    """

    broken: type[Exception] = BrokenProcessPool
    ahead: int

    @abstractmethod
    def submit(self, content: bytes, row: int | None) -> Future[PackedChunk]:
        """Begin packing; with ``row`` None the arrays are returned instead of written."""

    def restart(self) -> None:
        """Replace the workers after one of them died."""

    def pack(self, jobs: Iterable[Job]) -> Iterator[tuple[int, PackedChunk]]:
        waiting = iter(jobs)
        under_way: dict[Future[PackedChunk], Job] = {}
        exhausted = False
        while under_way or not exhausted:
            while not exhausted and len(under_way) < self.ahead:
                job = next(waiting, None)
                if job is None:
                    exhausted = True
                else:
                    under_way[self.begin(job)] = job
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                if future not in under_way:
                    continue
                try:
                    chunk = future.result()
                except self.broken:
                    again = sorted(under_way.values())
                    under_way.clear()
                    self.restart()
                    for number, content in again:
                        yield number, self.written(number, self.carefully(content))
                    break
                number, _ = under_way.pop(future)
                yield number, self.written(number, chunk)

    def begin(self, job: Job) -> Future[PackedChunk]:
        try:
            return self.submit(job[1], job[0] * self.chunk_size)
        except self.broken as error:  # a worker died since the last result; `pack` handles it
            future: Future[PackedChunk] = Future()
            future.set_exception(error)
            return future

    def written(self, number: int, chunk: PackedChunk) -> PackedChunk:
        """The chunk, with its arrays written to the files."""
        if chunk.arrays:
            write_arrays(self.folder, self.packer.array_specs(), chunk, number * self.chunk_size)
        return chunk

    def carefully(self, content: bytes) -> PackedChunk:
        """Pack a chunk that may kill its worker, with no other chunk in flight."""
        items = load(content)
        for _ in range(2 if len(items) == 1 else 1):
            try:
                return self.submit(content, None).result()
            except self.broken:
                self.restart()
        if len(items) == 1:
            return self.packer(dump([crashed(items[0])]))
        return joined([self.carefully(dump([item])) for item in items])


def crashed(item: Study | Rejected) -> Rejected:
    """The rejection of a study that killed its worker process."""
    if not isinstance(item, Study):
        return item
    path = "" if item.image is None else str(item.image)
    return Rejected(item.id, path, Reason.UNREADABLE_IMAGE, "reading it killed the worker process")


def joined(parts: Sequence[PackedChunk]) -> PackedChunk:
    """One chunk of several, in order."""
    rows = [row for part in parts for row in unpack_rows(part.body)]
    labels = dict.fromkeys(name for part in parts for name in part.columns["labels"])
    metadata: dict[str, str] = {}
    for part in parts:
        for name, kind in part.columns["metadata"].items():
            metadata[name] = wider(metadata.get(name), kind)
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
    return PackedChunk(
        count=len(rows),
        body=zlib.compress(json.dumps(rows, separators=(",", ":")).encode("ascii"), 1),
        columns={"labels": list(labels), "metadata": metadata},
        rejected=[item for part in parts for item in part.rejected],
        arrays=arrays,
        array_digests={name: xxhash.xxh3_128_hexdigest(array.data) for name, array in arrays.items()},
        tally=dict(sum((Counter(part.tally) for part in parts), Counter())),
    )


# State of a worker process, set once when it starts.
_packer: ChunkPacker | None = None
_folder: Path | None = None


def start_worker(packer: ChunkPacker, folder: Path) -> None:
    global _packer, _folder
    _packer, _folder = packer, folder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A worker waits on a pipe whose two ends it both has open, and so would outlive a killed parent.
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait_for_connection([sentinel]), os._exit(1)), daemon=True).start()


def work(content: bytes, row: int | None) -> PackedChunk:
    assert _packer is not None
    assert _folder is not None
    return _packer(content) if row is None else _packer.write(_folder, content, row)


class ProcessPool(Parallel):
    """Packs in worker processes, which write their arrays themselves."""

    def __init__(self, packer: ChunkPacker, folder: Path, chunk_size: int, workers: int) -> None:
        super().__init__(packer, folder, chunk_size)
        self.workers = workers
        self.ahead = 2 * workers + 2
        self.pool = self.start()

    def start(self) -> ProcessPoolExecutor:
        # Spawned, because forking a process with threads (torch, Arrow) can deadlock.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, context, initializer=start_worker, initargs=(self.packer, self.folder))

    def submit(self, content: bytes, row: int | None) -> Future[PackedChunk]:
        return self.pool.submit(work, content, row)

    def restart(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.pool = self.start()

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)


class DaskCluster(Parallel):
    """Packs on a running Dask cluster.

    Its workers must see the images under the same paths. Arrays are returned over the network: only this process needs
    access to the output folder.
    """

    def __init__(self, packer: ChunkPacker, folder: Path, chunk_size: int, address: str) -> None:
        super().__init__(packer, folder, chunk_size)
        try:
            from distributed import Client, KilledWorker
        except ImportError:
            raise ModuleNotFoundError(
                "scheduler needs dask.distributed; install it with `pip install 'medvlp-toolkit[dask]'`"
            ) from None
        try:
            self.client = Client(address, timeout=5, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"scheduler {address}: no Dask scheduler answers there ({type(error).__name__})") from None
        cores = sum(self.client.ncores().values())
        if not cores:
            self.client.close()
            raise ValueError(f"scheduler {address}: the cluster has no workers")
        self.broken = KilledWorker
        self.ahead = 2 * cores + 2
        self.remote_packer: Any = self.client.scatter(packer, broadcast=True)
        self.executor = self.client.get_executor(pure=False)

    def submit(self, content: bytes, row: int | None) -> Future[PackedChunk]:
        future: Future[PackedChunk] = self.executor.submit(call, self.remote_packer, content)
        return future

    def close(self) -> None:
        self.client.close()


def call(packer: ChunkPacker, content: bytes) -> PackedChunk:
    return packer(content)


def packing(
    packer: ChunkPacker, folder: Path, chunk_size: int, chunks: int, workers: int | None, scheduler: str | None
) -> Packing:
    """The executor for ``chunks`` chunks: ``workers`` None means all cores, 0 this process."""
    if scheduler is not None:
        return DaskCluster(packer, folder, chunk_size, scheduler)
    count = min(available_cores() if workers is None else workers, chunks)
    return ProcessPool(packer, folder, chunk_size, count) if count > 0 else InProcess(packer, folder, chunk_size)
