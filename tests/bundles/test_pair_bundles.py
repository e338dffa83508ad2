"""The bundles that fine-tune on pairs of image and text train, evaluate, answer, and say mistakes in one line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medvlp_toolkit.data.batches.answers import AnswerVocabulary
from medvlp_toolkit.data.store import PackedStore
from medvlp_toolkit.downstream.pretrained_bundle import PretrainedBundle
from medvlp_toolkit.errors import user_message
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.shipped_bundles import shipped_bundles
from medvlp_toolkit.verification.bundle import verify_bundle
from tests.bundles import whole_run
from tests.question_store import HALVES, QUESTIONS, caption_store, question_store, write_questions

BUNDLES = Path(__file__).parents[2] / "bundles"
TINY: dict[str, Any] = {
    "image_size": 32,
    "width": 32,
    "image_encoder::last_stage": 2,
    "image_encoder::widths": [16, 32],
    "precision": "fp32",
    "log_every": 10,
}


def run(bundle: str, *configs: str, **overrides: Any) -> Any:
    from monai.bundle import ConfigWorkflow

    files = [str(BUNDLES / bundle / "configs" / f"{name}.yaml") for name in configs]
    tiny = {key: value for key, value in TINY.items() if key != "log_every" or "train" in configs}
    known = {**(tiny if "small" in configs else {}), **overrides}
    kind = "infer" if "inference" in configs else "train"
    workflow = ConfigWorkflow(config_file=files, workflow_type=kind, **known)
    workflow.initialize()
    if {"train", "inference"} & set(configs):
        assert workflow.check_properties() == []
    workflow.run()
    workflow.finalize()
    return workflow


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short training and evaluation on pictures where only the picture determines the answer."""
    folder = tmp_path_factory.mktemp("vqa")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    question_store(folder, images=96)
    common = {"dataset_dir": str(folder / "store"), "output_dir": str(folder)}
    run(
        "vqa",
        "train",
        "small",
        **common,
        epochs=16,
        batch_size=8,
        learning_rate=2e-3,
        **{"augmentation::crop_scale": [1.0, 1.0]},
    )
    run("vqa", "evaluate", output_dir=str(folder))
    torch.set_num_threads(threads)
    return folder


def test_answers_are_learned_from_the_image(answered: Path) -> None:
    measured = Results.read(answered / "evaluation").metrics["answers"]
    assert measured["overall"]["n"] == 16
    assert measured["overall"]["unseen"] == 1
    assert measured["overall"]["accuracy"] >= 0.75
    controls = measured["controls"]
    assert controls["blank image"]["overall"]["accuracy"] < measured["overall"]["accuracy"]
    assert controls["shuffled"]["overall"]["accuracy"] < measured["overall"]["accuracy"]
    assert set(measured["baselines"]["question"]) == {"overall", "plane", "modality"}


def test_every_answer_is_listed(answered: Path) -> None:
    with (answered / "evaluation" / "answers.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 16
    assert {row["text"] for row in rows} == set(QUESTIONS.values())


def test_a_question_about_a_file_is_answered(answered: Path, tmp_path: Path) -> None:
    workflow = run(
        "vqa",
        "inference",
        finetuned=str(answered / "best.pt"),
        images=str(answered / "source" / "images" / "test2.png"),
        question="is the top bright?",
        output_dir=str(tmp_path),
    )
    read_as = workflow.parser.get_parsed_content("dataset").files.stored_format
    assert read_as == PackedStore.open(answered / "store").stored_format
    assert read_as.fit == "crop"
    with (tmp_path / "answers.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[0]["answer"] == "yes"
    shares = [float(row["probability"]) for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1.001
    assert len(list((tmp_path / "attention").glob("overlay_*.png"))) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"question": "which half is bright?"}, "no image is given for the question"),
        ({"images": "source/images/test0.png"}, "an image without a question has no answer; ask one"),
        ({"finetuned": "source/train.csv", "images": "a", "question": "b"}, "train.csv"),
    ],
)
def test_what_is_missing_is_one_line(answered: Path, tmp_path: Path, given: dict[str, str], said: str) -> None:
    paths = {key: str(answered / value) if "/" in value else value for key, value in given.items()}
    options = {"finetuned": str(answered / "best.pt"), "output_dir": str(tmp_path), **paths}
    with pytest.raises(Exception) as caught:
        run("vqa", "inference", **options)
    message = user_message(caught.value)
    assert message is not None
    assert said in message
    assert "\n" not in message


def test_questions_of_another_data_set_are_one_line(answered: Path, tmp_path: Path) -> None:
    root = write_questions(tmp_path / "source", images=4, tests=4)
    for table in root.glob("*.csv"):
        lines = table.read_text().replace("half.", "part.").replace(",yes", ",ja").replace(",no", ",nein")
        table.write_text(lines.replace("in the picture", "im Bild"))
    run("vqa", "prepare", root=str(root), dataset_dir=str(tmp_path / "store"), stored_size=32, workers=0)
    with pytest.raises(Exception) as caught:
        run(
            "vqa",
            "evaluate",
            dataset_dir=str(tmp_path / "store"),
            output_dir=str(answered),
            results_dir=str(tmp_path),
        )
    message = user_message(caught.value)
    assert message is not None
    assert "it is of another data set" in message
    assert "\n" not in message


def test_published_vocabulary_has_the_answers_of_all_splits(answered: Path) -> None:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(BUNDLES / "vqa" / "configs" / name) for name in ("train.yaml", "small.yaml")])
    parser["dataset_dir"] = str(answered / "store")
    own: AnswerVocabulary = parser.get_parsed_content("vocabulary")
    parser = ConfigParser()
    parser.read_config([str(BUNDLES / "vqa" / "configs" / name) for name in ("train.yaml", "small.yaml")])
    parser.update({"dataset_dir": str(answered / "store"), "answer_splits": ["train", "validate", "test"]})
    published: AnswerVocabulary = parser.get_parsed_content("vocabulary")
    assert set(published.answers) - set(own.answers) == {"in picture"}


@pytest.mark.parametrize("channels", [1, 3])
def test_images_with_texts_are_classified(channels: int, tmp_path: Path) -> None:
    caption_store(tmp_path, channels=channels)
    common = {"dataset_dir": str(tmp_path / "store"), "output_dir": str(tmp_path), "label": "kind"}
    run("image_text_classification", "train", "small", **common, epochs=3, batch_size=8)
    run("image_text_classification", "evaluate", output_dir=str(tmp_path))
    measured = Results.read(tmp_path / "evaluation").metrics["classes"]
    assert set(measured["classes"]["classes"]) == {"lying", "upright"}
    assert measured["overall"]["n"] == 8
    assert set(measured["controls"]) == {"blank image", "shuffled"}


@pytest.fixture(scope="module")
def retrieved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short training on pictures with a caption each."""
    folder = tmp_path_factory.mktemp("retrieval")
    caption_store(folder, channels=3)  # as its prepare.yaml stores them
    common = {"dataset_dir": str(folder / "store"), "output_dir": str(folder)}
    run("retrieval", "train", "small", **common, epochs=2, batch_size=8, negatives=4)
    return folder


def test_texts_are_retrieved(retrieved: Path, tmp_path: Path) -> None:
    common = {"output_dir": str(retrieved), "results_dir": str(tmp_path)}
    run("retrieval", "evaluate", **common)
    (measured,) = Results.read(tmp_path).metrics["retrieval"].values()
    assert measured["image_to_text"]["queries"] == measured["text_to_image"]["candidates"] == 8
    assert measured["pairs"] == 64
    assert np.isfinite(np.load(tmp_path / "scores.npy")).all()
    run("retrieval", "evaluate", **common, rerank=2)
    (measured,) = Results.read(tmp_path).metrics["retrieval"].values()
    assert 16 <= measured["pairs"] <= 32


def rank_files(retrieved: Path, output_dir: Path, **given: Any) -> list[dict[str, str]]:
    """The rows of ``retrieval.csv``."""
    options = {"finetuned": str(retrieved / "best.pt"), "output_dir": str(output_dir), **given}
    run("retrieval", "inference", **options)
    with (output_dir / "retrieval.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_texts_are_ranked_for_files_and_files_for_texts(
    retrieved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """From files the scores are those of the evaluation, in batches of images smaller than the folder."""
    common = {"output_dir": str(retrieved), "results_dir": str(tmp_path)}
    run("retrieval", "evaluate", **common)
    expected = np.load(tmp_path / "scores.npy")
    assert min(expected.std(axis=0).min(), expected.std(axis=1).min()) > 1e-5  # ten times what may differ below
    ids = [str(name) for name in Results.read(tmp_path).scores["study_id"].to_pylist()]
    (tmp_path / "images").mkdir()
    for name in ids:
        shutil.copy(retrieved / "source" / "images" / f"{name}.png", tmp_path / "images")
    captions = [f"picture {int(name[5:])} is bright at the {HALVES[int(name[5:]) % 4]}" for name in ids]
    (tmp_path / "texts.txt").write_text("\n" + "\n".join(captions) + "\n\n", encoding="utf-8-sig")
    capsys.readouterr()
    rows = rank_files(
        retrieved, tmp_path / "out", images=str(tmp_path / "images"), texts=str(tmp_path / "texts.txt"), batch_size=3
    )
    said = capsys.readouterr().out + caplog.text
    assert "bright" not in said
    assert ".png" not in said
    assert "retrieval.csv" in said
    scores = np.full((8, 8), np.nan)
    for row in rows:
        scores[ids.index(row["image"].removesuffix(".png")), int(row["text"]) - 2] = float(row["score"])
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
    for name in {row["image"] for row in rows}:
        of_image = [row for row in rows if row["image"] == name]
        assert [int(row["text_rank"]) for row in of_image] == list(range(1, 9))
        assert [float(row["score"]) for row in of_image] == sorted((float(r["score"]) for r in of_image), reverse=True)
    for number in range(2, 10):
        of_text = sorted((row for row in rows if row["text"] == str(number)), key=lambda row: int(row["image_rank"]))
        assert [int(row["image_rank"]) for row in of_text] == list(range(1, 9))
        assert [float(row["score"]) for row in of_text] == sorted((float(r["score"]) for r in of_text), reverse=True)


def test_images_are_ranked_for_one_text(retrieved: Path, tmp_path: Path) -> None:
    images = retrieved / "source" / "images"
    rows = rank_files(retrieved, tmp_path, images=str(images), texts="bright at the left")
    assert {row["text"] for row in rows} == {"1"}
    assert sorted(int(row["image_rank"]) for row in rows) == list(range(1, len(list(images.iterdir())) + 1))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"texts": "a text"}, "no image to rank texts for"),
        ({"images": "none.png", "texts": "a text"}, "no image at"),
        ({"images": "source/images/test0.png"}, "no text to rank"),
        ({"images": "source/images/test0.png", "texts": "empty.txt"}, "contains no text; write one text per line"),
        ({"images": "source/images/test0.png", "texts": "none.txt"}, "no file of texts at"),
        ({"images": "source/images/test0.png", "texts": "latin.txt"}, "save it as UTF-8"),
        ({"images": "empty.txt", "texts": "a text"}, "empty.txt"),
    ],
)
def test_what_ranking_lacks_is_one_line(retrieved: Path, tmp_path: Path, given: dict[str, str], said: str) -> None:
    (retrieved / "empty.txt").write_text("\n \n")
    (retrieved / "latin.txt").write_bytes("lésion".encode("latin-1"))
    paths = {key: value if " " in value else str(retrieved / value) for key, value in given.items()}
    with pytest.raises(Exception) as caught:
        rank_files(retrieved, tmp_path, **paths)
    message = user_message(caught.value)
    assert message is not None
    assert said in message
    assert "\n" not in message


# -- the model is described once, at fine-tuning ---------------------------------------------------


def refused(*configs: str, **overrides: Any) -> str:
    """The one line that a run ends with."""
    with pytest.raises(Exception) as caught:
        run(*configs, **overrides)
    message = user_message(caught.value)
    assert message is not None, f"a traceback: {caught.value!r}"
    assert "\n" not in message
    return message


def test_no_question_travels_with_the_weights(answered: Path) -> None:
    written = (answered / "model.json").read_text()
    assert not any(question in written for question in QUESTIONS.values())


def test_the_overlays_of_fine_tuning_may_be_repeated(answered: Path, tmp_path: Path) -> None:
    common = {"output_dir": str(answered), "results_dir": str(tmp_path)}
    run("vqa", "evaluate", "small", **common)
    first = Results.read(answered / "evaluation").metrics["answers"]["overall"]["accuracy"]
    assert Results.read(tmp_path).metrics["answers"]["overall"]["accuracy"] == first


@pytest.mark.parametrize(
    ("given", "both"),
    [
        ({"width": 64}, ("width is 64", "trained with 32")),
        ({"image_size": 64}, ("image_size is 64", "trained with 32")),
        ({"text_length": 40}, ("text_length is 40", "trained with 24")),
        ({"head_dropout": 0.5}, ("head_dropout is 0.5", "trained with 0.1")),
        (
            {"image_encoder": {"_target_": "medvlp_toolkit.encoders.clip_vit"}},
            ("encoders.clip_vit'", "encoders.resnet'"),
        ),
    ],
    ids=lambda one: next(iter(one)),
)
def test_what_contradicts_the_fine_tuned_model_is_refused(
    given: dict[str, Any], both: tuple[str, str], answered: Path, tmp_path: Path
) -> None:
    common = {"output_dir": str(answered), "results_dir": str(tmp_path)}
    for message in (
        refused("vqa", "evaluate", **common, **given),
        refused("vqa", "inference", finetuned=str(answered / "best.pt"), output_dir=str(tmp_path), **given),
    ):
        assert all(part in message for part in both)


def test_weights_without_a_description_are_of_the_bundle_and_its_overlays(answered: Path, tmp_path: Path) -> None:
    shutil.copy(answered / "best.pt", tmp_path)
    common = {"output_dir": str(tmp_path), "dataset_dir": str(answered / "store")}
    run("vqa", "evaluate", "small", **common, head_dropout=0.0)
    measured = [Results.read(folder / "evaluation").metrics["answers"]["overall"] for folder in (answered, tmp_path)]
    assert measured[0]["accuracy"] == measured[1]["accuracy"]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pre-training on reports whose model reads texts (its run, its store), and its overlay."""
    folder = tmp_path_factory.mktemp("reports")
    store = whole_run.prepare(folder)
    overlay = {"image_size": 64, "image_encoder": {
        "_target_": "medvlp_toolkit.encoders.clip_vit", "image_size": "@image_size", "patch_size": 16, "width": 32,
        "layers": 1, "heads": 2, "in_channels": 1,
    }}  # fmt: skip
    made = whole_run.Run("arl", folder / "made", whole_run.Data(store, whole_run.graph_of(store)), overlay)
    made.train()
    return made.output, folder / "made" / "overlay.yaml"


def test_a_pretrained_model_is_named_by_its_checkpoint_alone(
    reports: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the pre-training only best.pt and model.json; of the fine-tuning only its own."""
    caption_store(tmp_path)
    (tmp_path / "pretraining").mkdir()
    for name in ("best.pt", "model.json"):
        shutil.copy(reports[0] / name, tmp_path / "pretraining")
    monkeypatch.chdir(tmp_path)
    common: dict[str, Any] = {"dataset_dir": "store", "output_dir": "run", "image_size": 32, "precision": "fp32"}
    checkpoint = {"checkpoint": "pretraining/best.pt", "pretrained_bundle": str(BUNDLES / "arl")}
    short = {"epochs": 1, "batch_size": 8, "text_length": 24}
    run("image_text_classification", "train", **common, **checkpoint, **short, label="kind")
    shutil.rmtree("pretraining")
    run("image_text_classification", "evaluate", output_dir="run")
    assert Results.read(tmp_path / "run" / "evaluation").metrics["classes"]["overall"]["n"] == 8
    message = refused(
        "image_text_classification", "evaluate", output_dir="run", pretrained_bundle=str(BUNDLES / "medklip")
    )
    assert f"pretrained_bundle is '{BUNDLES / 'medklip'}'" in message
    assert str(BUNDLES / "arl") in message


def test_zero_shot_retrieval_takes_the_model_from_the_pretraining(reports: tuple[Path, Path], tmp_path: Path) -> None:
    caption_store(tmp_path)
    common = {"dataset_dir": str(tmp_path / "store"), "results_dir": str(tmp_path / "results"), "image_size": 64}
    run("retrieval", "evaluate", finetuned="null", checkpoint=str(reports[0] / "best.pt"), text_length=24, **common)
    (measured,) = Results.read(tmp_path / "results").metrics["retrieval"].values()
    assert measured["pairs"] == 64


def test_overlays_of_the_pretraining_are_checked_for_contradictions(reports: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint = reports[0] / "best.pt"
    given = PretrainedBundle(BUNDLES / "arl", ["demo.yaml", reports[1]], checkpoint)
    alone = PretrainedBundle(tmp_path / "no_bundle", checkpoint=checkpoint)
    for name, value in given.model.state_dict().items():
        assert torch.equal(value, alone.model.state_dict()[name])
    (tmp_path / "other.yaml").write_text("width: 24\n")
    with pytest.raises(ValueError, match=r"width is 24 here, and .* was trained with") as caught:
        PretrainedBundle(BUNDLES / "arl", ["demo.yaml", reports[1], tmp_path / "other.yaml"], checkpoint)
    assert "\n" not in str(caught.value)


def test_a_pretrained_bundle_describes_itself(demo_run: Path, tmp_path: Path) -> None:
    """With the text model that a model without one was given: it is built from scratch here, elsewhere of a hub."""
    given = PretrainedBundle(BUNDLES / "medklip", ["demo.yaml"], demo_run / "best.pt", {"image_size": 64})
    text = given.text_model()
    assert text is not None
    again = PretrainedBundle(**given.architecture())
    assert again.model.state_dict().keys() == given.model.state_dict().keys()
    rebuilt = again.text_model()
    assert rebuilt is not None
    assert {name: value.shape for name, value in rebuilt.state_dict().items()} == {
        name: value.shape for name, value in text.state_dict().items()
    }
    assert rebuilt.tokenizer.get_vocab() == text.tokenizer.get_vocab()
    assert again.evaluation_transform(48).mean.tolist() == pytest.approx([0.45])


@pytest.mark.parametrize("name", ["vqa", "image_text_classification", "retrieval"])
def test_bundles_have_no_mistake_that_can_be_seen(name: str) -> None:
    assert [str(problem) for problem in verify_bundle(BUNDLES / name).problems] == []
    assert name in [bundle.name for bundle in shipped_bundles()]
    assert json.loads((BUNDLES / name / "configs" / "metadata.json").read_text())["version"]


def test_a_pretraining_checkpoint_gives_its_model_to_any_bundle(demo_run: Path) -> None:
    """MedKLIP's demo: its model without text encoder, its bank from the checkpoint, its normalisation."""
    overrides = {"dataset_dir": str(demo_run / "store"), "output_dir": str(demo_run), "image_size": 64}
    given = PretrainedBundle(BUNDLES / "medklip", ["demo.yaml"], demo_run / "best.pt", overrides)
    state = torch.load(demo_run / "best.pt", weights_only=True)
    state = state.get("model", state)
    for name, value in given.model.state_dict().items():
        assert torch.equal(value, state[f"model.{name}"])
    assert given.text_model() is not None
    assert given.evaluation_transform(48).mean.tolist() == pytest.approx([0.45])
    assert given.matching_head() is None


def test_a_bundle_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such bundle"):
        PretrainedBundle(tmp_path / "nothing")
    torch.save({"head.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="is no pre-training checkpoint"):
        PretrainedBundle(BUNDLES / "medklip", checkpoint=tmp_path / "other.pt")
