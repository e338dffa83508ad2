"""MedKLIP's rules on RadGraph's JSON, against a plain reading of them study by study."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lemmas import lemmatize
from medvlp_reports.radgraph import RadGraphFilter
from medvlp_reports.radgraph_json import read_batches
from medvlp_toolkit.data.records import Finding, Presence, Report

Graphs = dict[str, Any]


def entity(tokens: str, label: str, start: int, *relations: tuple[str, str]) -> dict[str, Any]:
    return {
        "tokens": tokens, "label": label, "start_ix": start, "end_ix": start, "relations": [list(r) for r in relations]
    }  # fmt: skip


def write(folder: Path, graphs: Graphs) -> Path:
    path = folder / "graphs.json"
    path.write_text(json.dumps(graphs), encoding="utf-8")
    return path


LUNGS_AND_EFFUSION = {
    "p10/p10000032/s50414267.txt": {
        "text": "The lungs are clear . There is a small left pleural effusion . No pneumothorax . Possible edema .",
        "entities": {
            "1": entity("lungs", "ANAT-DP", 1),
            "2": entity("clear", "OBS-DP", 3, ("located_at", "1")),
            "3": entity("small", "OBS-DP", 8, ("modify", "6")),
            "4": entity("left", "ANAT-DP", 9, ("modify", "5")),
            "5": entity("pleural", "ANAT-DP", 10),
            "6": entity("effusion", "OBS-DP", 11, ("located_at", "5")),
            "7": entity("pneumothorax", "OBS-DA", 14),
            "8": entity("edema", "OBS-U", 17),
        },
    }
}


def test_observations_are_placed_at_the_landmark_of_their_anatomy(tmp_path: Path) -> None:
    graph_filter = RadGraphFilter(write(tmp_path, LUNGS_AND_EFFUSION))
    (findings,) = graph_filter([Report("s50414267", "")])
    assert set(findings) == {
        Finding("clear", Presence.PRESENT, "lung_volumes", concept_id="clear"),
        Finding("effusion", Presence.PRESENT, "left_pleural", concept_id="effusion"),
        Finding("pneumothorax", Presence.ABSENT, None, concept_id="pneumothorax"),
        Finding("edema", Presence.UNCERTAIN, None, concept_id="edema"),
    }


def test_no_place_is_none_as_in_every_filter_and_unspecified_only_in_medklips_matrix(tmp_path: Path) -> None:
    graph_filter = RadGraphFilter(write(tmp_path, LUNGS_AND_EFFUSION))
    assert "unspecified" not in {finding.position for finding in graph_filter([Report("s50414267", "")])[0]}
    row = graph_filter.statements().to_matrix()[0, graph_filter.positions.index("unspecified")]
    assert row[graph_filter.entities.index("pneumothorax")] == 0


@pytest.mark.parametrize(
    "report_id", ["p10/p10000032/s50414267.txt", "s50414267", "50414267", "files/p1/s50414267.txt"]
)
def test_a_report_is_found_by_path_or_bare_study_id(tmp_path: Path, report_id: str) -> None:
    assert RadGraphFilter(write(tmp_path, LUNGS_AND_EFFUSION))([Report(report_id, "")])[0]


def test_a_report_that_the_file_lacks_is_counted(tmp_path: Path) -> None:
    graph_filter = RadGraphFilter(write(tmp_path, LUNGS_AND_EFFUSION))
    assert graph_filter([Report("s1", ""), Report("s50414267", ""), Report("s2", "")])[0] == []
    assert graph_filter.missing == 2


def test_uncertain_observations_can_be_left_out_as_medklip_does(tmp_path: Path) -> None:
    graph_filter = RadGraphFilter(write(tmp_path, LUNGS_AND_EFFUSION), uncertain=False)
    assert "edema" not in {finding.entity for finding in graph_filter([Report("s50414267", "")])[0]}
    assert (graph_filter.statements().to_matrix()[:, :, graph_filter.entities.index("edema")] == -1).all()


def test_present_outweighs_absent_in_the_matrix(tmp_path: Path) -> None:
    graphs = {
        "s1": {
            "text": "No effusion . effusion .",
            "entities": {"1": entity("effusion", "OBS-DA", 1), "2": entity("effusions", "OBS-DP", 3)},
        }
    }
    graph_filter = RadGraphFilter(write(tmp_path, graphs))
    matrix = graph_filter.statements().to_matrix()
    assert matrix.shape == (1, 51, 75)
    assert matrix.dtype == np.int8
    assert matrix[0, graph_filter.positions.index("unspecified"), graph_filter.entities.index("effusion")] == 1
    assert (matrix != -1).sum() == 1


def test_words_are_counted_at_white_space(tmp_path: Path) -> None:
    """A tokenizer that splits "cannot" or quotes would put the observation into the wrong sentence."""
    graphs = {
        "s1": {
            "text": "``cannot'' can't cannot see . Left effusion .",
            "entities": {
                "1": entity("left", "ANAT-DP", 5),
                "2": entity("effusion", "OBS-DP", 6, ("located_at", "1")),
            },
        }
    }
    (findings,) = RadGraphFilter(write(tmp_path, graphs))([Report("s1", "")])
    assert [finding.position for finding in findings] == ["left_lung_unspec"]


def test_a_decimal_number_ends_no_sentence(tmp_path: Path) -> None:
    graphs = {
        "s1": {
            "text": "nodule of 1 . 5 cm in right apex .",
            "entities": {
                "1": entity("nodule", "OBS-DP", 0, ("located_at", "3")),
                "2": entity("right", "ANAT-DP", 7, ("modify", "3")),
                "3": entity("apex", "ANAT-DP", 8),
            },
        }
    }
    (findings,) = RadGraphFilter(write(tmp_path, graphs))([Report("s1", "")])
    assert [finding.position for finding in findings] == ["right_apical_lung"]


def test_labels_of_newer_radgraph_models_mean_the_same(tmp_path: Path) -> None:
    (study,) = LUNGS_AND_EFFUSION.values()
    newer = {
        "ANAT-DP": "Anatomy::definitely present",
        "OBS-DP": "Observation::definitely present",
        "OBS-DA": "Observation::definitely absent",
        "OBS-U": "Observation::uncertain",
    }
    entities = {key: {**item, "label": newer[item["label"]]} for key, item in study["entities"].items()}
    for number, family in enumerate(("Observation", "Anatomy")):
        for certainty in ("definitely present", "definitely absent", "uncertain"):
            entities[f"{family} {certainty}"] = entity("3 cm", f"{family}::measurement::{certainty}", number)
    graphs = {"old": study, "new": {**study, "entities": entities}}
    graph_filter = RadGraphFilter(write(tmp_path, graphs))
    old, new = graph_filter([Report("old", ""), Report("new", "")])
    assert new == old != []
    assert not graph_filter.take_tally()


XL = "Observation::definitely present"
XL_ANATOMY = "Anatomy::definitely present"
TUBE_ABOVE_CARINA = {
    "text": "ET tube 2 cm above aortic arch .",
    "entities": {
        "1": entity("tube", XL, 1, ("located_at", "2")),
        "2": entity("2 cm above", "Anatomy::measurement::definitely present", 2, ("modify", "4")),
        "3": entity("aortic", XL_ANATOMY, 5, ("modify", "4")),
        "4": entity("arch", XL_ANATOMY, 6),
    },
}


def test_a_distance_is_no_place_and_hands_on_what_it_is_measured_from(tmp_path: Path) -> None:
    (findings,) = RadGraphFilter(write(tmp_path, {"s1": TUBE_ABOVE_CARINA}))([Report("s1", "")])
    assert findings == [Finding("tube", Presence.PRESENT, "aorta", concept_id="tube")]


def test_a_measurement_that_leads_nowhere_leaves_its_observation_without_a_place(tmp_path: Path) -> None:
    graph = {
        "text": "tube 2 cm deep . carina .",
        "entities": {
            "1": entity("tube", XL, 0, ("located_at", "2")),
            "2": entity("2 cm deep", "Anatomy::measurement::uncertain", 1, ("modify", "2"), ("modify", "77")),
        },
    }
    (findings,) = RadGraphFilter(write(tmp_path, {"s1": graph}))([Report("s1", "")])
    assert findings == [Finding("tube", Presence.PRESENT, None, concept_id="tube")]


def test_a_phrase_that_the_newer_models_mark_counts_as_its_head_word(tmp_path: Path) -> None:
    phrases = {"et tube": "tube", "nodular opacities": "opacity", "not well seen": "tail_abnorm_obs"}
    graph = {
        "text": "et tube , nodular opacities , not well seen",
        "entities": {str(n): entity(tokens, XL, n) for n, tokens in enumerate(phrases)},
    }
    published = {"text": graph["text"], "entities": {"1": entity("et tube", "OBS-DP", 0)}}
    (newer,) = RadGraphFilter(write(tmp_path, {"s1": graph}))([Report("s1", "")])
    assert {finding.entity for finding in newer} == set(phrases.values())
    (old,) = RadGraphFilter(write(tmp_path, {"s1": published}))([Report("s1", "")])
    assert [finding.entity for finding in old] == ["tail_abnorm_obs"]  # as MedKLIP counts it


def test_an_unknown_label_is_counted_and_costs_its_entity_alone(tmp_path: Path) -> None:
    (study,) = LUNGS_AND_EFFUSION.values()
    entities = study["entities"] | {
        "9": entity("today", "Timing::definitely present", 2, ("located_at", "1")),
        "10": entity("edema", "OBS-XX", 17),
    }
    graphs = {"whole": study, "strange": {**study, "entities": entities}, "again": {**study, "entities": entities}}
    graph_filter = RadGraphFilter(write(tmp_path, graphs))
    whole, strange, _ = graph_filter([Report("whole", ""), Report("strange", ""), Report("nowhere", "")])
    assert strange == whole
    assert graph_filter.unknown_labels == {"Timing::definitely present": 2, "OBS-XX": 2}
    assert dict(graph_filter.take_tally()) == {
        "entities with an unknown label, left out: 'Timing::definitely present'": 2,
        "entities with an unknown label, left out: 'OBS-XX'": 2,
        "unknown to the filter": 1,
    }
    assert not graph_filter.take_tally()
    assert not pickle.loads(pickle.dumps(RadGraphFilter(tmp_path / "graphs.json"))).take_tally()


@pytest.mark.parametrize("forward", [True, False])
def test_a_finding_lies_where_what_suggests_it_lies(tmp_path: Path, forward: bool) -> None:
    """ "Opacity in the left base suggestive of pneumonia", "opacity suggestive of left basilar pneumonia"."""
    placed, other = (("opacity", 0), ("pneumonia", 7)) if forward else (("pneumonia", 7), ("opacity", 0))
    relations = {"opacity": [("suggestive_of", "pneumonia")], "pneumonia": [("suggestive_of", "edema")]}
    relations[placed[0]] = [*relations[placed[0]], ("located_at", "base")]
    graph = {
        "text": "opacity in left base is suggestive of pneumonia , thus edema .",
        "entities": {
            "left": entity("left", "ANAT-DP", 2, ("modify", "base")),
            "base": entity("base", "ANAT-DP", 3),
            placed[0]: entity(placed[0], "OBS-DP", placed[1], *relations[placed[0]]),
            other[0]: entity(other[0], "OBS-U", other[1], *relations[other[0]]),
            "edema": entity("edema", "OBS-U", 10),
        },
    }
    path = write(tmp_path, {"s1": graph})
    (findings,) = RadGraphFilter(path)([Report("s1", "")])
    assert {finding.entity: finding.position for finding in findings} == {
        "opacity": "left_lower_lung", "pneumonia": "left_lower_lung", "edema": "left_lower_lung",
    }  # fmt: skip
    (published,) = RadGraphFilter(path, suggestive_places=False)([Report("s1", "")])
    assert {finding.entity: finding.position for finding in published} == {
        placed[0]: "left_lower_lung", "edema": None,
    }  # fmt: skip


def test_what_only_suggests_something_without_a_place_is_kept(tmp_path: Path) -> None:
    graph = {
        "text": "heart and opacity suggestive of pneumonia .",
        "entities": {
            "1": entity("heart", "ANAT-DP", 0),
            "2": entity("opacity", "OBS-DP", 2, ("suggestive_of", "3")),
            "3": entity("pneumonia", "OBS-U", 5),
        },
    }
    (findings,) = RadGraphFilter(write(tmp_path, {"s1": graph}))([Report("s1", "")])
    assert {(finding.entity, finding.position) for finding in findings} == {("opacity", None), ("pneumonia", None)}


def test_a_filter_sent_to_another_process_does_not_read_the_file_again(tmp_path: Path) -> None:
    path = write(tmp_path, LUNGS_AND_EFFUSION)
    sent = pickle.dumps(RadGraphFilter(path))
    path.unlink()
    assert pickle.loads(sent)([Report("s50414267", "")])[0]


def test_the_fingerprint_follows_the_files_content(tmp_path: Path) -> None:
    first = RadGraphFilter(write(tmp_path, LUNGS_AND_EFFUSION)).fingerprint
    second = RadGraphFilter(write(tmp_path, {"s1": LUNGS_AND_EFFUSION["p10/p10000032/s50414267.txt"]})).fingerprint
    assert first != second


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no JSON object"),
        (b"[1, 2]", "no JSON object"),
        (b'{"s1": {"text": "a", "entities": {}}', "damaged or ends early"),
        (b'{"s1": {"text": "a", "enti', "damaged or ends early"),
        (b'{"s1": {"text": "a", "entities": {}} "s2": {}}', "damaged or ends early"),
        (b'{"s1": 5}', "no study"),
        (b'{"s1": {"entities": {}}}', "not of RadGraph's form"),
        (b'{"s1": {"text": "a", "entities": {"1": {"tokens": "a"}}}}', "not of RadGraph's form"),
        (b'{"s1": {"text": "\xff", "entities": {}}}', "no UTF-8"),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "graphs.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        RadGraphFilter(path).statements()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 3}, "not of RadGraph's form"),
        ({"label": ["OBS-DP"]}, "not of RadGraph's form"),
        ({"tokens": None}, "not of RadGraph's form"),
        ({"start_ix": 2**70}, "a start_ix outside its text of 2 words"),
        ({"start_ix": -1}, "a start_ix outside its text of 2 words"),
        ({"start_ix": 2}, "a start_ix outside its text of 2 words"),
        ({"start_ix": "1"}, "not of RadGraph's form"),
        ({"start_ix": 0.5}, "not of RadGraph's form"),
        ({"relations": "xx"}, r"relations that are no list of \[kind, entity\] pairs"),
        ({"relations": [["modify"]]}, r"relations that are no list of \[kind, entity\] pairs"),
        ({"relations": [["modify", ["2"]]]}, "not of RadGraph's form"),
        ({"relations": {"modify": "2"}}, r"relations that are no list of \[kind, entity\] pairs"),
    ],
)
def test_a_damaged_entity_is_one_line_without_words_of_the_report(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = write(
        tmp_path, {"s1": {"text": "secret effusion", "entities": {"1": entity("effusion", "OBS-DP", 1) | change}}}
    )
    with pytest.raises(ValueError, match=message) as caught:
        RadGraphFilter(path).statements()
    assert "study number 1" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        RadGraphFilter(tmp_path / "nowhere.json")([Report("s1", "")])


def test_studies_are_read_in_pieces_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = {f"s{number}": dict(LUNGS_AND_EFFUSION["p10/p10000032/s50414267.txt"]) for number in range(7)}
    graphs["s3"]["text"] = "Lungs are clear … é . " + graphs["s3"]["text"]
    path = write(tmp_path, graphs)
    path.write_text(json.dumps(graphs, ensure_ascii=False, indent=1), encoding="utf-8")
    whole = RadGraphFilter(path).statements()
    for piece in (1, 7, 100):
        monkeypatch.setattr("medvlp_reports.radgraph_json._PIECE", piece)
        parts = RadGraphFilter(path).statements()
        assert parts.studies == whole.studies
        for name in ("study", "position", "entity", "label", "lemma"):
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_batches_join_into_the_same_statements(tmp_path: Path) -> None:
    path = write(tmp_path, {f"s{number}": LUNGS_AND_EFFUSION["p10/p10000032/s50414267.txt"] for number in range(5)})
    assert [len(batch.studies) for batch in read_batches(path, batch_size=2)] == [2, 2, 1]


# A plain reading of the rules, one study at a time, as the reference for the columns above.
Statement = tuple[str, str, str, str]


def statements_by_hand(study: dict[str, Any], suggestive_places: bool) -> set[Statement]:
    """(position, entity, label, lemma) of one study."""
    vocabulary = medklip_vocabulary()
    sentence_of_word = []
    number = 0
    for word in study["text"].split():
        sentence_of_word.append(number)
        number += word == "."
    entities = study["entities"]
    rows = []
    for key, item in entities.items():
        for kind, target in item["relations"] or [(None, None)]:
            rows.append((key, item, kind, target, sentence_of_word[item["start_ix"]]))
    places: dict[str, set[str]] = {key: set() for key, item in entities.items() if item["label"] != "ANAT-DP"}
    lost: set[str] = set()
    for sentence in range(number + 1):
        here = [row for row in rows if row[4] == sentence]
        keys_here = {key for key, *_ in here}
        heads = [key for key, item, _, target, _ in here if item["label"] == "ANAT-DP" and target is None]
        has_anatomy = any(item["label"] == "ANAT-DP" for _, item, *_ in here)
        for head in heads:
            modifiers = [key for key, item, _, target, _ in here if item["label"] == "ANAT-DP" and target == head]
            anatomy = "|".join(entities[key]["tokens"].lower() for key in [head, *modifiers])
            for key in keys_here & set(places):
                for relation, target in entities[key]["relations"]:
                    if relation == "located_at" and target in {head, *modifiers}:
                        places[key].add(anatomy)
        for key in keys_here & set(places):
            kinds = {kind for kind, target in entities[key]["relations"] if target in keys_here}
            if not (kinds - {"suggestive_of"} if suggestive_places else kinds) or not has_anatomy:
                lost.add(key)
    reached = {key for key, found in places.items() if found}
    while suggestive_places and reached:
        given: dict[str, set[str]] = {}
        for key in places:
            for relation, target in entities[key]["relations"]:
                if relation == "suggestive_of" and target in places:
                    for one, other in ((key, target), (target, key)):
                        if one in reached and not places[other]:
                            given.setdefault(other, set()).update(places[one])
        places |= given
        lost -= set(given)
        reached = set(given)
    result = set()
    for key, found in places.items():
        lemma = lemmatize(entities[key]["tokens"].lower())
        lemma = vocabulary.merges.get(lemma, lemma)
        for anatomy in [*found, *(["unspecified"] if key in lost else [])]:
            result.add((vocabulary.position(anatomy), vocabulary.entity(lemma), entities[key]["label"], lemma))
    return result


ANATOMIES = [
    "left",
    "right",
    "lung",
    "Lungs",
    "lobe",
    "lower",
    "pleural",
    "heart",
    "base",
    "bilateral",
    "costophrenic angle",
]
OBSERVATIONS = [
    "effusion",
    "Effusions",
    "enlarged",
    "clear",
    "small",
    "opacification",
    "granuloma",
    "not well seen",
    "pacer",
]


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(0, 8))
    words: list[str] = []
    entities = {}
    for number in range(1, count + 1):
        if draw(st.integers(0, 3)) == 0:
            words.append(".")
        is_anatomy = draw(st.booleans())
        tokens = draw(st.sampled_from(ANATOMIES if is_anatomy else OBSERVATIONS))
        label = "ANAT-DP" if is_anatomy else draw(st.sampled_from(["OBS-DP", "OBS-DA", "OBS-U"]))
        relation = st.tuples(st.sampled_from(["located_at", "modify", "suggestive_of"]), st.integers(1, count).map(str))
        entities[str(number)] = entity(tokens, label, len(words), *draw(st.lists(relation, max_size=2)))
        words += tokens.split()
    return {"text": " ".join([*words, "."]), "entities": entities}


@settings(max_examples=150, deadline=None)
@given(st.lists(studies(), min_size=1, max_size=4), st.booleans())
def test_columns_give_what_a_plain_reading_gives(
    tmp_path_factory: pytest.TempPathFactory, batch: list[Any], suggestive_places: bool
) -> None:
    graphs = {f"s{number}": study for number, study in enumerate(batch)}
    path = write(tmp_path_factory.mktemp("radgraph"), graphs)
    graph_filter = RadGraphFilter(path, suggestive_places=suggestive_places)
    names = {Presence.PRESENT: "OBS-DP", Presence.ABSENT: "OBS-DA", Presence.UNCERTAIN: "OBS-U"}
    matrix = graph_filter.statements().to_matrix()
    for number, (study, findings) in enumerate(
        zip(batch, graph_filter([Report(key, "") for key in graphs]), strict=True)
    ):
        found = [
            (f.position or "unspecified", f.entity, names[f.presence], f.concept_id) for f in findings if f.presence
        ]
        expected = statements_by_hand(study, suggestive_places)
        assert len(found) == len(set(found))
        assert set(found) == expected
        by_hand = np.full((51, 75), -1)
        for position, name, label, _ in expected:
            cell = graph_filter.positions.index(position), graph_filter.entities.index(name)
            by_hand[cell] = max(by_hand[cell], {"OBS-DP": 1, "OBS-DA": 0, "OBS-U": -1}[label])
        np.testing.assert_array_equal(matrix[number], by_hand)
