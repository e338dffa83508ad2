"""The checkpoint files of a run: names, order, and whether one is complete."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medvlp_toolkit.files import UNFINISHED, write_whole
from medvlp_toolkit.weights.description import FILE

_NAME = re.compile(r"checkpoint_epoch=(\d+)(?:_iteration=(\d+))?\.pt")


class BrokenCheckpointError(ValueError):
    """The file is not a usable checkpoint: it is truncated, or belongs to another model."""


@dataclass(frozen=True, order=True)
class Progress:
    """Progress of a training run: complete epochs, and iterations of the current epoch (0: none)."""

    epochs: int
    iterations: int = 0

    @property
    def file_name(self) -> str:
        """``checkpoint_epoch=3.pt`` after epoch 3, ``checkpoint_epoch=4_iteration=20.pt`` in the middle of epoch 4."""
        if not self.iterations:
            return f"checkpoint_epoch={self.epochs}.pt"
        return f"checkpoint_epoch={self.epochs + 1}_iteration={self.iterations}.pt"


def checkpoints_in(folder: str | Path) -> list[Path]:
    """The checkpoints of a folder, the most advanced first."""
    found = []
    for path in Path(folder).glob("checkpoint_epoch=*.pt"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            epoch, iteration = int(match.group(1)), match.group(2)
            found.append((Progress(epoch) if iteration is None else Progress(epoch - 1, int(iteration)), path))
    return [path for _, path in sorted(found, reverse=True)]


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OSError: when it cannot be written; the message gives the fix, and earlier checkpoints are unchanged.
    """
    try:
        write_whole(path, lambda file: torch.save(dict(state), file))
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise OSError(
            f"{path} could not be written ({_reason(error)}); the earlier checkpoints are intact. Free some space, "
            "then resume with resume.yaml"
        ) from error


def _reason(error: BaseException) -> str:
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
        link = link.__cause__ or link.__context__
    return str(error).splitlines()[0]


def read_checkpoint(path: Path, parts: Sequence[str], device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint without executing anything in it.

    Raises:
        BrokenCheckpointError: when the file is damaged or lacks some of ``parts``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise BrokenCheckpointError(f"{path}: {damaged} in it is damaged")
        state = torch.load(path, map_location=device, weights_only=True)
    except BrokenCheckpointError:
        raise
    except Exception as error:
        raise BrokenCheckpointError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): is it complete?"
        ) from error
    missing = [name for name in parts if not isinstance(state, Mapping) or name not in state]
    if missing:
        raise BrokenCheckpointError(f"{path} is of another training: it has no {', '.join(missing)}")
    return dict(state)


def remove_unfinished(folder: str | Path) -> None:
    """Delete the partial files of a run killed while saving."""
    for path in Path(folder).glob(f"*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def put_aside(folder: str | Path) -> Path | None:
    """Move an earlier run's checkpoints into ``previous/<number>``, where a new run neither loads nor replaces them.

    Returns:
        The folder they were moved to; None if there were none.
    """
    folder = Path(folder)
    old = [*checkpoints_in(folder), *(folder / name for name in ("best.pt", FILE) if (folder / name).is_file())]
    if not any(path.suffix == ".pt" for path in old):
        return None
    number = 1 + max((int(p.name) for p in (folder / "previous").glob("*") if p.name.isdigit()), default=0)
    aside = folder / "previous" / str(number)
    aside.mkdir(parents=True)
    for path in old:
        path.replace(aside / path.name)
    return aside
