"""What holds of the shipped descriptions for chest radiographs."""

from __future__ import annotations

import re

import pytest

from medvlp_knowledge.definition_file import BUNDLED
from medvlp_knowledge.definitions import Definitions

# MedKLIP's vocabularies in their published index order (Wu et al., ICCV 2023).
ENTITIES = """
normal clear sharp sharply unremarkable intact stable free effusion opacity pneumothorax edema atelectasis tube
consolidation process abnormality enlarge tip low pneumonia line congestion catheter cardiomegaly fracture air tortuous
lead disease calcification prominence device engorgement picc clip elevation expand nodule wire fluid degenerative
pacemaker thicken marking scar hyperinflate blunt loss widen collapse density emphysema aerate mass crowd infiltrate
obscure deformity hernia drainage distention shift stent pressure lesion finding borderline hardware dilation chf
redistribution aspiration tail_abnorm_obs excluded_obs
"""
POSITIONS = """
trachea left_hilar right_hilar hilar_unspec left_pleural right_pleural pleural_unspec heart_size heart_border
left_diaphragm right_diaphragm diaphragm_unspec retrocardiac lower_left_lobe upper_left_lobe lower_right_lobe
middle_right_lobe upper_right_lobe left_lower_lung left_mid_lung left_upper_lung left_apical_lung left_lung_unspec
right_lower_lung right_mid_lung right_upper_lung right_apical_lung right_lung_unspec lung_apices lung_bases
left_costophrenic right_costophrenic costophrenic_unspec cardiophrenic_sulcus mediastinal spine clavicle rib stomach
right_atrium right_ventricle aorta svc interstitium parenchymal cavoatrial_junction cardiopulmonary pulmonary
lung_volumes unspecified other
"""


def test_entities_and_positions_are_in_the_published_order() -> None:
    assert list(Definitions(path="chest_entities").ids) == ENTITIES.split()
    assert list(Definitions(path="chest_positions").ids) == POSITIONS.split()


@pytest.mark.parametrize("name", BUNDLED)
def test_every_description_is_distinct_sourced_and_one_to_three_sentences(name: str) -> None:
    source = Definitions(path=name)
    texts = source.descriptions()
    assert len(set(texts)) == len(texts)
    assert all(source.sources.values())
    for text in texts:
        assert text.endswith(".")
        assert 1 <= len(re.findall(r"[.](?: |$)", text)) <= 3
        # At most 62 word pieces go into the published evaluation; English radiology takes about 1.6 a word.
        assert len(text.split()) <= 40


@pytest.mark.parametrize("name", BUNDLED)
def test_names_and_synonyms_name_one_entry_only(name: str) -> None:
    owner: dict[str, str] = {}
    for concept in Definitions(path=name).concepts:
        for term in {concept.name, *concept.synonyms}:
            assert owner.setdefault(term.lower(), concept.id) == concept.id


@pytest.mark.parametrize("name", ["chest_entities", "chest_extra"])
def test_descriptions_of_findings_stay_true_of_a_mirrored_image(name: str) -> None:
    for concept in Definitions(path=name).concepts:
        assert not re.search(r"\b(left|right)\b", concept.definition, re.IGNORECASE), concept.id


def test_descriptions_of_positions_name_the_side_of_the_position_only() -> None:
    source = Definitions(path="chest_positions")
    for concept in source.concepts:
        named = set(re.findall(r"\b(left|right)\b", f"{concept.name} {concept.definition}".lower()))
        assert named <= {source.sides[concept.id]}, concept.id


def test_the_side_of_a_position_is_the_one_its_id_names() -> None:
    for position, side in Definitions(path="chest_positions").sides.items():
        named = [s for s in ("left", "right") if s in position.split("_")]
        assert side == (named[0] if named else "none")


def test_mirror_is_the_same_position_of_the_other_side() -> None:
    mirrors = Definitions(path="chest_positions").mirrors
    swap = {"left": "right", "right": "left"}
    for position, mirror in mirrors.items():
        swapped = "_".join(swap.get(part, part) for part in position.split("_"))
        assert mirror == (swapped if swapped in mirrors else None)
    assert [p for p, m in mirrors.items() if m is None] == ["middle_right_lobe", "right_atrium", "right_ventricle"]


def test_positions_are_anatomy_and_entities_are_grouped_by_kind() -> None:
    assert {c.kind for c in Definitions(path="chest_positions").concepts} == {"anatomy"}
    kinds = {c.id: c.kind for c in Definitions(path="chest_entities").concepts}
    assert set(kinds.values()) == {"finding", "device", "normal", "residual"}
    assert kinds["clear"] == "normal"
    assert kinds["picc"] == "device"
    assert [entity for entity, kind in kinds.items() if kind == "residual"] == ["tail_abnorm_obs", "excluded_obs"]


def test_entities_and_extra_findings_can_be_joined() -> None:
    joined = Definitions(path=["chest_entities", "chest_extra"])
    assert len(joined) == 75 + len(Definitions(path="chest_extra"))
    assert {"fibrosis", "pleural_thickening", "hiatal_hernia"} <= set(joined.ids)
