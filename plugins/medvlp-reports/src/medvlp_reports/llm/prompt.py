"""The prompt: rules, entities with their descriptions, worked examples, and the schema of the answer.

Examples are built from the knowledge source's names, so that they exist for any vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from medvlp_reports.llm.statements import UNSPECIFIED
from medvlp_toolkit.data.records import Concept, Presence

PROMPT_VERSION = 1
_NO_EXAMPLE = frozenset(["residual", "normal"])  # kinds of concept that no simple sentence can state

_RULES = """\
You read radiology reports and list what they state. Answer with one JSON object and nothing else:
{{"findings": [{{"quote": …, "entity": …, "presence": …, "position": …}}, …]}}

quote: the shortest run of words that makes the statement, copied from the report letter by letter.
entity: one name of the list of entities. Leave out what none of them names.
presence: "present" where the report states it or holds it to be likely; "absent" where it is denied or said to have \
resolved; "uncertain" where it is possible, suggested, or cannot be excluded.
position: one name of the list of positions, "{unspecified}" where the report gives none.

One item for every statement; one for each place where a finding has several. What is only history, the reason for the \
examination, or advice is no finding. Leave out what an ADDENDUM contradicts. An empty list is right where \
nothing is stated.

Entities:
{entities}

Positions: {positions}"""


def rules(entities: Sequence[Concept], positions: Sequence[str], description_words: int) -> str:
    """The system message; ``description_words`` of each description are shown."""
    lines = [f"- {concept.id}{_description(concept, description_words)}" for concept in entities]
    return _RULES.format(
        unspecified=UNSPECIFIED, entities="\n".join(lines), positions=", ".join([*_without(positions), UNSPECIFIED])
    )


def examples(entities: Sequence[Concept], positions: Sequence[Concept], count: int) -> list[dict[str, str]]:
    """``count`` short reports and the answers to them, as messages."""
    named = [concept for concept in entities if concept.kind not in _NO_EXAMPLE and concept.name]
    places = [place for place in positions if place.id not in (UNSPECIFIED, "other")]
    places = [place for place in places if "lung" in place.id or "lobe" in place.id] or places  # anything may lie there
    messages: list[dict[str, str]] = []
    for number in range(count if len(named) >= 3 else 0):
        # Names far apart in the list, different in each example, and the same in every run.
        seen, denied, possible = (named[(number * 3 + k * len(named) // 3) % len(named)] for k in range(3))
        place = places[(2 * number + 1) * len(places) // (2 * count)] if places else None
        where = f" at {place.name}" if place else ""
        statements = [
            (f"{seen.name}{where}", seen, Presence.PRESENT, place.id if place else UNSPECIFIED),
            (f"no {denied.name}", denied, Presence.ABSENT, UNSPECIFIED),
            (f"possible {possible.name}", possible, Presence.UNCERTAIN, UNSPECIFIED),
        ]
        text = f"There is {statements[0][0]}. There is {statements[1][0]}, and {statements[2][0]} is discussed."
        answer = [
            {"quote": quote, "entity": concept.id, "presence": str(presence), "position": position}
            for quote, concept, presence, position in statements
        ]
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": json.dumps({"findings": answer}, ensure_ascii=False)})
    return messages


def answer_schema(entities: Sequence[str], positions: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of an answer, limited to the features that constrained decoders of common servers support."""
    item = {
        "type": "object",
        "properties": {
            "quote": {"type": "string"},
            "entity": {"type": "string", "enum": list(entities)},
            "presence": {"type": "string", "enum": [str(presence) for presence in Presence]},
            "position": {"type": "string", "enum": [*_without(positions), UNSPECIFIED]},
        },
        "required": ["quote", "entity", "presence", "position"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"findings": {"type": "array", "items": item}},
        "required": ["findings"],
        "additionalProperties": False,
    }


def _without(positions: Sequence[str]) -> list[str]:
    return [position for position in positions if position != UNSPECIFIED]


def _description(concept: Concept, words: int) -> str:
    shown = concept.definition.split()
    if not words or not shown:
        return ""
    return f": {' '.join(shown[:words])}" + (" …" if len(shown) > words else "")
