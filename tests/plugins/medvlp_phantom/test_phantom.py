"""The synthetic phantom: deterministic, truthful about what it shows, varied in what it says."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from medvlp_phantom import FINDINGS, FOCAL_FINDINGS, Phantom, PhantomDifficulty, PhantomStudy
from medvlp_phantom.anatomy import draw_anatomy
from medvlp_phantom.canvas import Canvas
from medvlp_phantom.planning import plan_findings
from medvlp_phantom.rendering import render
from medvlp_toolkit.data.boxes import box_mask
from medvlp_toolkit.data.records import Presence
from medvlp_toolkit.evaluation.zero_shot.blind_pointing import best_fixed_point, chance

MEDKLIP_POSITIONS = set(
    re.findall(
        r"\w+",
        """trachea left_hilar right_hilar hilar_unspec left_pleural right_pleural pleural_unspec heart_size heart_border
    left_diaphragm right_diaphragm diaphragm_unspec retrocardiac lower_left_lobe upper_left_lobe lower_right_lobe
    middle_right_lobe upper_right_lobe left_lower_lung left_mid_lung left_upper_lung left_apical_lung left_lung_unspec
    right_lower_lung right_mid_lung right_upper_lung right_apical_lung right_lung_unspec lung_apices lung_bases
    left_costophrenic right_costophrenic costophrenic_unspec cardiophrenic_sulcus mediastinal spine clavicle rib stomach
    right_atrium right_ventricle aorta svc interstitium parenchymal cavoatrial_junction cardiopulmonary pulmonary
    lung_volumes unspecified other""",
    )
)

DIFFICULTIES = {"1": "305064ea00f34ed58a8792b2045b99bf54697d6f4f1018a87cc9e1d7559a4275"}
"""SHA-256 of the constants of every published version of the difficulty."""


@pytest.fixture(scope="module")
def studies() -> list[PhantomStudy]:
    return list(Phantom(seed=20).generate(800))


def same(one: PhantomStudy, other: PhantomStudy) -> bool:
    return (
        np.array_equal(one.image, other.image)
        and one.report == other.report
        and one.statements == other.statements
        and one.presence == other.presence
        and [f.box for f in one.findings] == [f.box for f in other.findings]
        and all(np.array_equal(f.mask, g.mask) for f, g in zip(one.findings, other.findings, strict=True))
    )


# Determinism ---------------------------------------------------------------------------------------------------------


def test_a_study_does_not_depend_on_order_or_count():
    in_order = list(Phantom(seed=3).generate(6))
    backwards = [Phantom(seed=3).study(index) for index in reversed(range(6))][::-1]
    later = list(Phantom(seed=3).generate(2, start=4))
    assert all(same(a, b) for a, b in zip(in_order, backwards, strict=True))
    assert all(same(a, b) for a, b in zip(in_order[4:], later, strict=True))


def test_worker_processes_give_the_same_studies_in_order():
    alone = list(Phantom(seed=3, size=32).generate(70))
    together = list(Phantom(seed=3, size=32).generate(70, workers=2))
    assert [study.index for study in together] == list(range(70))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


def test_another_seed_gives_other_images_and_reports():
    one, other = Phantom(seed=1).study(0), Phantom(seed=2).study(0)
    assert not np.array_equal(one.image, other.image)
    assert one.report.id != other.report.id
    assert [s.report.text for s in Phantom(seed=1).generate(5)] != [s.report.text for s in Phantom(seed=2).generate(5)]


def test_truth_and_image_alone_are_those_of_the_study():
    phantom = Phantom(seed=6)
    for index in range(5):
        study, truth = phantom.study(index), phantom.truth(index)
        assert np.array_equal(phantom.image(index), study.image)
        assert (truth.presence, truth.report, truth.statements) == (study.presence, study.report, study.statements)
        assert [f.box for f in truth.findings] == [f.box for f in study.findings]


def test_size_changes_neither_report_nor_truth_nor_places():
    for index in range(30):
        small, large = Phantom(seed=4, size=128).study(index), Phantom(seed=4, size=256).study(index)
        assert large.image.shape == (256, 256)
        assert (small.report, small.statements, small.presence) == (large.report, large.statements, large.presence)
        assert [f.name for f in small.findings] == [f.name for f in large.findings]
        for one, other in zip(small.findings, large.findings, strict=True):
            assert np.allclose(one.box, other.box, atol=0.035), one.name


def test_studies_of_one_patient_share_a_body():
    phantom = Phantom(seed=5)
    first, second, stranger = phantom.study(0, patient=0), phantom.study(1, patient=0), phantom.study(1)
    assert (first.sex, first.age) == (second.sex, second.age)
    assert not np.array_equal(first.image, second.image)
    assert not np.array_equal(second.image, stranger.image)
    assert second.report == stranger.report


def test_difficulty_changes_only_together_with_its_version():
    difficulty = PhantomDifficulty()
    digest = hashlib.sha256(repr(difficulty).encode()).hexdigest()
    assert DIFFICULTIES[difficulty.version] == digest
    with pytest.raises(dataclasses.FrozenInstanceError):
        difficulty.noise = (0.0, 0.0)  # type: ignore[misc]


# Images and masks ----------------------------------------------------------------------------------------------------


def test_images_are_8_bit_with_dark_lungs_beside_a_bright_mediastinum(studies):
    for study in studies[:100]:
        assert study.image.dtype == np.uint8
        assert study.image.shape == (128, 128)
    mean = np.mean([study.image for study in studies], axis=0)
    right_lung, left_lung, middle = mean[45:60, 30:45].mean(), mean[45:60, 83:98].mean(), mean[45:60, 60:68].mean()
    assert right_lung < 0.6 * middle
    assert left_lung < 0.6 * middle


def test_masks_hold_the_pixels_that_a_finding_changes():
    """Each image is drawn with and without one finding, with the same noise."""
    phantom = Phantom(seed=8)
    compared: Counter[str] = Counter()
    for index in range(150):
        body = draw_anatomy(phantom._generator(0, index), phantom.difficulty)
        observations, anatomy = plan_findings(phantom._generator(1, index), body, phantom.difficulty)
        projection = phantom._draw_projection(phantom._generator(2, index))
        plans = [plan for seen in observations if seen.certain for plan in seen.plans]
        for left_out in plans:
            if left_out.name == "cardiomegaly":
                continue
            pictures, mask = [], np.zeros((128, 128), bool)
            for painted in (plans, [plan for plan in plans if plan is not left_out]):
                canvas = Canvas(anatomy, projection, 128)
                for plan in painted:
                    result = plan.paint(canvas)[0]
                    mask = result if plan is left_out else mask
                pictures.append(render(canvas, np.random.default_rng(0)).astype(float))
            change = np.abs(pictures[0] - pictures[1])
            around = ndimage.binary_dilation(mask, iterations=3)
            assert change[mask].mean() > 5, (index, left_out.name)
            assert change[mask].mean() > 4 * change[~around].mean(), (index, left_out.name)
            compared[left_out.name] += 1
    assert set(compared) == set(FINDINGS) - {"cardiomegaly"}


def test_boxes_bound_their_masks(studies):
    for study in studies:
        for finding in study.findings:
            rows, columns = np.nonzero(finding.mask)
            x, y, width, height = finding.box
            inside = (columns + 0.5 >= x * 128) & (columns + 0.5 <= (x + width) * 128)
            inside &= (rows + 0.5 >= y * 128) & (rows + 0.5 <= (y + height) * 128)
            if finding.name == "pacemaker":  # the lead lies outside of the generator's box
                assert inside.mean() > 0.3
                continue
            assert inside.all()
            assert width == pytest.approx((columns.max() - columns.min() + 1) / 128)
            assert height == pytest.approx((rows.max() - rows.min() + 1) / 128)


def test_the_patients_left_is_on_the_right_of_the_image(studies):
    sides = Counter()
    for study in studies:
        for finding in study.findings:
            centre = finding.box[0] + 0.5 * finding.box[2]
            if finding.name in FOCAL_FINDINGS:
                assert centre > 0.46 if finding.side == "left" else centre < 0.54, (study.index, finding.name)
                sides[finding.name, finding.side] += 1
    assert all(sides[name, side] > 10 for name in FOCAL_FINDINGS for side in ("left", "right"))


def test_levels_are_heights_in_the_image(studies):
    heights: dict[str, list[float]] = {"upper": [], "mid": [], "lower": []}
    for study in studies:
        for finding in study.findings:
            if finding.name in ("nodule", "consolidation"):
                heights[finding.level].append(finding.box[1] + 0.5 * finding.box[3])
    assert np.mean(heights["upper"]) < 0.36 < np.mean(heights["mid"]) < 0.52 < np.mean(heights["lower"])


def test_focal_findings_are_large_enough_to_see(studies):
    least_pixels = {"nodule": 8, "consolidation": 10, "pacemaker": 10}
    for study in studies:
        for finding in study.findings:
            if finding.name in least_pixels and not finding.equivocal:
                assert min(finding.box[2:]) * 128 >= least_pixels[finding.name], (study.index, finding.name)


def test_an_enlarged_heart_is_wider_than_a_normal_one(studies):
    widths = [f.box[2] for study in studies for f in study.findings if f.name == "cardiomegaly"]
    assert min(widths) > 0.30
    assert len(widths) > 50


def test_findings_that_are_present_are_painted_and_no_others(studies):
    for study in studies:
        painted = {finding.name for finding in study.findings if not finding.equivocal}
        assert painted == {name for name, presence in study.presence.items() if presence == 1}
        faint = {finding.name for finding in study.findings if finding.equivocal}
        assert faint <= {name for name, presence in study.presence.items() if presence == -1}


def test_prevalence_leaves_a_quarter_normal_and_every_finding_in_a_sixth_to_a_quarter(studies):
    assert 0.18 < np.mean([not any(study.presence.values()) for study in studies]) < 0.29
    for name in FINDINGS:
        assert 0.14 < np.mean([study.presence[name] == 1 for study in studies]) < 0.26, name
    assert max(sum(value == 1 for value in study.presence.values()) for study in studies) == 4


# Pointing ------------------------------------------------------------------------------------------------------------


def masks_of(studies, name):
    return [box_mask(study.boxes(name), (128, 128)) for study in studies if study.presence[name] == 1]


def test_no_fixed_point_finds_focal_findings(studies):
    shares = [chance(masks_of(studies, name)) for name in FOCAL_FINDINGS]
    rates = [best_fixed_point(masks_of(studies, name)).hit_rate for name in FOCAL_FINDINGS]
    assert 0.03 < np.mean(shares) < 0.08
    assert max(rates) < 0.6  # of few images: a rate over 3,000 is .38 for pacemakers, the highest
    assert np.mean(rates) < 0.4


# Reports -------------------------------------------------------------------------------------------------------------


def test_reports_agree_with_the_image(studies):
    expected = {1: Presence.PRESENT, -1: Presence.UNCERTAIN, 0: Presence.ABSENT}
    for study in studies:
        for statement in study.statements:
            presence = study.presence[statement.entity]
            other_side = presence == 1 and statement.presence is Presence.ABSENT and statement.position is not None
            if not other_side:
                assert statement.presence is expected[presence], study.report.text
        stated = {statement.entity for statement in study.statements if statement.presence is not Presence.ABSENT}
        assert stated == {name for name, presence in study.presence.items() if presence != 0}


def test_positions_are_of_the_right_side_and_of_the_vocabulary(studies):
    seen = set()
    for study in studies:
        for statement in study.statements:
            if statement.position is None:
                continue
            assert statement.position in MEDKLIP_POSITIONS
            seen.add(statement.position)
            sides = {finding.side for finding in study.findings if finding.name == statement.entity}
            stated = {side for side in ("left", "right") if side in statement.position.split("_")}
            if statement.position == "right_atrium":
                continue
            if statement.presence is Presence.PRESENT and stated:
                assert stated == sides, study.report.text
            if statement.presence is Presence.ABSENT and stated:
                assert not stated & sides, study.report.text
    assert len(seen) >= 28


def test_spans_name_the_finding(studies):
    for study in studies:
        for statement in study.statements:
            assert statement.span is not None
            word = study.report.text[slice(*statement.span)].lower()
            assert word in (statement.entity, statement.entity + "s")


def test_sections_are_parts_of_the_text(studies):
    with_sections = [study.report for study in studies if study.report.sections]
    assert 0.5 < len(with_sections) / len(studies) < 0.8
    for report in with_sections:
        assert {"findings", "impression"} <= set(report.sections)
        for heading, text in report.sections.items():
            assert f"{heading.upper()}: {text}" in report.text


def test_reports_are_whole_sentences(studies):
    for study in studies:
        assert not re.search(r"[{}]|  |\ba [aeiou]\w|\ban [^aeiou\s]", study.report.text), study.report.text
        for section in study.report.sections.values() or [study.report.text]:
            assert section[0].isupper()
            assert section.endswith(".")
            assert not re.search(r"\. [a-z]", section)


def test_findings_are_put_in_many_ways(studies):
    wordings: dict[str, set[str]] = {name: set() for name in FINDINGS}
    for study in studies:
        for sentence in re.split(r"(?<=\.)\s+", study.report.text):
            for name in FINDINGS:
                if name in sentence.lower():
                    wordings[name].add(sentence)
    assert min(len(said) for said in wordings.values()) > 40


def test_absence_is_said_alone_in_lists_or_not_at_all(studies):
    text = "\n".join(study.report.text for study in studies)
    assert re.search(r"No pneumothorax\.", text)
    assert re.search(r"(No|no|Negative for) [a-z ]+, [a-z ]+,? or [a-z ]+", text)
    assert "Neither " in text
    for name in FINDINGS:
        absent = [study for study in studies if study.presence[name] == 0]
        said = sum(any(statement.entity == name for statement in study.statements) for study in absent)
        assert 0.2 < said / len(absent) < 0.95, name


def test_clear_lungs_are_not_said_of_opacities(studies):
    clear = [study for study in studies if re.search(r"[Ll]ungs are (well expanded and )?clear", study.report.text)]
    assert len(clear) > 20
    for study in clear:
        assert not any(study.presence[name] for name in ("consolidation", "nodule", "atelectasis", "edema", "effusion"))


def test_doubt_is_rare_and_sometimes_about_nothing_visible(studies):
    doubtful = [study for study in studies if -1 in study.presence.values()]
    assert 0.02 < len(doubtful) / len(studies) < 0.12
    faint = [any(finding.equivocal for finding in study.findings) for study in doubtful]
    assert any(faint)
    assert not all(faint)


# Use -----------------------------------------------------------------------------------------------------------------


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="seed is -1"):
        Phantom(seed=-1)
    with pytest.raises(ValueError, match="size is 8 pixels"):
        Phantom(size=8)
    with pytest.raises(ValueError, match="index is -3"):
        Phantom().study(-3)


def test_importing_the_phantom_loads_no_deep_learning_stack():
    code = (
        "import sys, medvlp_phantom; "
        "print([m for m in ('torch', 'monai', 'transformers', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
