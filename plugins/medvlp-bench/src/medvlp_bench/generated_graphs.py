"""Generates files in RadGraph's published format, to time their reader. The content is meaningless."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from medvlp_bench.generated_reports import FINDINGS, GRADES

ENTITIES = 25
_PER_SENTENCE = 5
_DIFFERENT = 5000
_ORGANS = ("lung", "lobe", "pleural", "heart", "base", "apex", "hilum", "mediastinum", "hemidiaphragm", "aorta", "rib")
_SIDES = ("left", "right", "bilateral", "upper", "lower", "mid")
_LABELS = ("OBS-DP", "OBS-DP", "OBS-DA", "OBS-U")


def write_graphs(path: Path, count: int, seed: int = 0) -> int:
    """Write ``count`` studies of 25 entities each as RadGraph's JSON; returns the file's bytes.

    A sentence has two observations located at an organ with two words that modify it. 5,000 studies differ in more than
    their id: drawing each would take longer than reading it.
    """
    rng = random.Random(seed)
    bodies = [json.dumps(_study(rng)) for _ in range(min(count, _DIFFERENT))]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            study = f"p{10 + number % 10}/p{10_000_000 + number // 3}/s{50_000_000 + number}.txt"
            file.write("{" if number == 0 else ", ")
            file.write(f"{json.dumps(study)}: {bodies[number % _DIFFERENT]}")
        file.write("}")
    return path.stat().st_size


def _study(rng: random.Random) -> dict[str, Any]:
    words: list[str] = []
    entities: dict[str, dict[str, Any]] = {}

    def add(tokens: str, label: str, *relations: tuple[str, str]) -> None:
        start = len(words)
        words.extend(tokens.split())
        entities[str(len(entities) + 1)] = {
            "tokens": tokens, "label": label, "start_ix": start, "end_ix": len(words) - 1,
            "relations": [list(relation) for relation in relations],
        }  # fmt: skip

    for sentence in range(ENTITIES // _PER_SENTENCE):
        organ = str(sentence * _PER_SENTENCE + 3)
        words.extend(("there", "is"))
        for _ in range(2):
            add(rng.choice(_SIDES), "ANAT-DP", ("modify", organ))
        add(rng.choice(_ORGANS), "ANAT-DP")
        words.append("with")
        add(rng.choice(FINDINGS), rng.choice(_LABELS), ("located_at", organ))
        words.append("and")
        add(f"{rng.choice(GRADES)} {rng.choice(FINDINGS)}", rng.choice(_LABELS), ("located_at", organ))
        words.append(".")
    return {"text": " ".join(words), "entities": entities, "data_source": "generated", "data_split": "train"}
