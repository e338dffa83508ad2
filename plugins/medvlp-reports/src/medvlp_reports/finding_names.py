"""The names that people and labelling schemes give the entities of the lexicon."""

from __future__ import annotations

from medvlp_reports.labels import load_scheme, scheme_names
from medvlp_reports.lexicon import Lexicon, default_lexicon


def finding_names(lexicon: Lexicon | None = None) -> dict[str, str]:
    """Name -> entity: labels of the shipped schemes, the lexicon's concepts, and the entities themselves.

    A scheme's label of several entities stands for the one that its own name contains (``Lung Opacity``: opacity), else
    for the one that most of its concepts count as (``Infiltration``: infiltrate). A label without such an entity
    (``Support Devices``, ``No Finding``) is left out.

    Example::

        label_columns: $list(finding_names())
    """
    lexicon = lexicon or default_lexicon()
    names: dict[str, str] = {}
    for scheme in map(load_scheme, scheme_names()):
        for label in scheme.labels:
            concepts = [concept for concept, labels in scheme.present.items() if label in labels]
            entity = _entity(label, [lexicon.concepts[c] for c in concepts if c in lexicon.concepts])
            if entity is not None:
                names[label] = entity
    return names | lexicon.concepts | {entity: entity for entity in lexicon.entities}


def _entity(label: str, entities: list[str]) -> str | None:
    words = label.lower().replace("_", " ").split()
    named = [entity for entity in entities if entity in words]
    if named:
        return named[0]
    most = max(entities, key=entities.count, default=None)
    return most if most is not None and 2 * entities.count(most) > len(entities) else None
