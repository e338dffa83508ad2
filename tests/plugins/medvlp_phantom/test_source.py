"""The phantom as a data source: synthetic studies with truth, split by patient."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest

from medvlp_phantom import FINDINGS
from medvlp_phantom.source import PhantomSource


@pytest.fixture(scope="module")
def source() -> PhantomSource:
    return PhantomSource(seed=7, count=200, size=64)


def test_records_carry_report_truth_and_subgroups(source):
    studies = list(source)
    assert len(studies) == len(source) == 200
    assert len({study.id for study in studies}) == 200
    for study in studies:
        assert study.image is None
        assert study.report is not None
        assert study.report.text
        assert set(study.labels) == set(FINDINGS)
        assert {box.label for box in study.boxes} == {name for name, value in study.labels.items() if value == 1}
        assert study.metadata["sex"] in ("F", "M")
        assert 20 <= study.metadata["age"] <= 90
        assert study.metadata["view"] in ("PA", "AP")


def test_images_are_those_the_records_describe(source):
    for study in list(source)[:10]:
        image = source.read_image(study)
        assert image.shape == (1, 64, 64)
        assert image.dtype == np.uint8
        index = int(study.id.rsplit("-", 1)[1])
        whole = source.phantom.study(index, source.patient(index))
        assert np.array_equal(image[0], whole.image)
        assert study.report == whole.report


def test_records_come_out_the_same_in_another_process_or_a_longer_source(source):
    again = pickle.loads(pickle.dumps(source))
    longer = PhantomSource(seed=7, count=400, size=64)
    for index in (0, 3, 199):
        assert again.study(index) == source.study(index)
        assert longer.study(index).report == source.study(index).report
        assert longer.study(index).patient_id == source.study(index).patient_id


def test_some_patients_have_two_studies_and_none_is_in_two_splits(source):
    splits: dict[str, set[str | None]] = {}
    for study in source:
        splits.setdefault(study.patient_id, set()).add(study.split)
    assert all(len(names) == 1 for names in splits.values())
    assert 165 < len(splits) < 195


def test_two_studies_of_a_patient_have_one_sex_and_age(source):
    people: dict[str, set[tuple[str, int]]] = {}
    for study in source:
        people.setdefault(study.patient_id, set()).add((study.metadata["sex"], study.metadata["age"]))
    assert all(len(person) == 1 for person in people.values())


@pytest.mark.parametrize(
    ("count", "fractions", "sizes"),
    [
        (200, {"train": 0.8, "validate": 0.1, "test": 0.1}, {"train": 160, "validate": 20, "test": 20}),
        (100, {"train": 1.0}, {"train": 100}),
        (51, {"train": 0.5, "test": 0.5}, {"train": 26, "test": 25}),
        (100, {"train": 0.5, "validate": 0.0, "test": 0.5}, {"train": 50, "test": 50}),
    ],
)
def test_splits_have_the_sizes_asked_for(count, fractions, sizes):
    source = PhantomSource(count=count, size=32, fractions=fractions)
    assert Counter(source.split(index) for index in range(count)) == sizes


def test_mask_of_a_label_lies_in_its_boxes():
    source = PhantomSource(seed=7, count=60, size=64, mask_label="consolidation")
    assert source.read_mask is not None
    marked = 0
    for study in source:
        mask = source.read_mask(study)
        boxes = [box for box in study.boxes if box.label == "consolidation"]
        assert mask.shape == (64, 64)
        assert mask.any() == bool(boxes)
        marked += bool(boxes)
        for box in boxes:
            left, top = round(box.x * 64), round(box.y * 64)
            inside = mask[top : top + round(box.height * 64), left : left + round(box.width * 64)]
            assert inside.sum() == mask.sum()
    assert marked > 3


def test_without_a_mask_label_there_are_no_masks(source):
    assert source.read_mask is None


def test_a_study_of_another_source_is_refused(source):
    foreign = PhantomSource(seed=8, count=2, size=64).study(0)
    with pytest.raises(ValueError, match="not from this source"):
        source.read_image(foreign)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count is 0"),
        ({"fractions": {"train": 0.5}}, "add up to 1"),
        ({"fractions": {}}, "add up to 1"),
        ({"second_study_rate": 2.0}, "second_study_rate is 2.0"),
        ({"mask_label": "fracture"}, "'fracture'; the phantom's findings are effusion"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PhantomSource(**arguments)
