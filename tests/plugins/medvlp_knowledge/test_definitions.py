"""Reading files of descriptions, and what their errors say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medvlp_knowledge.definitions import Definitions
from medvlp_toolkit.data.records import Concept


def write(folder: Path, text: str, name: str = "own.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


PLAIN = "effusion: Fluid beside the lung.\nedema: Fluid in the lung.\nmass: A large lesion.\n"


def test_plain_mapping_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    source = Definitions(path=write(tmp_path, PLAIN))
    assert source.ids == ("effusion", "edema", "mass")
    assert source.descriptions() == ["Fluid beside the lung.", "Fluid in the lung.", "A large lesion."]
    assert source.concepts[0] == Concept("effusion", "effusion", (), "Fluid beside the lung.", "finding")
    assert list(source.triples) == []


def test_json_mapping_reads_like_yaml(tmp_path: Path) -> None:
    file = write(tmp_path, json.dumps({"b": "Second letter.", "a": "First letter."}), "own.json")
    assert Definitions(path=str(file)).ids == ("b", "a")


def test_list_of_entries_carries_names_synonyms_kind_and_source(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
- id: effusion
  name: pleural effusion
  synonyms: [pleural fluid, hydrothorax]
  definition: >-
    Fluid beside
    the lung.
  source: A textbook
  kind: disease
- {id: edema, definition: Fluid in the lung.}
""",
    )
    source = Definitions(path=file, kind="sign")
    assert source.concepts[0] == Concept(
        "effusion", "pleural effusion", ("pleural fluid", "hydrothorax"), "Fluid beside the lung.", "disease"
    )
    assert source.concepts[1] == Concept("edema", "edema", (), "Fluid in the lung.", "sign")
    assert source.sources == {"effusion": "A textbook", "edema": ""}


def test_entries_share_the_kind_and_the_sources_of_their_document(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
kind: anatomy
sources: {book: The Book of Hearts}
entries:
  heart: {definition: A pump., source: book}
  lung: {definition: A sponge., source: [book, HP:1], kind: organ}
""",
    )
    source = Definitions(path=file)
    assert [c.kind for c in source.concepts] == ["anatomy", "organ"]
    assert source.sources == {"heart": "The Book of Hearts", "lung": "The Book of Hearts; HP:1"}


def test_an_entity_may_be_called_entries(tmp_path: Path) -> None:
    assert Definitions(path=write(tmp_path, "entries: Ways in.\nexits: Ways out.\n")).ids == ("entries", "exits")


def test_template_fills_id_name_and_definition(tmp_path: Path) -> None:
    source = Definitions(path=write(tmp_path, "- {id: left_hilar, name: left hilum, definition: A root.}"))
    assert source.descriptions("It is located at {id}") == ["It is located at left_hilar"]
    assert source.descriptions("{name}: {definition} {{x}}") == ["left hilum: A root. {x}"]


@pytest.mark.parametrize("template", ["{text}", "{definition.x}", "no field", "{0}", "{definition"])
def test_wrong_templates_are_refused(tmp_path: Path, template: str) -> None:
    with pytest.raises(ValueError, match="template"):
        Definitions(path=write(tmp_path, PLAIN)).descriptions(template)


def test_include_and_exclude_keep_the_files_order_and_subset_gives_its_own(tmp_path: Path) -> None:
    file = write(tmp_path, PLAIN)
    assert Definitions(path=file, include=["mass", "effusion"]).ids == ("effusion", "mass")
    assert Definitions(path=file, exclude=["effusion"]).ids == ("edema", "mass")
    assert Definitions(path=file, subset=["mass", "effusion"]).ids == ("mass", "effusion")


@pytest.mark.parametrize("option", ["include", "exclude", "subset"])
def test_unknown_ids_are_refused_with_the_nearest(tmp_path: Path, option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} names the unknown id 'efusion'; did you mean 'effusion'"):
        Definitions(path=write(tmp_path, PLAIN), **{option: ["efusion"]})


def test_contradictory_selections_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, PLAIN)
    with pytest.raises(ValueError, match="without include and exclude"):
        Definitions(path=file, include=["mass"], subset=["mass"])
    with pytest.raises(ValueError, match="'mass' twice"):
        Definitions(path=file, subset=["mass", "mass"])
    with pytest.raises(ValueError, match="no definition is left"):
        Definitions(path=file, exclude=["effusion", "edema", "mass"])


def test_files_can_be_joined_unless_they_share_an_id(tmp_path: Path) -> None:
    first, second = write(tmp_path, PLAIN), write(tmp_path, "nodule: A small lesion.", "second.yaml")
    assert Definitions(path=[first, second]).ids == ("effusion", "edema", "mass", "nodule")
    with pytest.raises(ValueError, match="'effusion' is in both"):
        Definitions(path=[first, write(tmp_path, PLAIN, "third.yml")])
    with pytest.raises(ValueError, match="empty list"):
        Definitions(path=[])


def test_ids_can_be_taken_by_position_from_another_file(tmp_path: Path) -> None:
    misspelt = write(
        tmp_path, json.dumps({"efusion": "Own text 1.", "oedma": "Own text 2.", "m": "Own text 3."}), "x.json"
    )
    source = Definitions(path=misspelt, ids_from=write(tmp_path, PLAIN))
    assert source.ids == ("effusion", "edema", "mass")
    assert source.descriptions() == ["Own text 1.", "Own text 2.", "Own text 3."]
    with pytest.raises(ValueError, match="75 entries, path has 3"):
        Definitions(path=misspelt, ids_from="chest_entities")


def test_mirror_outside_the_ids_kept_is_none(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "- {id: l, definition: Left., side: left, mirror: r}\n"
        "- {id: r, definition: Right., side: right, mirror: l}\n"
        "- {id: m, definition: Middle., side: none, mirror: m}\n"
        "- {id: x, definition: A thing.}\n",
    )
    assert Definitions(path=file).mirrors == {"l": "r", "r": "l", "m": "m"}
    assert Definitions(path=file).sides == {"l": "left", "r": "right", "m": "none"}
    assert Definitions(path=file, exclude=["r"]).mirrors == {"l": None, "m": "m"}


MALFORMED = {
    "duplicate id in a list": ("- {id: a, definition: One.}\n- {id: a, definition: Two.}", "id 'a' occurs twice"),
    "duplicate key": ("a: One.\nb: Two.\na: Three.", "line 3: not valid YAML: 'a' occurs twice"),
    "empty definition": ("a: One.\nb: ''", "entry 'b': empty definition"),
    "blank definition": ("- {id: a, definition: '  '}", r"entry 1 \('a'\): empty definition"),
    "missing definition": ("- {id: a, name: A}", r"entry 1 \('a'\): empty definition"),
    "missing id": ("- {definition: One.}", "entry 1: no 'id'"),
    "no value": ("a:\n", "entry 'a': expected a description .* found nothing"),
    "misspelt field": ("- {id: a, defintion: One.}", "unknown field 'defintion'; did you mean 'definition'"),
    "id read as a boolean": ("no: One.", "entry 'False': the id must be text, found False; put it in quotes"),
    "id read as a number": ("- {id: 7, definition: One.}", "entry 1: 'id' must be text, found 7"),
    "definition that is a number": ("a: 7", "entry 'a': expected a description .* found 7"),
    "synonyms that are numbers": ("- {id: a, definition: One., synonyms: [1]}", "'synonyms' must be text or a list"),
    "contradictory id": ("a: {id: b, definition: One.}", "entry 'a': its field 'id' says 'b'"),
    "broken YAML": ("a: One.\nb: [", "line 2: not valid YAML"),
    "a tag": ("a: !!python/object:os.system One.", "line 1: not valid YAML"),
    "a bare text": ("just words", "expected a mapping .* found a str"),
    "nothing": ("", "found nothing"),
    "an empty list": ("[]", "no entries"),
    "side without mirror": ("- {id: a, definition: One., side: left}", "'side' and 'mirror' are given together"),
    "unknown side": ("- {id: a, definition: One., side: up, mirror: null}", "side 'up' is not one of"),
    "mirror that is no id": ("- {id: a, definition: One., side: left, mirror: b}", "mirror 'b' is not an id"),
    "mirror that does not return": (
        "- {id: a, definition: One., side: left, mirror: b}\n- {id: b, definition: Two., side: right, mirror: null}",
        "entry 'a' .*a pair names each other",
    ),
    "mirror of the same side": (
        "- {id: a, definition: One., side: left, mirror: b}\n- {id: b, definition: Two., side: left, mirror: a}",
        "opposite sides",
    ),
    "sources that are a list": ("sources: [a]\nentries: {a: One.}", "'sources' must be a mapping"),
    "unknown field of the document": ("entries: {a: One.}\nkinds: x", "unknown field 'kinds'; did you mean 'kind'"),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_files_are_refused_with_file_and_entry(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as raised:
        Definitions(path=file)
    assert str(file) in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"a": "One.", "a": "Two."}', "'a' occurs twice"), ('{"a": "One.",\n"b" 2}', "line 2: not valid JSON")],
)
def test_malformed_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Definitions(path=write(tmp_path, text, "own.json"))


def test_missing_files_and_unknown_names_are_distinguished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no definitions named 'chest_entitys': did you mean 'chest_entities'"):
        Definitions(path="chest_entitys")
    with pytest.raises(FileNotFoundError, match=r"no file of definitions at 'own\.yaml'"):
        Definitions(path="own.yaml")
    with pytest.raises(ValueError, match="is a folder"):
        Definitions(path=tmp_path)
    with pytest.raises(ValueError, match=r"expected a file ending in .yaml"):
        Definitions(path=write(tmp_path, PLAIN, "own.txt"))


def test_relative_paths_start_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, PLAIN, "chest_entities.yaml")
    monkeypatch.chdir(tmp_path)
    assert len(Definitions(path="chest_entities.yaml")) == 3
    assert len(Definitions(path="chest_entities")) == 75


def test_a_file_that_is_not_utf8_is_refused_and_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_bytes("oedème: Un excès.".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        Definitions(path=file)
    file.write_bytes("a: One.".encode("utf-8-sig"))
    assert Definitions(path=file).ids == ("a",)


def test_reading_definitions_loads_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from medvlp_knowledge.definitions import Definitions; Definitions(path='chest_entities');"
        "sys.exit(bool({'torch', 'pandas', 'numpy', 'networkx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
