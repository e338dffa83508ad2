"""Studies with several images: one report, one patient, and every image kept with its view."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_studies import TEXTS, EffusionFilter, write_images

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.data.batches.label_fraction import choose_labelled
from medvlp_toolkit.data.batches.pairs import captions
from medvlp_toolkit.data.batches.pretraining import report_texts
from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.data.store.rejected import Rejected
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.data.store.store_summary import summarise
from medvlp_toolkit.data.views import is_frontal
from medvlp_toolkit.preparing.prepare import Prepare, Summary
from medvlp_toolkit.preparing.splits import LeakError
from tests.rejections import read_rejected

# Study, patient, view of each image.
IMAGES = [
    ("s1", "p1", "PA"),
    ("s1", "p1", "LATERAL"),
    ("s2", "p2", "LL"),
    ("s3", "p3", "AP"),
    ("s3", "p3", None),
    ("s3", "p3", "AP"),
]


@dataclass
class SeveralImages:
    folder: Path
    changes: dict[int, dict[str, Any]] = field(default_factory=dict)
    fingerprint = ""

    def __iter__(self) -> Iterator[Study]:
        for number, (study, patient, view) in enumerate(IMAGES):
            report = Report(study, TEXTS[int(study[1]) % 3])
            image = self.folder / f"{number:05d}.png"
            labels = {"Effusion": int(study != "s2")}
            known = Study(study, patient, image, report, "train", labels, metadata={"view": view})
            yield replace(known, **self.changes.get(number, {}))


@pytest.fixture
def source(tmp_path: Path) -> SeveralImages:
    write_images(tmp_path / "images", len(IMAGES))
    return SeveralImages(tmp_path / "images")


def prepare(source: Any, output: Path, **options: Any) -> Summary:
    return Prepare(
        source, output, **{"image_size": 16, "report_filter": EffusionFilter(), "workers": 0, **options}
    ).run()


def rejected(store: Path) -> list[Rejected]:
    return read_rejected(store / "rejected.csv")


def column(store: PackedStore, name: str) -> list[Any]:
    return list(store.studies.column(name).to_pylist())


class TestStore:
    def test_every_image_is_kept_with_its_view_and_the_report_of_its_study(
        self, source: SeveralImages, tmp_path: Path
    ) -> None:
        summary = prepare(source, tmp_path / "store")
        store = PackedStore.open(tmp_path / "store")
        assert len(store) == len(store.images) == summary.stored == 6
        assert column(store, "study_id") == [study for study, _, _ in IMAGES]
        assert column(store, "image_id") == ["s1", "s1/2", "s2", "s3", "s3/2", "s3/3"]
        assert column(store, "view") == [view for _, _, view in IMAGES]
        assert column(store, "text")[0] == column(store, "text")[1]
        assert summary.studies == store.meta["counts"]["studies"] == 3
        assert store.meta["counts"]["images"] == 6
        assert "6 of 6 images (of 3 studies) stored" in str(summary)
        assert "records: 6 read = 6 stored + 0 rejected" in str(summary)

    def test_findings_are_the_same_for_all_images_and_counted_once_a_study(
        self, source: SeveralImages, tmp_path: Path
    ) -> None:
        prepare(source, tmp_path / "store")
        store = PackedStore.open(tmp_path / "store")
        assert store.findings_of(0) == store.findings_of(1) != []
        summary = summarise(store)
        assert (summary["rows"], summary["studies"], summary["patients"]) == (6, 3, 3)
        assert sum(summary["entities"]["effusion"].values()) == 3

    def test_ids_that_the_source_gives_its_images_are_theirs(self, source: SeveralImages, tmp_path: Path) -> None:
        source.changes = {n: {"image_id": f"d{n}"} for n in range(6)} | {5: {"image_id": "d0"}}
        prepare(source, tmp_path / "store")
        # The last is an id within its study only.
        ids = ["d0", "d1", "d2", "d3", "d4", "s3/d0"]
        assert column(PackedStore.open(tmp_path / "store"), "image_id") == ids

    def test_an_image_that_is_there_twice_is_rejected(self, source: SeveralImages, tmp_path: Path) -> None:
        source.changes = {1: {"image": source.folder / "00000.png"}}
        summary = prepare(source, tmp_path / "store")
        assert summary.rejected == {"duplicate id": 1}
        assert rejected(tmp_path / "store")[0].detail == "an earlier record has this id and image"

    @pytest.mark.parametrize(
        ("change", "detail"),
        [
            ({"patient_id": "p9"}, "an earlier record of this id has another patient"),
            (
                {"report": Report("x", "FINDINGS: effusion of another study.")},
                "an earlier record of this id has another report",
            ),
        ],
    )
    def test_records_of_one_id_that_are_of_two_studies_are_not_mixed(
        self, source: SeveralImages, tmp_path: Path, change: dict[str, Any], detail: str
    ) -> None:
        source.changes = {4: change}
        summary = prepare(source, tmp_path / "store")
        assert summary.listed == summary.stored + sum(summary.rejected.values()) == 6
        assert [(item.study_id, item.detail) for item in rejected(tmp_path / "store")] == [("s3", detail)]

    def test_an_image_without_report_has_that_of_its_study(self, source: SeveralImages, tmp_path: Path) -> None:
        source.changes = {1: {"report": None}, 5: {"report": Report("s3", " ")}}
        assert prepare(source, tmp_path / "store").stored == 6
        texts = column(PackedStore.open(tmp_path / "store"), "text")
        assert texts[0] == texts[1]
        assert texts[3] == texts[5]

    def test_a_study_in_two_splits_stops(self, source: SeveralImages, tmp_path: Path) -> None:
        source.changes = {1: {"split": "test"}}
        with pytest.raises(LeakError, match="1 patient in more than one split"):
            prepare(source, tmp_path / "store")

    def test_a_store_of_the_first_schema_is_read_with_an_image_a_study(
        self, source: SeveralImages, tmp_path: Path
    ) -> None:
        source.changes = {n: {"id": f"i{n}", "patient_id": f"i{n}"} for n in range(6)}
        prepare(source, tmp_path / "store")
        path = tmp_path / "store" / "studies.parquet"
        pq.write_table(pq.read_table(path).drop_columns(["image_id"]), path)
        meta = json.loads((tmp_path / "store" / "store.json").read_text())
        meta["schema_version"] = 1
        del meta["counts"]["images"], meta["counts"]["passed_over"]
        meta["files"]["studies.parquet"]["bytes"] = path.stat().st_size
        (tmp_path / "store" / "store.json").write_text(json.dumps(meta))
        store = PackedStore.open(tmp_path / "store")
        assert len(store) == 6
        assert store.image_ids(np.array([1, 3])) == ["i1", "i3"]
        assert len(StudyDataset(store, ["train"])) == 6


class TestViews:
    @pytest.mark.parametrize(
        ("view", "frontal"),
        [
            *((view, True) for view in ("PA", "AP", "AP AXIAL", "Frontal", "antero-posterior")),
            *((view, False) for view in ("LATERAL", "LL", "XTABLE LATERAL", "papillary", "", None)),
        ],
    )
    def test_frontal_views_by_their_names(self, view: str | None, frontal: bool) -> None:
        assert is_frontal(view) == frontal

    @pytest.mark.parametrize(
        ("views", "kept"), [("all", [0, 1, 2, 3, 4, 5]), ("frontal", [0, 3, 5]), ("first", [0, 2, 3])]
    )
    def test_what_is_stored_and_what_is_taken_from_a_store_agree(
        self, source: SeveralImages, tmp_path: Path, views: Any, kept: list[int]
    ) -> None:
        prepare(source, tmp_path / "all")
        taken = StudyDataset(tmp_path / "all", ["train"], views=views)
        assert taken.rows.tolist() == kept
        summary = prepare(source, tmp_path / "some", views=views)
        stored = PackedStore.open(tmp_path / "some")
        assert column(stored, "image_path") == [str(source.folder / f"{n:05d}.png") for n in kept]
        assert summary.listed + summary.passed_over == 6
        assert ("of other views" in str(summary)) == (views != "all")

    def test_frontal_views_of_images_without_view_are_refused_in_one_line(
        self, source: SeveralImages, tmp_path: Path
    ) -> None:
        source.changes = {n: {"metadata": {}} for n in range(6)}
        prepare(source, tmp_path / "store")
        with pytest.raises(ValueError, match="no image has a view; add a column view, or set views: all"):
            StudyDataset(tmp_path / "store", views="frontal")
        with pytest.raises(ValueError, match="no record gives its view"):
            prepare(source, tmp_path / "other", views="frontal")

    def test_another_word_is_refused(self, source: SeveralImages, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="views is all, frontal, first, not 'lateral'"):
            prepare(source, tmp_path / "store", views="lateral")


class TestUse:
    @pytest.fixture
    def store(self, source: SeveralImages, tmp_path: Path) -> PackedStore:
        prepare(source, tmp_path / "store")
        return PackedStore.open(tmp_path / "store")

    def test_images_of_a_study_have_its_supervision_and_draws_of_their_own(self, store: PackedStore) -> None:
        batch = StudyDataset(store, ["train"], candidates=2).__getitems__([0, 1])
        assert batch["study_id"] == ["s1", "s1"]
        assert batch["entity_presence"][0].equal(batch["entity_presence"][1])
        assert not batch["augmentation_draws"][0].equal(batch["augmentation_draws"][1])

    def test_a_list_of_studies_takes_all_their_images(self, store: PackedStore) -> None:
        assert StudyDataset(store, study_ids=["s1", "s3"]).rows.tolist() == [0, 1, 3, 4, 5]
        with pytest.raises(ValueError, match="1 of 2 listed studies are not in these splits"):
            StudyDataset(store, study_ids=["s3", "s9"])

    def test_a_share_of_the_labels_is_a_share_of_the_studies(self, store: PackedStore, caplog: Any) -> None:
        with caplog.at_level(logging.INFO):
            assert len(choose_labelled(store, "train", ["Effusion"], fraction=0.67)) == 2
        assert "2 of 3 labelled studies" in caplog.text

    def test_a_report_is_read_once_for_a_vocabulary(self, store: PackedStore) -> None:
        assert len(report_texts(store, "train")) == 3

    def test_a_text_is_paired_once(self, store: PackedStore) -> None:
        assert captions(store, ["train"]).row.tolist() == [0, 2, 3]
        every = captions(store, ["train"], views="all")
        assert every.row.tolist() == list(range(6))
        assert every.id == ["s1", "s1/2", "s2", "s3", "s3/2", "s3/3"]
