"""From studies to a packed store."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_studies import TEXTS, CountingFilter, EffusionFilter, HeartLinker, KillingSource, SmallSource, write_images
from tokenizers import Tokenizer, models, pre_tokenizers

from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.data.store.array_file import ArrayFile
from medvlp_toolkit.data.store.rejected import Reason, Rejected
from medvlp_toolkit.data.store.store import PackedStore, StoreError
from medvlp_toolkit.preparing.prepare import Prepare, PrepareError, Summary
from medvlp_toolkit.preparing.splits import LeakError, SplitByPatient
from tests.rejections import read_rejected


def prepare(source: Any, output: Path, **options: Any) -> Summary:
    settings: dict[str, Any] = {"image_size": 16, "report_filter": EffusionFilter(), "workers": 0, **options}
    return Prepare(source, output, **settings).run()


@pytest.fixture
def source(tmp_path: Path) -> SmallSource:
    write_images(tmp_path / "images", 12)
    return SmallSource(tmp_path / "images")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class TestStore:
    def test_row_i_of_every_part_is_the_same_study(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store")
        store = PackedStore.open(tmp_path / "store")
        studies = store.studies.to_pylist()
        assert len(store) == 12
        assert store.images.shape == (12, 1, 16, 16)
        assert store.images.dtype == np.uint8
        for row, study in enumerate(source):
            picture = Image.open(study.image).resize((16, 16), Image.Resampling.BILINEAR)  # type: ignore[arg-type]
            assert np.array_equal(store.images[row, 0], np.asarray(picture))
            assert studies[row]["study_id"] == study.id
            assert studies[row]["patient_id"] == study.patient_id
            assert studies[row]["label:Effusion"] == study.labels["Effusion"]
            assert studies[row]["age"] == study.metadata["age"]
            assert studies[row]["device"] == study.metadata["device"]
            assert (studies[row]["height"], studies[row]["width"]) == (24, 24)

    def test_findings_refer_to_the_text_of_their_row(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store", entity_linker=HeartLinker())
        store = PackedStore.open(tmp_path / "store")
        texts = store.studies.column("text").to_pylist()
        assert texts[:3] == [
            "There is a left effusion.\nEffusion.",
            "No effusion. The heart is normal.\nNormal.",
            "Possible right effusion, nothing else.",
        ]
        for table in ("findings", "links"):
            for row in range(len(store)):
                for finding in store.findings_of(row, table):
                    assert finding.span is not None
                    word = texts[row][slice(*finding.span)].lower()
                    assert word == ("effusion" if table == "findings" else "heart")
        presence = [(finding.presence, finding.position) for finding in store.findings_of(0)]
        assert presence == [("present", "left"), ("present", None)]
        assert store.entities == ("effusion",)
        assert store.positions == ("left", "right")
        assert store.meta["linked_entities"] == ["C0018787"]

    def test_all_sections_are_kept_whatever_supervises(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store", sections=("impression", "findings"))
        row = PackedStore.open(tmp_path / "store").studies.slice(2, 1).to_pylist()[0]
        assert dict(row["sections"]) == {"indication": "cough.", "findings": "Possible right effusion, nothing else."}

    def test_a_store_keeps_the_sections_that_its_filter_reads(self, source: SmallSource, tmp_path: Path) -> None:
        class OfFindings(EffusionFilter):
            sections = ("findings",)

        prepare(source, tmp_path / "store", report_filter=OfFindings())
        assert PackedStore.open(tmp_path / "store").meta["made_by"]["sections"] == ["findings"]
        with pytest.raises(ValueError, match="reads the sections findings, and the store keeps impression alone"):
            prepare(source, tmp_path / "other", report_filter=OfFindings(), sections=["impression"])
        prepare(source, tmp_path / "more", report_filter=OfFindings(), sections=["findings", "impression"])
        assert PackedStore.open(tmp_path / "more").meta["made_by"]["sections"] == ["findings", "impression"]

    def test_without_sections_the_whole_text_supervises(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store", sections=())
        assert PackedStore.open(tmp_path / "store").studies.column("text").to_pylist()[:3] == list(TEXTS)

    def test_boxes_and_questions_name_their_row(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store")
        store = PackedStore.open(tmp_path / "store")
        assert store.boxes.column("study").to_pylist() == [0, 3, 6, 9]
        assert store.boxes.slice(0, 1).to_pylist()[0] == {
            "study": 0, "label": "effusion", "x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4,
        }  # fmt: skip
        assert store.questions.column("id").to_pylist() == [f"q{row}" for row in range(12)]

    def test_a_filter_that_places_findings_elsewhere_is_refused_before_anything_is_written(
        self, source: SmallSource, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match="EffusionFilter places findings at right, which") as caught:
            prepare(source, tmp_path / "store", positions=["left", "apex"])
        assert "set `positions`, here and in training" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
        prepare(source, tmp_path / "store", positions=["left", "right", "apex"])
        assert PackedStore.open(tmp_path / "store").positions == ("left", "right")

    def test_rows_of_a_split(self, source: SmallSource, tmp_path: Path) -> None:
        summary = prepare(source, tmp_path / "store")
        store = PackedStore.open(tmp_path / "store")
        assert store.rows("test").tolist() == [0, 1, 8, 9]
        assert store.rows("test", "train").tolist() == list(range(12))
        assert summary.splits == {"test": 4, "train": 8}

    def test_split_by_patient_where_the_source_has_none(self, source: SmallSource, tmp_path: Path) -> None:
        source.changes = {index: {"split": None} for index in range(12)}
        prepare(source, tmp_path / "store", split=SplitByPatient({"train": 0.5, "test": 0.5}))
        studies = PackedStore.open(tmp_path / "store").studies.to_pylist()
        assert {study["split"] for study in studies} == {"train", "test"}
        for first, second in zip(studies[::2], studies[1::2], strict=True):
            assert first["split"] == second["split"]

    def test_reports_without_images_make_a_store_too(self, source: SmallSource, tmp_path: Path) -> None:
        source.changes = {0: {"image": None}}
        prepare(source, tmp_path / "store", image_size=None)
        store = PackedStore.open(tmp_path / "store")
        assert len(store) == 12
        assert not store.has_images

    def test_source_with_pixels_of_its_own_is_asked_for_them(self, source: SmallSource, tmp_path: Path) -> None:
        class Bright(SmallSource):
            def read_image(self, study: Study) -> np.ndarray:
                return np.full((1, 40, 40), int(study.id[5:]), np.uint8)

            def read_mask(self, study: Study) -> np.ndarray | None:
                if study.id == "study1":
                    return None
                mask = np.zeros((40, 40), np.uint8)
                mask[:20] = 7
                return mask

        source.changes = {index: {"image": None} for index in range(12)}
        prepare(Bright(source.folder, changes=source.changes), tmp_path / "store")
        store = PackedStore.open(tmp_path / "store")
        assert [int(image.mean()) for image in store.images] == list(range(12))
        assert store.masks.shape == (12, 1, 16, 16)
        assert store.masks[0, 0, :8].all()
        assert not store.masks[0, 0, 8:].any()
        assert not store.masks[1].any()

    def test_padded_images_take_their_boxes_along(self, source: SmallSource, tmp_path: Path) -> None:
        Image.new("L", (40, 20), 9).save(source.folder / "00000.png")
        prepare(source, tmp_path / "store", fit="pad")
        box = PackedStore.open(tmp_path / "store").boxes.slice(0, 1).to_pylist()[0]
        assert (box["y"], box["height"]) == pytest.approx((0.35, 0.2))

    def test_colour_store(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store", channels=3, image_size=(8, 10))
        assert PackedStore.open(tmp_path / "store").images.shape == (12, 3, 8, 10)

    def test_every_file_has_its_hash_in_the_description(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store")
        store = PackedStore.open(tmp_path / "store")
        store.verify()
        (tmp_path / "store" / "rejected.csv").write_text("study_id,path,reason,detaiL\n")
        with pytest.raises(ValueError, match=r"rejected.csv has changed"):
            PackedStore.open(tmp_path / "store").verify()

    def test_nothing_is_left_of_the_work(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "store"]
        assert not [path for path in (tmp_path / "store").iterdir() if "journal" in path.name]


class TestTokens:
    def tokenizer(self) -> Tokenizer:
        words = ["[PAD]", "[UNK]", "there", "is", "a", "left", "effusion", "no", "."]
        backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, "[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        return backend

    def test_texts_are_tokenised_once_with_places_in_the_text(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store", tokenizer=self.tokenizer(), text_length=6)
        store = PackedStore.open(tmp_path / "store")
        tokens = store.tokens()
        assert tokens.input_ids.dtype == np.int32
        assert tokens.input_ids[0].tolist() == [1, 3, 4, 5, 6, 8]  # the text goes on: cut at six
        text = store.studies.column("text").to_pylist()[0]
        assert [text[start:end] for start, end in tokens.offsets[0]] == ["There", "is", "a", "left", "effusion", "."]
        assert tokens.lengths.tolist() == [6] * 12
        assert tokens.meta["truncated"] == 12
        assert tokens.meta["pad_id"] == 0

    def test_padding_of_the_tokenizer_file_is_not_ours(self, source: SmallSource, tmp_path: Path) -> None:
        backend = self.tokenizer()
        backend.enable_padding(length=4, pad_token="[PAD]")
        backend.enable_truncation(4)
        backend.save(str(tmp_path / "tokenizer.json"))
        prepare(source, tmp_path / "store", tokenizer=tmp_path / "tokenizer.json", text_length=30)
        tokens = PackedStore.open(tmp_path / "store").tokens()
        assert tokens.lengths.max() > 4
        assert (tokens.input_ids[0, tokens.lengths[0] :] == 0).all()

    def test_another_tokenizer_joins_a_complete_store(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store", tokenizer=self.tokenizer(), text_length=6)
        summary = prepare(source, tmp_path / "store", tokenizer=self.tokenizer(), text_length=8)
        assert summary.already_complete
        store = PackedStore.open(tmp_path / "store")
        keys = sorted(path.name for path in (tmp_path / "store" / "tokens").iterdir())
        assert len(keys) == 2
        assert sorted(store.tokens(key).input_ids.shape[1] for key in keys) == [6, 8]
        with pytest.raises(ValueError, match=r"no tokens"):
            store.tokens()

    @pytest.mark.parametrize(
        ("tokenizer", "words"), [("no/such/folder", "does not exist"), (Path("nowhere.json"), "does not exist")]
    )
    def test_missing_tokenizer_is_one_line(
        self, source: SmallSource, tmp_path: Path, tokenizer: object, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises((ValueError, OSError), match=words):
            prepare(source, tmp_path / "store", tokenizer=tokenizer)


class TestRejected:
    def test_each_is_a_line_and_the_totals_add_up(self, source: SmallSource, tmp_path: Path) -> None:
        (source.folder / "00001.png").write_bytes(b"no picture")
        source.changes = {
            2: {"image": tmp_path / "nowhere.png"},
            3: {"report": None},
            4: {"report": Report("r", " \n ")},
            5: {"id": "study0"},
            6: {"report": Report("r", "FINDINGS: The heart is large.")},
            7: {"image": None},
            8: {"id": ""},
        }
        summary = prepare(source, tmp_path / "store")
        rejected = read_rejected(tmp_path / "store" / "rejected.csv")
        assert [(item.study_id, item.reason) for item in rejected] == [
            ("study1", Reason.UNREADABLE_IMAGE),
            ("study2", Reason.MISSING_IMAGE),
            ("study3", Reason.EMPTY_REPORT),
            ("study4", Reason.EMPTY_REPORT),
            ("study0", Reason.DUPLICATE_ID),
            ("study6", Reason.NO_FINDINGS),
            ("study7", Reason.MISSING_IMAGE),
            ("", Reason.MALFORMED),
        ]
        assert rejected[0].path == str(source.folder / "00001.png")
        assert summary.stored == len(PackedStore.open(tmp_path / "store")) == 4
        assert summary.listed == summary.stored + sum(summary.rejected.values()) == 12
        assert summary.rejected["empty report"] == 2
        store = PackedStore.open(tmp_path / "store")
        ids = ["study0", "study9", "study10", "study11"]
        assert store.studies.column("study_id").to_pylist() == ids
        for row, index in enumerate((0, 9, 10, 11)):  # the gaps are closed
            picture = Image.open(source.folder / f"{index:05d}.png").resize((16, 16), Image.Resampling.BILINEAR)
            assert np.array_equal(store.images[row, 0], np.asarray(picture))

    def test_what_the_source_rejects_itself_is_in_the_list(self, source: SmallSource, tmp_path: Path) -> None:
        class Picky(SmallSource):
            def __iter__(self) -> Any:
                self.rejected: list[Rejected] = []
                for study in super().__iter__():
                    if study.id in ("study4", "study11"):
                        self.rejected.append(Rejected(study.id, "table.csv", Reason.MALFORMED, "line 5"))
                    else:
                        yield study

        summary = prepare(Picky(source.folder), tmp_path / "store")
        assert [item.study_id for item in read_rejected(tmp_path / "store" / "rejected.csv")] == ["study4", "study11"]
        assert summary.listed == 12

    def test_evaluation_sets_keep_images_without_report(self, source: SmallSource, tmp_path: Path) -> None:
        source.changes = {0: {"report": None}, 1: {"report": Report("r", "FINDINGS: The heart is large.")}}
        assert prepare(source, tmp_path / "store", require_report=False).stored == 12
        store = PackedStore.open(tmp_path / "store")
        assert store.studies.column("text").to_pylist()[0] is None
        assert store.findings_of(1) == []
        assert prepare(source, tmp_path / "other", require_findings=False).stored == 11

    def test_more_than_max_rejected_stops(self, source: SmallSource, tmp_path: Path) -> None:
        source.changes = {index: {"report": None} for index in range(3)}
        with pytest.raises(PrepareError, match=r"3 items rejected, max_rejected is 2.*rejected.csv"):
            prepare(source, tmp_path / "store", max_rejected=2)
        assert not (tmp_path / "store").exists()
        assert len(read_rejected(tmp_path / "store.partial" / "rejected.csv")) == 3
        assert prepare(source, tmp_path / "store", max_rejected=3).stored == 9

    def test_repaired_image_is_stored_on_resuming(self, source: SmallSource, tmp_path: Path) -> None:
        good = (source.folder / "00001.png").read_bytes()
        (source.folder / "00001.png").write_bytes(b"no picture")
        with pytest.raises(PrepareError):
            prepare(source, tmp_path / "store", max_rejected=0)
        (source.folder / "00001.png").write_bytes(good)
        assert prepare(source, tmp_path / "store", max_rejected=0).stored == 12

    def test_nothing_usable_is_an_error_with_the_reasons(self, source: SmallSource, tmp_path: Path) -> None:
        source.changes = {index: {"report": None} for index in range(12)}
        with pytest.raises(PrepareError, match=r"none of 12 studies can be used \(12 empty report\)"):
            prepare(source, tmp_path / "store")

    def test_images_in_another_folder_are_asked_for_by_the_option(self, tmp_path: Path) -> None:
        from medvlp_datasets.csv_source import CsvSource

        (tmp_path / "t.csv").write_text("image,report\na.png,No effusion.\n")
        with pytest.raises(PrepareError, match=r"1 missing image.*--set source::image_root=FOLDER"):
            prepare(CsvSource(tmp_path / "t.csv", report_column="report"), tmp_path / "store", require_report=False)

    def test_source_without_studies_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(PrepareError, match=r"no studies"):
            prepare([], tmp_path / "store")

    @pytest.mark.parametrize(
        "text",
        ["FINDINGS: effusion\x00 left", "FINDINGS: effusion \udce9", "FINDINGS: effusion " + "word " * 200_000],
        ids=["NUL", "surrogate", "a megabyte"],
    )
    def test_strange_text_is_stored(self, source: SmallSource, tmp_path: Path, text: str) -> None:
        source.changes = {0: {"report": Report("r", text), "id": "st\udce9", "metadata": {"site": "\udce9"}}}
        assert prepare(source, tmp_path / "store").stored == 12
        stored = PackedStore.open(tmp_path / "store").studies.column("text").to_pylist()[0]
        assert stored.startswith("effusion")

    def test_report_that_the_filter_fails_on_costs_itself_alone(self, source: SmallSource, tmp_path: Path) -> None:
        class Fragile(EffusionFilter):
            def findings(self, text: str) -> list[Any]:
                if "heart" in text:
                    raise KeyError("heart")
                return super().findings(text)

        summary = prepare(source, tmp_path / "store", report_filter=Fragile())
        assert summary.rejected == {"report filter failed": 4}
        assert read_rejected(tmp_path / "store" / "rejected.csv")[0].detail == "KeyError"

    def test_filter_that_fails_on_everything_is_an_error(self, source: SmallSource, tmp_path: Path) -> None:
        class Broken(EffusionFilter):
            def findings(self, text: str) -> list[Any]:
                raise KeyError("lexicon")

        with pytest.raises(KeyError, match=r"lexicon"):
            prepare(source, tmp_path / "store", report_filter=Broken())

    def test_reports_never_reach_the_log(
        self, source: SmallSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        source.changes = {0: {"image": tmp_path / "nowhere.png"}, 1: {"report": None}, 2: {"id": "study3"}}
        with caplog.at_level(logging.DEBUG):
            summary = prepare(source, tmp_path / "store")
        for word in ("effusion", "heart", "patient", "study0"):
            assert word not in caplog.text + str(summary)


class TestLeaks:
    def test_patient_in_two_splits_stops_before_any_image(self, source: SmallSource, tmp_path: Path) -> None:
        source.changes = {1: {"split": "train"}, 9: {"split": "validate"}}
        with pytest.raises(LeakError, match=r"2 patients in more than one split: see .*leaks.csv") as error:
            prepare(source, tmp_path / "store")
        assert "study" not in str(error.value)
        with (tmp_path / "store.partial" / "leaks.csv").open() as file:
            assert list(csv.DictReader(file)) == [
                {"kind": "patient", "splits": "test|train", "study_ids": "study0|study1"},
                {"kind": "patient", "splits": "test|validate", "study_ids": "study8|study9"},
            ]
        assert not (tmp_path / "store").exists()

    def test_one_image_in_two_splits_stops(self, source: SmallSource, tmp_path: Path) -> None:
        picture = Image.open(source.folder / "00000.png")
        picture.save(source.folder / "00002.png", compress_level=1)  # other bytes, the same picture
        with pytest.raises(LeakError, match=r"1 image in more than one split"):
            prepare(source, tmp_path / "store")
        leaks = (tmp_path / "store.partial" / "leaks.csv").read_text().splitlines()
        assert leaks[1:] == ["image,test|train,study0|study2"]

    def test_one_image_twice_in_a_split_is_no_leak(self, source: SmallSource, tmp_path: Path) -> None:
        (source.folder / "00003.png").write_bytes((source.folder / "00002.png").read_bytes())
        assert prepare(source, tmp_path / "store").stored == 12

    def test_leaks_can_be_reported_only(self, source: SmallSource, tmp_path: Path) -> None:
        source.changes = {1: {"split": "train"}}
        prepare(source, tmp_path / "store", on_leak="report")
        store = PackedStore.open(tmp_path / "store")
        assert store.meta["counts"]["leaks"] == {"patient": 1, "image": 0}
        assert "leaks.csv" in store.meta["files"]


class TestAgain:
    def test_complete_store_of_the_same_data_is_left_alone(self, source: SmallSource, tmp_path: Path) -> None:
        first = prepare(source, tmp_path / "store")
        before = content(tmp_path / "store")
        again = prepare(source, tmp_path / "store")
        assert again.already_complete
        assert replace(again, seconds=0.0, resumed_from=0, already_complete=False) == replace(first, seconds=0.0)
        assert content(tmp_path / "store") == before
        assert not (tmp_path / "store.partial").exists()

    def test_store_of_other_data_or_settings_is_not_replaced(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store")
        with pytest.raises(PrepareError, match=r"other settings \(image\); pass overwrite"):
            prepare(source, tmp_path / "store", image_size=8)
        source.changes = {0: {"report": Report("report0", "FINDINGS: effusion?")}}
        with pytest.raises(PrepareError, match=r"the source's records"):
            prepare(source, tmp_path / "store")
        assert PackedStore.open(tmp_path / "store").images.shape[-1] == 16

    def test_overwrite_replaces_it(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store")
        prepare(source, tmp_path / "store", image_size=8, overwrite=True)
        assert PackedStore.open(tmp_path / "store").images.shape[-1] == 8
        assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "store"]

    def test_folder_that_is_no_store_is_not_touched(self, source: SmallSource, tmp_path: Path) -> None:
        with pytest.raises(PrepareError, match=r"is not a store"):
            prepare(source, source.folder, overwrite=True)
        assert len(list(source.folder.iterdir())) == 12

    def test_two_runs_of_the_same_data_give_the_same_bytes(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "one")
        prepare(source, tmp_path / "two")
        assert content(tmp_path / "one") == content(tmp_path / "two")


class TestTrouble:
    def test_second_prepare_on_a_target_is_refused(self, source: SmallSource, tmp_path: Path) -> None:
        class Nested(SmallSource):
            def __iter__(self) -> Any:
                with pytest.raises(PrepareError, match=r"another prepare is writing this store"):
                    prepare(source, tmp_path / "store")
                return super().__iter__()

        assert prepare(Nested(source.folder), tmp_path / "store").stored == 12

    def test_full_disk_is_one_line_and_the_work_goes_on_later(
        self, source: SmallSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(self: ArrayFile, row: int, content: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(ArrayFile, "write_bytes", full)
            with pytest.raises(PrepareError, match=r"the disk is full.*free some space and run again"):
                prepare(source, tmp_path / "store")
        assert prepare(source, tmp_path / "store").stored == 12

    def test_target_that_cannot_be_written_is_one_line(
        self, source: SmallSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(PrepareError, match=r"cannot be written .*give another output_dir"):
            prepare(source, tmp_path / "store")

    def test_unreadable_table_is_not_blamed_on_the_target(self, source: SmallSource, tmp_path: Path) -> None:
        class Locked(SmallSource):
            def __iter__(self) -> Any:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data/labels.csv")

        with pytest.raises(PrepareError, match=r"^/data/labels.csv: Permission denied$"):
            prepare(Locked(source.folder), tmp_path / "out" / "store")

    def test_target_below_a_file_is_one_line(self, source: SmallSource, tmp_path: Path) -> None:
        with pytest.raises(PrepareError, match=r"00000.png"):
            prepare(source, source.folder / "00000.png" / "store")

    def test_damaged_journal_is_one_line(self, source: SmallSource, tmp_path: Path) -> None:
        (tmp_path / "store.partial").mkdir()
        (tmp_path / "store.partial" / "journal.sqlite").write_bytes(b"no database" * 100)
        with pytest.raises(PrepareError, match=r"store.partial: .*remove it"):
            prepare(source, tmp_path / "store")

    @pytest.mark.parametrize(
        "options",
        [{"on_leak": "ask"}, {"workers": -1}, {"sections": "findings"}, {"image_size": (1, 2, 3, 4)}, {"channels": 2}],
    )
    def test_wrong_options_are_one_line(self, tmp_path: Path, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"^\w+ is "):
            Prepare([], tmp_path / "store", **options)

    def test_damaged_table_is_one_line(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store")
        path = tmp_path / "store" / "studies.parquet"
        size = path.stat().st_size
        path.write_bytes(b"x" * size)
        with pytest.raises(ValueError, match=r"studies.parquet is damaged"):
            _ = PackedStore.open(tmp_path / "store").studies
        path.write_bytes(b"x")
        with pytest.raises(ValueError, match=r"changed size"):
            PackedStore.open(tmp_path / "store")

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["studies", "findings", "boxes"])
    def test_damaged_bytes_of_a_table_are_one_line(self, source: SmallSource, tmp_path: Path, name: str) -> None:
        prepare(source, tmp_path / "store")
        path = tmp_path / "store" / f"{name}.parquet"
        whole = path.read_bytes()
        rng = np.random.default_rng(0)
        for _ in range(400):
            changed = bytearray(whole)
            for place in rng.integers(0, len(whole), 4):
                changed[place] = rng.integers(0, 256)
            path.write_bytes(bytes(changed))
            with contextlib.suppress(StoreError):
                PackedStore.open(tmp_path / "store").table(name)

    def test_store_of_another_schema_version_names_the_command(self, source: SmallSource, tmp_path: Path) -> None:
        prepare(source, tmp_path / "store")
        path = tmp_path / "store" / "store.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
        with pytest.raises(ValueError, match=r"schema 99.*medvlp prepare"):
            PackedStore.open(tmp_path / "store")
        path.write_text("{")
        with pytest.raises(ValueError, match=r"damaged.*medvlp prepare"):
            PackedStore.open(tmp_path / "store")
        with pytest.raises(ValueError, match=r"no store.*medvlp prepare"):
            PackedStore.open(tmp_path / "nowhere")
        (tmp_path / "nowhere.partial").mkdir()
        with pytest.raises(ValueError, match=r"interrupted.*medvlp prepare"):
            PackedStore.open(tmp_path / "nowhere")


class TestWorkers:
    @pytest.fixture
    def large(self, tmp_path: Path) -> SmallSource:
        write_images(tmp_path / "images", 150)
        source = SmallSource(tmp_path / "images")
        (source.folder / "00003.png").write_bytes(b"no picture")
        source.changes = {70: {"report": None}, 100: {"id": "study99"}}
        return source

    def test_result_does_not_depend_on_the_number_of_workers(self, large: SmallSource, tmp_path: Path) -> None:
        for workers in (0, 1, 3):
            prepare(large, tmp_path / str(workers), workers=workers)
        assert content(tmp_path / "0") == content(tmp_path / "1") == content(tmp_path / "3")

    @pytest.mark.parametrize("workers", [0, 2])
    def test_what_the_report_filter_counted_is_in_the_summary(
        self, large: SmallSource, tmp_path: Path, workers: int
    ) -> None:
        summary = prepare(large, tmp_path / "store", workers=workers, report_filter=CountingFilter())
        assert summary.tally == ("files read: 1", "reports read: 148")
        assert str(summary).endswith("\nfiles read: 1\nreports read: 148")

    def test_image_that_kills_its_worker_is_rejected_alone(self, large: SmallSource, tmp_path: Path) -> None:
        source = KillingSource(large.folder, killers=("study5", "study80"))
        (large.folder / "00003.png").write_bytes((large.folder / "00004.png").read_bytes())
        summary = prepare(source, tmp_path / "store", workers=2)
        rejected = read_rejected(tmp_path / "store" / "rejected.csv")
        assert [(item.study_id, item.detail) for item in rejected] == [
            ("study5", "reading it killed the worker process"),
            ("study80", "reading it killed the worker process"),
        ]
        assert summary.stored == 148

    def test_worker_that_dies_once_costs_nothing(self, large: SmallSource, tmp_path: Path) -> None:
        (large.folder / "00003.png").write_bytes((large.folder / "00004.png").read_bytes())
        source = KillingSource(large.folder, once=tmp_path / "died")
        assert prepare(source, tmp_path / "store", workers=2).stored == 150

    def test_dask_cluster_gives_the_same_bytes(self, large: SmallSource, tmp_path: Path) -> None:
        distributed = pytest.importorskip("distributed")
        prepare(large, tmp_path / "here")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster:
            prepare(large, tmp_path / "there", scheduler=cluster.scheduler_address)
        assert content(tmp_path / "here") == content(tmp_path / "there")

    def test_absent_scheduler_is_one_line(self, large: SmallSource, tmp_path: Path) -> None:
        pytest.importorskip("distributed")
        with pytest.raises(ValueError, match=r"no Dask scheduler answers there"):
            prepare(large, tmp_path / "store", scheduler="tcp://127.0.0.1:9")


def test_store_travels_to_other_processes_as_its_path(source: SmallSource, tmp_path: Path) -> None:
    import pickle

    prepare(source, tmp_path / "store")
    store = PackedStore.open(tmp_path / "store")
    assert store.images.any()
    sent = pickle.dumps(store)
    assert len(sent) < 500
    assert np.array_equal(pickle.loads(sent).images, store.images)


def test_tables_do_not_depend_on_the_division_into_chunks(source: SmallSource, tmp_path: Path) -> None:
    prepare(source, tmp_path / "store")
    groups = pq.ParquetFile(tmp_path / "store" / "studies.parquet").metadata.num_row_groups
    assert groups == 1
