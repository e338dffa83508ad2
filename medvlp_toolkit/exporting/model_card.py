"""The model card of an export: what a person needs who has the files alone."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

_TEMPLATE = "model_card.md.j2"


def model_card(
    about: Mapping[str, Any], files: Mapping[str, Any], bundle: Mapping[str, Any], example: str | None
) -> str:
    """The card as Markdown.

    Args:
        about: the metadata of the files.
        files: format -> what ``export.json`` states of its file.
        bundle: the bundle's ``metadata.json``.
        example: file that runs the model, where there is one.
    """
    text = resources.files("medvlp_toolkit.exporting").joinpath("templates", _TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    entities = list(zip(about["entities"], about["entity_names"], strict=True))
    card = environment.from_string(text).render(
        about=about, files=files, bundle=bundle, example=example, entities=entities, steps=about["preprocessing"]
    )
    return card.rstrip() + "\n"
