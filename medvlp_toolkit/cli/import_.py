"""``medvlp import``: converts a published checkpoint into a bundle's ``models/``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_(
    name: Annotated[str, typer.Argument(help="A checkpoint importer, see `medvlp plugins checkpoint_importers`.")],
    checkpoint: Annotated[Path, typer.Argument(help="The published file (.pt, .pth or .safetensors).")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Output folder, e.g. bundles/medklip/models.")],
    descriptions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Descriptions of the entities (.json or .yaml), in the order of the checkpoint's, such as those "
            "published with it. Default: our own.",
        ),
    ] = None,
    text_model: Annotated[
        str,
        typer.Option(
            metavar="NAME|FOLDER",
            help="The text model that the checkpoint was trained with; for KAD GanjinZero/UMLSBert_ENG if not given.",
        ),
    ] = "emilyalsentzer/Bio_ClinicalBERT",
    max_length: Annotated[
        int, typer.Option(min=2, help="Tokens per description: MedKLIP trained with 128 and evaluated with 64.")
    ] = 128,
    lower_case: Annotated[
        bool, typer.Option(help="Lower-case the descriptions before tokenising; MedKLIP does, its vocabulary is cased.")
    ] = True,
    trailing_separator: Annotated[
        bool, typer.Option(help="Keep the tokenizer's last special token; MedKLIP's tokenizer adds none.")
    ] = False,
) -> None:
    """Convert a published checkpoint for a bundle: weights for inference and a checkpoint to resume from.

    Nothing in the file is executed, and every entry of it is accounted for.
    """
    from medvlp_toolkit.weights.description import FILE as DESCRIPTION_FILE
    from medvlp_toolkit.weights.importing import (
        ENCODER_FILE,
        PRETRAINING_FILE,
        DescribedEntities,
        import_checkpoint,
        report_lines,
        takes_descriptions,
    )

    described = DescribedEntities(
        entities=descriptions or DescribedEntities.entities,
        text_model=text_model,
        lower_case=lower_case,
        max_length=max_length,
        trailing_separator=trailing_separator,
    )
    report = import_checkpoint(name, checkpoint, out, described)
    for line in report_lines(report):
        typer.echo(line)
    if descriptions is None and takes_descriptions(name):
        typer.echo(
            "descriptions: this toolkit's own. The published figures were obtained with the published texts, which "
            "carry no licence: bring them with --descriptions FILE to compare"
        )
    for file in ("model.pt", "model.safetensors", PRETRAINING_FILE, DESCRIPTION_FILE, ENCODER_FILE):
        if (out / file).is_file():
            typer.echo(f"written: {out / file}")
