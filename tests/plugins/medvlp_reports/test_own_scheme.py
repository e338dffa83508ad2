"""A labelling scheme of one's own: what it extends, and its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvlp_reports.labels import label_reports, load_scheme
from medvlp_reports.rules import RuleFilter
from medvlp_toolkit.data.records import Report

LEXICON = """\
extends: default
entities: [silicosis]
findings:
- {concept: silicosis, entity: silicosis, anatomy: lung, phrases: [silicosis]}
"""

SCHEME = """\
extends: nih14
certainty: {likely: -1}
omit: [Hernia]
labels:
  Silicosis: {present: [silicosis], absent: [clear_lung]}
  Mass: {present: [mass]}
"""


def write(folder: Path, content: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_a_scheme_extends_another_by_labels_of_a_lexicon_of_ones_own(tmp_path: Path) -> None:
    rules = RuleFilter(lexicon=write(tmp_path, LEXICON, "lexicon.yaml"))
    scheme = load_scheme(write(tmp_path, SCHEME, "scheme.yaml"), rules.lexicon)
    assert scheme.labels == (*(label for label in load_scheme("nih14").labels if label != "Hernia"), "Silicosis")
    (row,) = label_reports([Report("1", "Silicosis. Probable edema. Mediastinal mass. Hernia.")], scheme, rules)
    assert {label: value for label, value in row.labels.items() if value is not None} == {"Silicosis": 1, "Edema": -1}
    (row,) = label_reports([Report("1", "Lungs are clear.")], scheme, rules)
    assert row.labels["Silicosis"] == 0


def test_a_scheme_may_extend_a_file_and_the_entities_of_a_lexicon(tmp_path: Path) -> None:
    rules = RuleFilter(lexicon=write(tmp_path, LEXICON, "lexicon.yaml"))
    write(tmp_path, SCHEME, "group.yaml")
    scheme = load_scheme(write(tmp_path, "extends: group.yaml\nomit: [Silicosis]\n"), rules.lexicon)
    assert "Silicosis" not in scheme.labels
    assert scheme.labels[-1] == "Pleural_Thickening"
    assert load_scheme("medklip75", rules.lexicon).labels == tuple(rules.entities)


def test_the_label_that_means_nothing_else_is_kept_or_left_out_with_the_others(tmp_path: Path) -> None:
    without = load_scheme(write(tmp_path, "extends: chexpert14\nomit: [Support Devices]\n"))
    assert (without.no_finding, without.apart_from) == ("No Finding", frozenset())
    assert load_scheme(write(tmp_path, "extends: chexpert14\nomit: [No Finding]\n")).no_finding is None


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", 1, "empty; expected a labelling scheme"),
        ("x: (a|b\n", 1, "unknown key 'x'"),
        ("source: me\nlabels:\n  x: (a|b\n", 3, "`x`: '(a|b' where a mapping is expected"),
        ("source: me\n", 1, "no `labels`; expected a labelling scheme"),
        ("extends: nih15\n", 1, "`extends`: 'nih15' where chexpert14, medklip75, nih14 or a .yaml file is expected"),
        ("extends: nowhere.yaml\n", 1, "nowhere.yaml: no such file"),
        ("extends: mine.yaml\nlabels: {A: {}}\n", 1, "leads back"),
        ("extends: nih14\nomit: [Hernai]\n", 2, "'Hernai' is no label of the extended scheme; did you mean 'Hernia'?"),
        ("omit: [Hernia]\nlabels: {A: {}}\n", 1, "it extends none"),
        ("extends: medklip75\nlabels: {A: {present: [scar]}}\n", 2, "no labels to change"),
        ("labels:\n  A:\n    present: scar\n", 3, "`present`: 'scar' where a list is expected"),
        ("labels:\n  A:\n    presnt: [scar]\n", 3, "unknown key 'presnt'; did you mean 'present'?"),
        ("labels:\n  A:\n    present:\n    - scar\n    - scra\n", 5, "concept 'scra' is none of the lexicon's"),
        ("labels: {A: {present: [scar], certainty: {sure: 1}}}\n", 1, "'sure' where 'stated', 'likely'"),
        ("labels: {A: {present: [scar], certainty: {stated: true}}}\n", 1, "`stated`: True where 1 (present)"),
        ("labels: {A: {present: [scar]}}\ncertainty: {stated: 2}\n", 2, "`stated`: 2 where 1 (present)"),
        ("labels: entites\n", 1, "'entites' where 'entities' is expected; did you mean 'entities'?"),
        ("no_finding: {apart_from: [A]}\nlabels: {A: {}}\n", 1, "`label` is missing"),
        ("labels: {A: {}}\nno_finding: {label: A, apart_from: [B]}\n", 2, "names 'B', which is none of the labels"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_scheme_is_one_line_with_file_and_line(
    tmp_path: Path, content: str, line: int, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ValueError) as caught:
        load_scheme(path)
    told = str(caught.value)
    assert told.startswith(f"{path}, line {line}: ")
    assert message in told
    assert "\n" not in told
