"""``medvlp graph``: the knowledge graph of the entities named in a store's reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import medvlp_toolkit as mv
from medvlp_toolkit.cli.output import progress_console

#: The argument of each knowledge source that VALUE of NAME:VALUE sets.
_ARGUMENT = "path"


def graph(
    store: Annotated[Path, typer.Argument(help="A packed store prepared with an entity linker.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, graph.safetensors.")],
    knowledge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:PATH]",
            help="Knowledge source, repeatable: chest_lexicon, obo:hpo, umls:/data/META, triples:graph.tsv … "
            "Without it the chest lexicon and the Human Phenotype Ontology.",
        ),
    ] = None,
    threshold: Annotated[int, typer.Option(min=0, help="Keep entities mentioned more often than this.")] = 20,
    split: Annotated[list[str] | None, typer.Option(help="Count mentions of this split only, repeatable.")] = None,
    dimension: Annotated[int, typer.Option(min=1, help="Width of the embeddings.")] = 256,
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs of the embeddings.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same file.")] = 0,
) -> None:
    """Choose entities by frequency, take the triples among them, and embed the entities with TransE.

    Needs `pip install medvlp-toolkit[graph]`. Exit status: 0 written; 2 a mistake in the call, the store or the
    knowledge, such as no entity that is frequent enough.
    """
    with progress_console().status("reading knowledge"):
        from medvlp_knowledge.graph.build import BuildGraph
        from medvlp_knowledge.graph.transe import TransE
        from medvlp_toolkit.data.store.store import PackedStore

        opened = PackedStore.open(store)
        source = _knowledge(knowledge or ["chest_lexicon", "obo:hpo"])
    embedding = TransE(dimension=dimension, epochs=epochs, seed=seed)
    made = BuildGraph(opened, source, out, threshold, tuple(split or ()), embedding).run()
    typer.echo(f"{out}: {made.summary()}")


def _knowledge(given: list[str]) -> Any:
    sources = []
    for item in given:
        name, separator, path = item.partition(":")
        plugin = mv.knowledge_sources[name]
        sources.append(plugin(**{_ARGUMENT: path}) if separator else plugin())
    return sources[0] if len(sources) == 1 else mv.knowledge_sources.joined(sources=sources)
