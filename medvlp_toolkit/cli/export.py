"""``medvlp export``: a trained bundle as a file that other programs run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvlp_toolkit.cli.output import print_json, progress_console
from medvlp_toolkit.cli.plugin_options import read_value, split_pairs


def export(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder of a trained bundle.")],
    formats: Annotated[
        list[str],
        typer.Option("--format", metavar="NAME", help="onnx, torchscript or safetensors; repeat for several."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the files and the model card.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The trained weights; default: the bundle's models/model.pt or .safetensors."
        ),
    ] = None,
    config: Annotated[
        list[str] | None, typer.Option("--config", metavar="FILE", help="Overlay for inference.yaml; repeat.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override an id of inference.yaml.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Compare on these images; default: generated ones.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Largest difference from the bundle.")] = 1e-4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Export a trained bundle as ONNX, TorchScript or safetensors, with a model card.

    Each file carries entity names, preprocessing and hashes, and is compared with the bundle on images first.

    Exit status: 0 written; 2 not: a bundle that cannot be exported, too large a difference, a mistake in the call.
    """
    if not bundle.is_dir():
        raise ValueError(f"{bundle} is not a folder; give the folder of a bundle, which holds configs/inference.yaml")
    pairs = {key: read_value(f"--set {key}", text) for key, text in split_pairs(settings or (), "--set").items()}
    with progress_console().status("loading the bundle, exporting and comparing"):
        from medvlp_toolkit.exporting import export_bundle

        done = export_bundle(
            bundle, formats, out, weights=weights, overlays=config or (), overrides=pairs, images=images,
            tolerance=tolerance,
        )  # fmt: skip
    if as_json:
        print_json(
            {
                "files": {name: str(path) for name, path in done.files.items()},
                "max_difference": done.differences,
                "images": done.images,
                "outputs": done.outputs,
                "no_attention": done.no_attention,
            }
        )
        return
    for name, path in done.files.items():
        found = ", ".join(f"{output} {value:.2g}" for output, value in done.differences[name].items())
        typer.echo(f"{name}: {path}, {path.stat().st_size / 2**20:.1f} MiB")
        typer.echo(f"  largest difference from the bundle on {done.images} images: {found}")
    typer.echo("outputs: " + ", ".join(f"{name} {shape}" for name, shape in done.outputs.items()))
    if done.no_attention:
        typer.echo(f"no attention: {done.no_attention}")
    typer.echo(f"model card: {done.folder / 'README.md'}")
