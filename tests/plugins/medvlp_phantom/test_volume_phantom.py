"""The synthetic volume: the same contract as the radiograph, in three dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from medvlp_phantom import VOLUME_FINDINGS, VolumePhantom, VolumeStudy
from medvlp_toolkit.data.records import Presence


@pytest.fixture(scope="module")
def studies() -> list[VolumeStudy]:
    return list(VolumePhantom(seed=9, size=40).generate(150))


def test_a_volume_does_not_depend_on_order():
    one, other = list(VolumePhantom(seed=1, size=32).generate(3))[2], VolumePhantom(seed=1, size=32).study(2)
    assert np.array_equal(one.volume, other.volume)
    assert (one.report, one.statements, one.presence) == (other.report, other.statements, other.presence)


def test_size_changes_neither_report_nor_places():
    for index in range(8):
        small, large = VolumePhantom(seed=1, size=32).study(index), VolumePhantom(seed=1, size=64).study(index)
        assert small.report == large.report
        for one, two in zip(small.findings, large.findings, strict=True):
            assert (one.name, one.side, one.level) == (two.name, two.side, two.level)
            assert np.allclose(one.box, two.box, atol=0.08)


def test_voxels_are_hounsfield_units_of_their_organs(studies):
    normal = [study for study in studies if not study.findings]
    assert len(normal) > 15
    for study in normal:
        assert study.volume.dtype == np.int16
        assert -850 < np.median(study.volume[study.organs["left lung"]]) < -750
        assert 0 < np.median(study.volume[study.organs["liver"]]) < 120
        assert np.median(study.volume[study.organs["spine"]]) > 300
        assert study.volume[0, 0].mean() < -950


def test_the_first_axis_runs_to_the_patients_right_and_the_third_to_superior(studies):
    for study in studies:
        right, left = (np.nonzero(study.organs[f"{side} lung"])[0].mean() for side in ("right", "left"))
        assert right > left
        assert np.nonzero(study.organs["heart"])[0].mean() < 0.5 * (right + left)
        liver, lungs = (np.nonzero(study.organs[name])[2].mean() for name in ("liver", "right lung"))
        assert liver < lungs
        spine, heart = (np.nonzero(study.organs[name])[1].mean() for name in ("spine", "heart"))
        assert spine < heart


def test_affine_puts_the_centre_of_the_cube_at_the_origin():
    study = VolumePhantom(seed=1, size=32).study(0)
    assert np.allclose(study.affine @ [15.5, 15.5, 15.5, 1.0], [0.0, 0.0, 0.0, 1.0])
    assert study.affine[0, 0] == 12.0


def test_findings_lie_on_their_side_and_in_their_boxes(studies):
    seen = dict.fromkeys(VOLUME_FINDINGS, 0)
    for study in studies:
        middle = study.organs["spine"].nonzero()[0].mean() / 40
        for finding in study.findings:
            seen[finding.name] += 1
            centre = finding.box[0] + 0.5 * finding.box[3]
            if finding.side != "midline":
                assert (centre > middle) == (finding.side == "right")
            for axis, place in enumerate(np.nonzero(finding.mask)):
                assert finding.box[axis] == pytest.approx(place.min() / 40)
                assert finding.box[axis] + finding.box[axis + 3] == pytest.approx((place.max() + 1) / 40)
    assert min(seen.values()) > 15


def test_dense_findings_are_denser_and_free_air_is_darker_than_lung(studies):
    for study in studies:
        for finding in study.findings:
            median = np.median(study.volume[finding.mask])
            assert median < -850 if finding.name == "pneumothorax" else median > -500, finding.name


def test_reports_agree_with_the_volume(studies):
    for study in studies:
        stated = {statement.entity for statement in study.statements if statement.presence is Presence.PRESENT}
        assert stated == {finding.name for finding in study.findings}
        assert stated == {name for name, presence in study.presence.items() if presence}
        assert {statement.entity for statement in study.statements} <= set(VOLUME_FINDINGS)


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="size is 8 voxels"):
        VolumePhantom(size=8)
    with pytest.raises(ValueError, match="seed is -2"):
        VolumePhantom(seed=-2)
    with pytest.raises(ValueError, match="index is -1"):
        VolumePhantom().study(-1)


def test_a_finding_without_a_voxel_is_neither_there_nor_reported() -> None:
    """In study 884 of seed 5 two findings share a place, and the second finds no air left."""
    study = VolumePhantom(5, 48).study(884)
    assert all(finding.mask.any() for finding in study.findings)
    assert {name for name, there in study.presence.items() if there} == {finding.name for finding in study.findings}
    assert len(study.statements) >= len(study.findings)
