"""Figures with captions, and images with questions, on small files in exactly the published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from medvlp_datasets.figures import MedicatSource, MelindaSource, RocoSource
from medvlp_datasets.questions import SlakeSource, VqaMed2019Source, VqaMed2021Source, VqaRadSource
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.preparing.prepare import Prepare
from medvlp_toolkit.preparing.splits import LeakError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def picture(path: Path, colour: tuple[int, int, int] = (200, 10, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), colour).save(path)
    return path


class TestRoco:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data" / "validation" / "radiology"
        write(
            folder / "captions.txt",
            "ROCO_00020\t Axial computed tomography scan of the pelvis.\nROCO_00027\tRadiograph.\nno caption\n",
        )
        write(
            folder / "dlinks.txt",
            "ROCO_00020\twget -r ftp://ftp.ncbi.nlm.nih.gov/pub/pmc/oa_package/1e/ed/PMC3970251.tar.gz "
            "-P /path/to/Dir\tCRIONM2014-931546.003.jpg\n",
        )
        picture(folder / "images" / "PMC3970251_CRIONM2014-931546.003.jpg")
        picture(folder / "images" / "ROCO_00027.jpg", (0, 0, 0))
        return tmp_path

    def test_captions_images_and_articles(self, root: Path) -> None:
        source = RocoSource(root)
        first, second = source
        assert first.report is not None
        assert first.report.text == "Axial computed tomography scan of the pelvis."
        assert first.split == "validate"
        assert first.metadata["article"] == "PMC3970251"
        for study in (first, second):
            assert study.image is not None
            assert study.image.is_file()
        assert [item.detail[:6] for item in source.rejected] == ["line 3"]

    def test_colour_stays_colour(self, root: Path, tmp_path: Path) -> None:
        Prepare(RocoSource(root), tmp_path / "store", 8, channels=3, workers=0).run()
        images = PackedStore.open(tmp_path / "store").images
        assert images.shape == (2, 3, 8, 8)
        assert images[0, 0].mean() > 150 > images[0, 1].mean()

    def test_folder_without_captions_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"captions.txt"):
            RocoSource(tmp_path)


class TestMedicat:
    def write(self, root: Path) -> Path:
        entry = {
            "pdf_hash": "26491ab7", "fig_key": "Figure4", "fig_uri": "3-Figure4-1.png", "radiology": True,
            "s2_caption": "Figure 4. Lesion.", "s2orc_caption": "Lesion.", "s2orc_references": ["See (Figure 4)."],
        }  # fmt: skip
        lines = [entry, {**entry, "fig_uri": "2.png", "radiology": False}, {**entry, "fig_uri": "3.png",
                 "s2_caption": "", "s2orc_references": None}]  # fmt: skip
        texts = [json.dumps(line) for line in lines]
        write(root / "s2_full_figures_oa_nonroco_combined_medical_top4_public.jsonl", "\n".join([*texts, "{", "[1]"]))
        return root

    def test_radiology_figures_with_captions(self, tmp_path: Path) -> None:
        source = MedicatSource(self.write(tmp_path))
        first, second = source
        assert first.id == "26491ab7_3-Figure4-1.png"
        assert first.image == tmp_path / "figures" / "26491ab7_3-Figure4-1.png"
        assert first.report is not None
        assert first.report.text == "Figure 4. Lesion."
        assert second.report is not None
        assert second.report.text == "Lesion."
        assert first.patient_id == second.patient_id == "26491ab7"
        assert [item.detail[:6] for item in source.rejected] == ["line 4", "line 5"]

    def test_references_and_other_figures_on_demand(self, tmp_path: Path) -> None:
        studies = list(MedicatSource(self.write(tmp_path), radiology_only=False, references=True))
        assert len(studies) == 3
        assert studies[0].report is not None
        assert studies[0].report.text == "Figure 4. Lesion.\nSee (Figure 4)."


def test_melinda_rows_are_studies_with_methods(tmp_path: Path) -> None:
    header = "figure_file,caption,i_meth,p_meth,i_meth_label,p_meth_label\n"
    write(tmp_path / "train.csv", f"{header}1_2.png,Western blot.,anti tag,pull down,a,b\n1_2.png,Gel.,x,y,a,b\n")
    write(tmp_path / "dev.csv", f"{header}3_4.png,Blot.,x,y,a,b\n")
    (tmp_path / "melinda_images").mkdir()
    first, second, third = MelindaSource(tmp_path)
    assert first.image == second.image == tmp_path / "melinda_images" / "1_2.png"
    assert first.id != second.id
    assert first.metadata == {"i_meth": "anti tag", "p_meth": "pull down", "i_meth_label": "a", "p_meth_label": "b"}
    assert third.split == "validate"


VQA_RAD = [
    {"qid": "0", "phrase_type": "freeform", "image_name": "synpic54610.jpg", "image_organ": "HEAD", "answer": "Yes",
     "answer_type": "CLOSED ", "question_type": "PRES", "question": "Are regions infarcted?"},
    {"qid": "1", "phrase_type": "test_freeform", "image_name": "synpic54610.jpg", "image_organ": "HEAD", "answer": 4,
     "answer_type": "OPEN", "question_type": "COUNT", "question": "How many?"},
    {"qid": "2", "phrase_type": "para", "image_name": "synpic1.jpg", "image_organ": "CHEST", "answer": "No",
     "answer_type": "CLOSED", "question_type": "PRES", "question": "Is it large?"},
    {"qid": "3", "image_name": "synpic1.jpg"},
    7,
]  # fmt: skip


class TestVqaRad:
    def test_test_questions_are_those_whose_phrase_says_so(self, tmp_path: Path) -> None:
        write(tmp_path / "VQA_RAD Dataset Public.json", json.dumps(VQA_RAD))
        (tmp_path / "VQA_RAD Image Folder").mkdir()
        source = VqaRadSource(tmp_path)
        first, second = source
        assert first.image == tmp_path / "VQA_RAD Image Folder" / "synpic54610.jpg"
        assert [question.split for question in first.questions] == ["train", "test"]
        assert [question.answer for question in first.questions] == ["Yes", "4"]
        assert [question.answer_type for question in first.questions] == ["closed", "open"]
        assert first.split is None
        assert second.split == "train"
        assert first.metadata == {"organ": "HEAD"}
        assert [item.detail[:7] for item in source.rejected] == ["entry 3", "entry 4"]

    @pytest.mark.parametrize("answer", [None, "", "  ", ["left", "right"], {"side": "left"}, True])
    def test_an_answer_that_is_no_text_is_rejected_and_is_no_class(self, tmp_path: Path, answer: object) -> None:
        entries = [
            {"qid": 1, "image_name": "a.jpg", "question": "Where?", "answer": " left ", "question_type": "PRES "},
            {"qid": 2, "image_name": "a.jpg", "question": "How many?", "answer": 5},
            {"qid": 3, "image_name": "a.jpg", "question": "What?", "answer": answer},
            {"qid": 4, "image_name": "a.jpg", "question": None, "answer": "yes"},
        ]
        write(tmp_path / "trainset.json", json.dumps(entries))
        source = VqaRadSource(tmp_path)
        (study,) = source
        assert [(question.answer, question.category) for question in study.questions] == [("left", "PRES"), ("5", None)]
        assert [item.detail[:8] for item in source.rejected] == ["entry 2 ", "entry 3 "]

    def test_a_question_that_is_there_twice_is_asked_once(self, tmp_path: Path) -> None:
        entry = {"qid": "1", "image_name": "a.jpg", "question": "Effusion?", "answer": "Yes"}
        write(tmp_path / "trainset.json", json.dumps([entry, {**entry, "qid": 1, "answer": "No"}]))
        source = VqaRadSource(tmp_path)
        (study,) = source
        assert [question.answer for question in study.questions] == ["Yes"]
        assert [item.reason for item in source.rejected] == ["duplicate id"]

    def test_form_with_one_file_per_split(self, tmp_path: Path) -> None:
        write(tmp_path / "trainset.json", json.dumps(VQA_RAD[:1]))
        write(tmp_path / "testset.json", json.dumps(VQA_RAD[2:3]))
        write(tmp_path / "valset.json", json.dumps(VQA_RAD[2:3]))
        first, second = VqaRadSource(tmp_path)
        assert [study.split for study in (first, second)] == ["train", "test"]
        assert len(second.questions) == 1

    def test_images_in_both_splits_are_a_leak(self, tmp_path: Path) -> None:
        write(tmp_path / "VQA_RAD Dataset Public.json", json.dumps(VQA_RAD))
        picture(tmp_path / "images" / "synpic54610.jpg")
        picture(tmp_path / "images" / "synpic1.jpg", (0, 0, 0))
        source = VqaRadSource(tmp_path)
        with pytest.raises(LeakError, match=r"1 patient in more than one split"):
            Prepare(source, tmp_path / "store", 8, require_report=False, workers=0).run()
        Prepare(source, tmp_path / "store", 8, require_report=False, workers=0, on_leak="report").run()
        store = PackedStore.open(tmp_path / "store")
        assert store.questions.column("study").to_pylist() == [0, 0, 1]
        assert store.questions.column("split").to_pylist() == ["train", "test", "train"]
        assert store.meta["counts"]["leaks"]["image"] == 1

    @pytest.mark.parametrize("text", ["{", '{"a": 1}', "[" * 100_000], ids=["cut", "no list", "deep"])
    def test_damaged_file_is_one_line(self, tmp_path: Path, text: str) -> None:
        write(tmp_path / "VQA_RAD Dataset Public.json", text)
        with pytest.raises(ValueError, match=r"VQA_RAD Dataset Public.json: "):
            list(VqaRadSource(tmp_path))


class TestSlake:
    def write(self, root: Path) -> Path:
        entry = {
            "img_id": 1, "img_name": "xmlab1/source.jpg", "question": "What modality?", "answer": "MRI", "q_lang": "en",
            "location": "Abdomen", "modality": "MRI", "answer_type": "OPEN", "base_type": "vqa",
            "content_type": "Modality", "triple": ["vhead", "_", "_"], "qid": 9,
        }  # fmt: skip
        chinese = {**entry, "q_lang": "zh", "question": "这是什么?", "answer": "核磁", "qid": 10}
        write(root / "train.json", json.dumps([entry, chinese], ensure_ascii=False))
        write(root / "validate.json", json.dumps([{**entry, "img_name": "xmlab2/source.jpg", "qid": 11}]))
        return root

    def test_questions_of_a_language(self, tmp_path: Path) -> None:
        first, second = SlakeSource(self.write(tmp_path))
        assert (first.id, first.split) == ("xmlab1", "train")
        assert first.image == tmp_path / "imgs" / "xmlab1" / "source.jpg"
        assert [question.id for question in first.questions] == ["9"]
        assert first.questions[0].category == "Modality"
        assert first.metadata == {"modality": "MRI", "organ": "Abdomen"}
        assert second.split == "validate"
        (chinese,) = SlakeSource(tmp_path, language="zh")
        assert chinese.questions[0].answer == "核磁"
        assert len(next(iter(SlakeSource(tmp_path, language="all"))).questions) == 2

    def test_unknown_language_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"language is en or zh or all"):
            SlakeSource(self.write(tmp_path), language="fr")


class TestVqaMed2019:
    def test_published_folders(self, tmp_path: Path) -> None:
        train = tmp_path / "ImageClef-2019-VQA-Med-Training"
        modality = "synpic1|what kind of image is this?|cta\nbroken\n"
        write(train / "QAPairsByCategory" / "C1_Modality_train.txt", modality)
        write(train / "QAPairsByCategory" / "C4_Abnormality_train.txt", "synpic1|what is abnormal?|a | b\n")
        (train / "Train_images").mkdir()
        test = tmp_path / "VQAMed2019Test"
        write(test / "VQAMed2019_Test_Questions_w_Ref_Answers.txt", "synpic2|plane|which plane?|axial\n")
        (test / "VQAMed2019_Test_Images").mkdir()
        source = VqaMed2019Source(tmp_path)
        first, second = source
        assert first.image == train / "Train_images" / "synpic1.jpg"
        assert [question.category for question in first.questions] == ["modality", "abnormality"]
        assert first.questions[1].answer == "a | b"
        assert second.image == test / "VQAMed2019_Test_Images" / "synpic2.jpg"
        assert (second.split, second.questions[0].category) == ("test", "plane")
        assert len(source.rejected) == 1

    def test_real_tables(self, shared_data: Path) -> None:
        source = VqaMed2019Source(shared_data / "vqamed2019")
        studies = list(source)
        questions = [question for study in studies for question in study.questions]
        assert not source.rejected
        assert len(questions) == 12_792 + 1_084
        assert sum(question.split == "eval" for question in questions) == 1_084
        assert len({question.id for question in questions}) == len(questions)
        assert {question.category for question in questions} == {"modality", "plane", "organ", "abnormality"}
        assert all(study.image is not None and study.image.is_file() for study in studies)
        assert sum(study.split == "eval" for study in studies) == 271

    def test_folder_without_questions_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"QAPairsByCategory"):
            VqaMed2019Source(tmp_path)


class TestVqaMed2021:
    def root(self, folder: Path) -> Path:
        write(folder / "2020-Train" / "VQAnswering_2020_Train_QA_pairs.txt", "synpic1|what is wrong?|cyst\n")
        write(folder / "2020-Val" / "VQAnswering_2020_Val_QA_Pairs.txt", "synpic2|what is wrong?|mass\n")
        write(folder / "VQA-Med-2021-VQAnswering-Task1-New-ValidationSet.txt", "synpic3|is it normal?|no\nsynpic4|no\n")
        write(folder / "Task1-VQA-2021-TestSet-Questions.txt", "synpic5|what is it?\n")
        write(folder / "Task1-VQA-2021-TestSet-ReferenceAnswers.txt", "synpic5|stroke|infarct\nsynpic9|mass\n")
        picture(folder / "2020-Train" / "VQAnswering_2020_Train_images" / "synpic1.jpg")
        return folder

    def test_sets_of_2020_train_and_those_of_2021_select_and_test(self, tmp_path: Path) -> None:
        source = VqaMed2021Source(self.root(tmp_path))
        found = {study.id: study for study in source}
        assert {name: study.split for name, study in found.items()} == {
            "synpic1": "train",
            "synpic2": "train",
            "synpic3": "validate",
            "synpic5": "test",
        }
        assert found["synpic1"].image == tmp_path / "2020-Train" / "VQAnswering_2020_Train_images" / "synpic1.jpg"
        (question,) = found["synpic5"].questions
        assert (question.text, question.answer, question.category) == ("what is it?", "stroke", "abnormality")
        assert [entry.detail for entry in source.rejected] == [
            "line 2 does not have 3 fields",
            "line 2 answers an image that no question is about",
        ]

    def test_abnormalities_of_2019_are_added_to_training(self, tmp_path: Path) -> None:
        older = tmp_path / "2019"
        rows = "a.jpg,abnormality,what is it?,fracture\na.jpg,plane,which plane?,axial\n"
        write(older / "train.csv", f"image,category,question,answer\n{rows}")
        write(older / "eval.csv", f"image,category,question,answer\n{rows}")
        studies = list(VqaMed2021Source(self.root(tmp_path / "2021"), older))
        (added,) = [study for study in studies if study.id == "a"]
        assert (added.split, [question.answer for question in added.questions]) == ("train", ["fracture"])

    def test_folder_without_questions_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"has no QA_pairs\.txt"):
            VqaMed2021Source(tmp_path)
