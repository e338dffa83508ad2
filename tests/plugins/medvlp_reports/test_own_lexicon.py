"""A lexicon of one's own in one file: synonyms, new entities, places, cues, and its mistakes."""

from __future__ import annotations

import copy
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from medvlp_reports.labels import load_scheme
from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lexicon import default_lexicon, read_lexicon
from medvlp_reports.rules import RuleFilter
from medvlp_toolkit.data.records import Report

OWN = """\
extends: default
source: our reading room
entities: [silicosis]
findings:
- concept: pleural_effusion          # known: only its new words
  phrases: [meniscus sign]
- concept: silicosis
  entity: silicosis
  anatomy: lung
  phrases: [silicosis, "(coal worker|miner) lung"]
  adjectives: [silicotic]
  refine: {hilum: eggshell_nodes}
ignore: [silicosis clinic]
irregular: {silicosis: [silicoses]}
anatomy:
  sides: {left: [sinistral]}
  organs:
    lung: {phrases: [pulmo]}
    ligament: {words: [other], phrases: [pulmonary ligament]}
cues:
  absent_before: [nary a]
  possible_before: {source: ours, phrases: [smells of]}
"""


D = "extends: default\n"
F = D + "findings:\n- "
BOMB = "a: &a [x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 100)}]\n" for old, new in ("ab", "bc", "cd"))


def write(folder: Path, content: str | dict[str, Any], name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def found(lexicon: Path | str, text: str) -> list[tuple[str, str | None, str, str | None]]:
    """(entity, concept, presence, position) of a text's findings."""
    rules = RuleFilter(lexicon=lexicon)
    return [(f.entity, f.concept_id, str(f.presence), f.position) for f in rules([Report("1", text)])[0]]


def test_a_synonym_means_what_its_concept_means(tmp_path: Path) -> None:
    path = write(tmp_path, OWN)
    assert found(path, "Left meniscus sign.") == found("default", "Left effusion.")
    assert found(path, "Small left effusion, no pneumothorax.") == found(
        "default", "Small left effusion, no pneumothorax."
    )


def test_a_new_entity_stands_behind_the_75_and_is_negated_and_placed_like_any(tmp_path: Path) -> None:
    path = write(tmp_path, OWN)
    assert RuleFilter(lexicon=path).entities == [*medklip_vocabulary().entities, "silicosis"]
    assert found(path, "No silicosis.") == [("silicosis", "silicosis", "absent", None)]
    assert found(path, "Miner lung in the left base.") == [("silicosis", "silicosis", "present", "left_lower_lung")]
    assert found(path, "Left silicoses.") == [("silicosis", "silicosis", "present", "left_lung_unspec")]
    assert found(path, "Silicotic hilum.") == [("silicosis", "eggshell_nodes", "present", "hilar_unspec")]
    assert found(path, "Seen in the silicosis clinic.") == []


def test_places_and_cues_are_added_too(tmp_path: Path) -> None:
    path = write(tmp_path, OWN)
    assert found(path, "Nary a pneumothorax.") == [("pneumothorax", "pneumothorax", "absent", None)]
    assert found(path, "Smells of pneumonia.") == [("pneumonia", "pneumonia", "uncertain", None)]
    assert found(path, "Opacity in the sinistral pulmo.") == [("opacity", "opacity", "present", "left_lung_unspec")]


def test_a_concept_may_become_an_entity_of_its_own(tmp_path: Path) -> None:
    """The 75 count granulomas among the tail, and a pericardial effusion is an effusion there."""
    own = {
        "extends": "default",
        "entities": ["granuloma", "pericardial effusion"],
        "findings": [
            {"concept": "granuloma", "entity": "granuloma"},
            {"concept": "pericardial_effusion", "entity": "pericardial effusion"},
        ],
    }
    path = write(tmp_path, own)
    assert found(path, "Calcified granuloma. Effusion. Pericardial effusion. Pericardial fluid.")[1:] == [
        ("granuloma", "granuloma", "present", None),
        ("effusion", "pleural_effusion", "present", None),
        ("pericardial effusion", "pericardial_effusion", "present", "heart_size"),
        ("pericardial effusion", "pericardial_effusion", "present", "heart_size"),
    ]
    assert ("tail_abnorm_obs", "granuloma") in {(f[0], f[1]) for f in found("default", "Granuloma.")}


def test_a_phrase_of_ones_own_outweighs_the_shipped_meaning(tmp_path: Path) -> None:
    shipped = found("default", "Dish.")
    assert [item[1] for item in shipped] == ["degenerative"]
    assert found(write(tmp_path, "extends: default\nignore: [dish]\n"), "Dish.") == []
    own = F + "{concept: mass, phrases: [mass effect]}\n"  # ignored by the shipped lexicon
    assert [item[1] for item in found(write(tmp_path, own), "Mass effect.")] == ["mass"]


def test_a_file_may_extend_another_file(tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    write(tmp_path / "group", OWN)
    path = write(
        tmp_path, "extends: group/mine.yaml\nfindings:\n- {concept: silicosis, phrases: [dusty lung]}\n", "b.yaml"
    )
    assert found(path, "Dusty lung. Meniscus sign.")[0][:3] == ("silicosis", "silicosis", "present")
    assert len(found(path, "Dusty lung. Meniscus sign. Edema.")) == 3


def test_without_extends_the_parts_given_replace_the_shipped_ones(tmp_path: Path) -> None:
    own = "findings:\n- {concept: unicorn, entity: device, kind: device, phrases: [unicorn]}\n"
    assert found(write(tmp_path, own), "No unicorn in the left lung. Effusion.") == [
        ("device", "unicorn", "absent", "left_lung_unspec")
    ]
    assert found(write(tmp_path, "cues: {absent_before: [nary a]}\n"), "No effusion.")[0][2] == "present"


def test_the_fingerprint_follows_the_file_and_the_lexicon_travels_to_other_processes(tmp_path: Path) -> None:
    mine, other = RuleFilter(lexicon=write(tmp_path, OWN)), RuleFilter(lexicon=write(tmp_path, "extends: default\n"))
    assert len({str(made.fingerprint) for made in (mine, other, RuleFilter())}) == 3
    report = Report("1", "Left silicosis.")
    assert pickle.loads(pickle.dumps(mine))([report]) == mine([report])


def test_a_concept_has_one_meaning_in_all_its_blocks_of_the_shipped_lexicon() -> None:
    """Blocks of one concept are merged: it is what lets a file of one's own change a concept."""
    assert default_lexicon().duplicates == []
    clear = found("default", "Clear of effusion. Clear lungs.")
    assert [item[:3] for item in clear] == [
        ("clear", "clear", "present"), ("effusion", "pleural_effusion", "absent"), ("clear", "clear_lung", "present"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", 1, "empty; expected a lexicon (say `extends: default` and what it adds)"),
        ("# nothing\n\n", 1, "empty; expected a lexicon"),
        ("- 1\n", 1, "a list where a lexicon"),
        ("text\n", 1, "text where a lexicon"),
        ("extends: defualt\n", 1, "`extends`: 'defualt' where default, german, spanish, concepts or an"),
        ("extends: nowhere.yaml\n", 1, "nowhere.yaml: no such file"),
        ("extends: mine.yaml\n", 1, "leads back to a file"),
        (D + "finding: []\n", 2, "unknown key 'finding'; did you mean 'findings'?"),
        (D + "zebra: []\n", 2, "unknown key 'zebra'; the keys here are extends, source, entities"),
        (F + "concept: edema\n  phrase: [x]\n", 4, "unknown key 'phrase'; did you mean"),
        (F + "{concept: edema, phrases: x}\n", 3, "`phrases`: 'x' where a list is expected"),
        (D + "findings: {a: 1}\n", 2, "`findings`: a mapping where a list is expected"),
        (D + "findings: [edema]\n", 2, "'edema' where a mapping is expected"),
        (F + "phrases: [wet lung]\n", 3, "`concept` is missing"),
        (F + "{concept: oedema, phrases: [x]}\n", 3, "new and has no `entity`"),
        (F + "{concept: a, entity: edma, phrases: [x]}\n", 3, "did you mean 'edema'?"),
        (F + "{concept: edema, anatomy: lnug}\n", 3, "organ 'lnug' "),
        (F + "{concept: edema, refine: {hart: x}}\n", 3, "organ 'hart'"),
        (F + "{concept: edema, kind: findng}\n", 3, "'findng' where 'finding'"),
        (F + "{concept: edema, phrases: [off]}\n", 3, "yes and no as truth values"),
        (F + "concept: edema\n  phrases:\n  - ok\n  - (wet lung\n", 6, "unbalanced '('"),
        (F + "{concept: edema, phrases: ['?']}\n", 3, "'?' follows nothing"),
        (F + "{concept: edema, phrases: [the]}\n", 3, "has no word that counts"),
        (F + f"{{concept: edema, phrases: ['{'(a|b) ' * 40}']}}\n", 3, "word sequences"),
        (F + f"{{concept: edema, phrases: ['{'a' * 3000}']}}\n", 3, "a phrase of 3,000"),
        (F + "{concept: edema, phrases: [a b]}\n- {concept: mass, phrases: [a b]}\n", 4,
         "'b' already has another meaning in line 3"),
        (F + f"{{concept: edema, phrases: ['{'(' * 1900}']}}\n", 3, "`phrases`: "),
        (D + "cues: {absent_befor: [nary]}\n", 2, "unknown kind 'absent_befor'; did you mean"),
        (D + "cues: {absent_before: {phrase: [nary]}}\n", 2, "unknown key 'phrase'"),
        (D + "cues: [nary]\n", 2, "`cues`: a list where a mapping is expected"),
        (D + "anatomy: {sides: {top: [up]}}\n", 2, "unknown side 'top'; there are left, right"),
        (D + "anatomy:\n  levels: {uper: [up]}\n", 3, "unknown level 'uper'; did you mean 'upper'?"),
        (D + "anatomy:\n  organs:\n    gill: {phrases: [gill]}\n", 2, "organ 'gill'"),
        (D + "entities: silicosis\n", 2, "`entities`: 'silicosis' where a list is expected"),
        (D + "entities: ['']\n", 2, "`entities`: '' where text is expected"),
        (D + "entities: [3]\n", 2, "`entities`: 3 where text is expected"),
        (D + "irregular: {edema: [1]}\n", 2, "`edema`: 1 where text is expected"),
        (D + "extends: default\n", 2, "'extends' is given twice (also in line 1)"),
        (D + "findings: [\n", 3, "not readable as YAML"),
        (D + "\tfindings: []\n", 2, "not readable as YAML"),
        ("extends: !!python/object:os.system x\n", 1, "not readable as YAML (could not determine a constructor"),
        (D + "? [a]\n: b\n", 2, "a key that is no text"),
        (D + "1: b\n", 2, "unknown key 1"),
        (BOMB, 0, "expands to more than 500,000 values"),
        ("[" * 5000, 0, "not readable as YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_file_and_line(tmp_path: Path, content: str, line: int, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ValueError) as caught:
        read_lexicon(path)
    told = str(caught.value)
    assert told.startswith(f"{path}, line {line}: " if line else str(path))
    assert message in told
    assert "\n" not in told


def test_a_lexicon_that_is_neither_a_name_nor_a_lexicon_is_refused() -> None:
    with pytest.raises(ValueError, match="lexicon: 3 where the name of a file is expected"):
        RuleFilter(lexicon=3)  # type: ignore[arg-type]


def test_the_first_of_several_mistakes_is_shown_and_the_others_counted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mine\.yaml, line 2: .*\(and 2 more\)$"):
        read_lexicon(write(tmp_path, "extends: default\nentities: [1]\nignore: [2, 3]\n"))


def test_a_file_that_is_no_text_or_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"extends: \xff")
    with pytest.raises(ValueError, match=r"mine\.yaml: not UTF-8 text"):
        read_lexicon(tmp_path / "mine.yaml")
    with pytest.raises(ValueError, match="is a folder"):
        read_lexicon(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.yaml: no such file; expected a lexicon"):
        read_lexicon(tmp_path / "none.yaml")


def test_a_damaged_section_of_a_whole_findings_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "source: me\npleura:\n  source: me\n  blocks:\n    x: [{concept: a}]\n", "findings.yaml")
    for read in (read_lexicon, lambda file: read_lexicon(findings=file)):
        with pytest.raises(ValueError, match=r"findings\.yaml, line 4: `blocks`: a mapping where a list is expected"):
            read(path)


def places_in(content: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every part of nested lists and mappings."""
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, part in parts for place in ((*here, key), *places_in(part, (*here, key)))]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_part_is_replaced_by_it_is_read_or_one_line(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    whole = yaml.safe_load(OWN)
    scheme = {"extends": "nih14", "certainty": {"likely": 1}, "omit": ["Hernia"], "no_finding": {"label": "Mass"},
              "labels": {"Scar": {"present": ["scar"], "certainty": {"stated": 1}}}}  # fmt: skip
    values = [None, True, 0, 1.5, "", "x", "(a", [], {}, [None], [[1]], {"a": 1}, {1: 2}, "2020-01-01"]
    told = []
    for _ in range(60):
        content = copy.deepcopy(chance.choice([whole, scheme]))
        *above, last = chance.choice(places_in(content))
        part = content
        for key in above:
            part = part[key]
        part[last] = chance.choice(values)
        path = write(tmp_path, content)
        try:
            load_scheme(path) if content.get("extends") == "nih14" else RuleFilter(lexicon=path)
        except (ValueError, FileNotFoundError) as error:
            told.append((str(path), str(error)))
    assert len(told) > 20
    assert [error for path, error in told if not error.startswith(path) or "\n" in error] == []
