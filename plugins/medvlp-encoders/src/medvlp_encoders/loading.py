"""Loading weights with transformers, which says what matters in one line instead of a report on every weight."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)

#: Entries of a configuration of transformers about its origin.
OF_A_FILE = ("architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype", "model_type")
#: Where transformers logs a table of the weights that a file has and the model lacks, as heads of pre-training.
_REPORTS = "transformers.modeling_utils"


def from_pretrained(model_class: Any, name: str, **options: Any) -> Any:
    """``model_class.from_pretrained``; weights that the file lacks are logged in one line.

    Weights that the model does not have, such as heads of pre-training, are left out without a word.
    """
    reports = logging.getLogger(_REPORTS)
    reports.addFilter(_is_no_report)
    try:
        model, found = model_class.from_pretrained(name, output_loading_info=True, **options)
    finally:
        reports.removeFilter(_is_no_report)
    missing = sorted(found["missing_keys"])
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        logger.warning("%s lacks weights of the model, which begin at random: %s%s", name, ", ".join(missing[:3]), more)
    return model


def without_pooler(auto_model: Any) -> Callable[..., nn.Module]:
    """Load without the pooling layer, which nothing here reads (an unread parameter stops DDP)."""

    def load(name: str, **options: Any) -> nn.Module:
        options["dtype"] = torch.float32
        try:
            model: nn.Module = from_pretrained(auto_model, name, add_pooling_layer=False, **options)
        except TypeError:  # architectures without a pooler do not know the argument
            model = from_pretrained(auto_model, name, **options)
        return model

    return load


def from_config(config: Any) -> nn.Module:
    """A model of a configuration of transformers, with initial weights and without the pooling layer."""
    from transformers import AutoModel

    try:
        model: nn.Module = AutoModel.from_config(config, add_pooling_layer=False)
    except TypeError:  # architectures without a pooler do not know the argument
        model = AutoModel.from_config(config)
    return model


def load_known(network: nn.Module, state: Mapping[str, Any], source: str, label: str) -> None:
    """Load what of a state dict the network has; heads and layers that it lacks are left out.

    Args:
        source, label: name the file and the network in messages.

    Raises:
        ValueError: lists what is missing or has another shape.
    """
    from medvlp_toolkit.weights.weights import mismatches

    expected = network.state_dict()
    known = {name: value for name, value in state.items() if name in expected}
    problems = mismatches(expected, known)
    if problems:
        raise ValueError(f"{len(problems)} entries of {source} do not fit {label}:\n" + "\n".join(problems))
    network.load_state_dict(known)


def _is_no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
