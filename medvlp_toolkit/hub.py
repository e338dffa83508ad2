"""Pre-trained models by folder or hub name: which of the two a name is, and one line where it cannot be loaded.

A name that looks like a path never reaches the hub. Where the hub may not be asked or does not answer, what was
downloaded before is used, and anything else fails within seconds instead of after minutes of retries. Code that comes
with a model is never run (``trust_remote_code=False``).
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

Model = TypeVar("Model")

#: Seconds that the hub has to answer at all.
ANSWER_WITHIN = 5.0
#: Environment variables that forbid asking the hub: huggingface_hub's and transformers'.
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE = ("1", "ON", "YES", "TRUE")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_FILES = (".bin", ".json", ".pt", ".pth", ".safetensors", ".zip")


def is_path(name: str | Path) -> bool:
    """Whether a name stands for a folder or file: ``./x``, ``/x``, ``~/x``, ``C:\\x``, ``a/b/c``, or in a folder there.

    A hub name is ``model`` or ``owner/model``. One whose owner is a folder here (``models/x``) is a path, and so is
    whatever exists.
    """
    text = str(name)
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or "\\" in text or _DRIVE.match(text):
        return True
    parts = text.split("/")
    if len(parts) > 2 or not parts[-1] or text.lower().endswith(_FILES):
        return True
    return Path(text).exists() or (len(parts) == 2 and Path(parts[0]).is_dir())


def model_folder(name: str | Path, what: str = "model") -> Path | None:
    """The folder that a name stands for; None for a hub name.

    Args:
        what: it is, for messages: ``text model``.

    Raises:
        FileNotFoundError: when it is a path and there is no such folder.
    """
    if not is_path(name):
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        there = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(
            f"{what} '{name}' cannot be loaded: the folder {folder} {there}; give a folder with config.json, weights "
            "and tokenizer, or a hub name (owner/model)"
        )
    return folder


def why_offline() -> str:
    """Why the hub cannot be asked; empty when it answers. It is asked once in a process."""
    for variable in OFFLINE:
        if os.environ.get(variable, "").upper() in _TRUE:
            return f"{variable} is set"
    from huggingface_hub import constants

    return "" if _answers(constants.ENDPOINT) else f"{constants.ENDPOINT} did not answer within {ANSWER_WITHIN:g} s"


def is_downloaded(name: str) -> bool:
    """Whether the configuration or tokenizer of a hub name lies in the cache of this machine."""
    from huggingface_hub import try_to_load_from_cache

    return any(
        isinstance(try_to_load_from_cache(name, file), str)
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json")
    )


def load_pretrained(
    load: Callable[..., Model], name: str | Path, what: str, local_files_only: bool = False, **options: Any
) -> Model:
    """``load(name, ...)`` of a ``from_pretrained``, with one line for whatever is in its way.

    Args:
        load: takes the name, ``local_files_only`` and ``trust_remote_code``.
        name: hub name or folder.
        what: it is, for messages.
        local_files_only: never ask the hub.
        options: of ``load``.

    Raises:
        FileNotFoundError: when it is not there, with the folder as the alternative.
    """
    folder = model_folder(name, what)
    offline = "" if folder is not None or local_files_only else why_offline()
    if offline:
        logger.info("%s %s: %s; only what was downloaded before is used", what, name, offline)
    given = str(name) if folder is None else str(folder)
    local = local_files_only or folder is not None or bool(offline)
    try:
        return load(given, local_files_only=local, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(_message(what, name, folder, offline, local, error)) from error


def _message(what: str, name: str | Path, folder: Path | None, offline: str, local: bool, error: Exception) -> str:
    start = f"{what} '{name}' cannot be loaded: "
    cause = f"({type(error).__name__}: {(str(error).splitlines() or [''])[0]})"
    if folder is not None:
        return f"{start}the folder lacks some of config.json, weights and tokenizer. {cause}"
    fetch = f"on a machine that reaches the hub run `hf download {name} --local-dir FOLDER`, and give that folder here"
    if local:
        return f"{start}it was not downloaded before, and {offline or 'the hub is not to be asked'}; {fetch}"
    return f"{start}it is neither a folder nor a model of the hub that can be loaded. {cause}; or {fetch}"


@lru_cache(maxsize=4)
def _answers(endpoint: str) -> bool:
    """Whether there is any answer: looking a name up may take longer than any limit, and is left to itself."""
    answered = threading.Event()
    done = threading.Event()

    def ask() -> None:
        from huggingface_hub import get_session

        try:
            get_session().head(endpoint, timeout=ANSWER_WITHIN)
            answered.set()
        except Exception as error:  # whichever library huggingface_hub asks with
            logger.debug("%s: %s", endpoint, type(error).__name__)
        done.set()

    threading.Thread(target=ask, daemon=True).start()
    done.wait(ANSWER_WITHIN)
    return answered.is_set()
