"""Loading weights with transformers, which says what matters in one line instead of a report on every weight."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)

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


def _is_no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
