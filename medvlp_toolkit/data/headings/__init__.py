"""Headings that divide radiology reports into sections: one YAML file per language."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

_WORDS = {"type": "array", "items": {"type": "string", "minLength": 1}}
_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "language": {"type": "string"},
        "sections": {"type": "object", "additionalProperties": _WORDS},
        "unmistakable": _WORDS,
        "prefixes": _WORDS,
        "banners": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"report": _WORDS, "addendum": _WORDS, "wet_read": _WORDS},
        },
        "items": _WORDS,
        "title": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"core": _WORDS, "words": _WORDS, "not_first": _WORDS},
        },
    },
}

_SPACE = re.compile(r"\s+")
_TITLE_WORD = re.compile(r"[^\W\d_]+(?:[-.][^\W\d_]+)*|[\d_]+|&")
_SUFFIX = re.compile(r"\s*(?:\([^()]*\)|#?\s?\d{1,2})$")
_TIME = re.compile(r"\d{1,2}:\d{2}")
LONGEST_TITLE = 100  # characters


@dataclass(frozen=True)
class Headings:
    """The headings that divide reports into sections.

    ``names`` maps a heading (lower case) to its section, ``banners`` a line to the part that it opens (``report``,
    ``addendum``, ``wet_read``); ``items`` are labels of listed findings; an examination's title consists of
    ``title_words``, with at least one of ``title_core`` (found by ``core_word``) and none of ``not_first`` at its
    start. ``digest`` is a hash of all of these.
    """

    names: Mapping[str, str]
    unmistakable: frozenset[str]
    banners: Mapping[str, str]
    items: frozenset[str]
    title_core: frozenset[str]
    title_words: frozenset[str]
    not_first: frozenset[str]
    prefixes: frozenset[str]
    longest: int
    digest: str
    core_word: re.Pattern[str]

    def section(self, heading: str) -> str | None:
        """The section that a heading begins, or None for other text; also for "IMPRESSION (PRELIMINARY)", "ADDENDUM 2".

        One of ``prefixes`` may be followed by anything ("ADDENDUM BY …").
        """
        key = normalised(heading)
        name = self.names.get(key)
        if name is None and len(key) <= LONGEST_TITLE:
            name = self.names.get(_SUFFIX.sub("", key))
            prefix = next((prefix for prefix in self.prefixes if key.startswith(f"{prefix} ")), None)
            name = self.names[prefix] if name is None and prefix is not None else name
        return name

    def is_title(self, text: str) -> bool:
        """Whether a text is an examination's title: "CHEST, TWO VIEWS", "AP chest, 9:14 a.m."."""
        if len(text) > LONGEST_TITLE or self.core_word.search(text) is None:
            return False
        found = [word.lower() for word in _TITLE_WORD.findall(_TIME.sub("1", text))]
        words = [word for word in found if not (word[0].isdigit() or word[0] == "_")]
        return (
            any(word in self.title_core for word in words)
            and words[0] not in self.not_first
            and all(word in self.title_words or word in self.title_core for word in words)
        )


def normalised(heading: str) -> str:
    """A heading in lower case, with single spaces."""
    return _SPACE.sub(" ", heading.strip().lower())


@cache
def shipped_headings() -> Headings:
    """The shipped headings of all languages."""
    return _headings(_shipped())


def read_headings(*paths: str | Path) -> Headings:
    """The shipped headings and those of user files, which take precedence.

    Raises FileNotFoundError, or ValueError with the file and its error.
    """
    return _headings([*_shipped(), *map(_read, paths)])


def _shipped() -> list[Mapping[str, Any]]:
    folder = files("medvlp_toolkit").joinpath("data", "headings")
    found = sorted((item for item in folder.iterdir() if item.name.endswith(".yaml")), key=lambda item: item.name)
    return [yaml.safe_load(item.read_text(encoding="utf-8")) for item in found]


def _read(path: str | Path) -> Mapping[str, Any]:
    import jsonschema  # slow to import, and needed only for user files

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the file of headings does not exist")
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"{path}{where}: not readable as YAML") from None
    problem = next(iter(jsonschema.Draft202012Validator(_SCHEMA).iter_errors(table)), None)
    if problem is not None:
        where = ".".join(str(part) for part in problem.absolute_path) or "the file"
        raise ValueError(f"{path}: {where}: {problem.message}; expected headings as in medvlp_toolkit/data/headings")
    return table  # type: ignore[no-any-return]


def _headings(tables: Sequence[Mapping[str, Any]]) -> Headings:
    names: dict[str, str] = {}
    banners: dict[str, str] = {}
    words: dict[str, set[str]] = {
        key: set() for key in ("unmistakable", "prefixes", "items", "core", "words", "not_first")
    }
    for table in tables:
        for name, headings in table.get("sections", {}).items():
            names.update((normalised(heading), name) for heading in headings)
        for kind, lines in table.get("banners", {}).items():
            banners.update((normalised(line), kind) for line in lines)
        title = table.get("title", {})
        for key, found in words.items():
            found.update(map(normalised, (*title.get(key, ()), *table.get(key, ()))))
    content = json.dumps([names, banners, {key: sorted(found) for key, found in words.items()}], sort_keys=True)
    return Headings(
        names=names,
        unmistakable=frozenset(words["unmistakable"]),
        prefixes=frozenset(words["prefixes"] & set(names)),
        banners=banners,
        items=frozenset(words["items"]),
        title_core=frozenset(words["core"]),
        title_words=frozenset(words["words"]),
        not_first=frozenset(words["not_first"]),
        longest=max(map(len, [*names, *banners, *words["items"]])),
        digest=hashlib.sha256(content.encode()).hexdigest(),
        core_word=re.compile("|".join(map(re.escape, sorted(words["core"]))) or "(?!)", re.IGNORECASE),
    )
