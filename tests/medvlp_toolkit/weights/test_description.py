"""``model.json``: what it keeps of a training, and what it gives back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp_toolkit.weights.description import FILE, Description
from medvlp_toolkit.weights.nested import literal
from tests.medvlp_toolkit.weights.small_training import SENTENCES, bundle, composed, trained


def test_sizes_shapes_names_and_architectures_are_kept(tmp_path: Path) -> None:
    kept = Description.of(composed(bundle(tmp_path / "bundle"))).values
    assert (kept["head::in_features"], kept["head::out_features"], kept["tokens"]) == (8, 2, 16)
    assert kept["bank"] == {"_target_": "torch.zeros", "size": [2, 8]}
    assert kept["scored_entities"] == ["effusion", "edema"]
    assert kept["image_encoder"]["_target_"] == "medvlp_toolkit.encoders.clip_vit"
    assert "optimizer" not in kept


def test_no_text_of_the_data_is_written(tmp_path: Path) -> None:
    written = (trained(tmp_path).parent / FILE).read_text()
    assert not any(sentence in written for sentence in SENTENCES)


def test_a_model_is_rebuilt_without_bundle_and_data(tmp_path: Path) -> None:
    weights = trained(tmp_path)
    description = Description.beside(weights)
    assert description is not None
    network = description.composed({}).get_parsed_content("network_def")
    network.load_state_dict(torch.load(weights, weights_only=True)["model"])


def test_a_learned_vocabulary_comes_back_as_it_was(tmp_path: Path) -> None:
    """Its pieces begin with ``##``, which MONAI takes for a separator of ids."""
    parser = composed(bundle(tmp_path / "bundle"))
    ours: Any = parser.get_parsed_content("text_encoder").tokenizer
    Description.of(parser).write(tmp_path)
    again: Any = Description.read(tmp_path / FILE).composed({}).get_parsed_content("text_encoder").tokenizer
    assert any(piece.startswith("##") for piece in ours.get_vocab())
    assert again.get_vocab() == ours.get_vocab()
    assert again(SENTENCES[0])["input_ids"] == ours(SENTENCES[0])["input_ids"]


@pytest.mark.parametrize(
    "value",
    [
        "##ing",
        "$print",
        "@name",
        "%file",
        "a # b\\",
        {"_target_": "os.getcwd"},
        ["x", {"a::b": "'\"@\n"}],
        "ä",
        3,
        None,
    ],
    ids=repr,
)
def test_a_value_is_given_back_as_it_is_whatever_monai_would_read_in_it(value: Any) -> None:
    from monai.bundle import ConfigParser

    assert ConfigParser({"x": literal(value)}).get_parsed_content("x") == value


def test_an_override_computes_anew_what_follows_from_it_and_nothing_else(tmp_path: Path) -> None:
    description = Description.beside(trained(tmp_path))
    assert description is not None
    parser = description.composed({"image_size": 32})
    assert parser.get_parsed_content("tokens") == 64
    assert parser.get_parsed_content("image_encoder").rows == 8
    assert parser.get_parsed_content("evaluation_transform").image_size == 32
    assert parser.get("head")["out_features"] == 2  # not an expression any more: it does not depend on the size
    assert parser.get_parsed_content("text_encoder").vocabulary_size > 5  # its corpus is gone
    wider = description.composed({"names": ["effusion", "edema", "nodule"]})
    assert wider.get_parsed_content("head").out_features == 3
    assert wider.get_parsed_content("bank").shape == (3, 8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not a description of a model"),
        ("[]", "is not a description of a model"),
        ('{"version": 1}', "is not a description of a model"),
        ('{"version": 2, "configuration": {}, "values": {}}', "has version 2 of its format, and this toolkit reads 1"),
        ('{"version": 1, "configuration": 3, "values": {}}', "is not a description of a model"),
    ],
)
def test_what_cannot_be_read_is_one_line(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ValueError, match=said) as caught:
        Description.beside(tmp_path / "best.pt")
    assert "\n" not in str(caught.value)
    assert FILE in str(caught.value)


def test_weights_without_a_description_have_none(tmp_path: Path) -> None:
    assert Description.beside(tmp_path / "best.pt") is None


def test_a_description_within_another_is_not_interpreted(tmp_path: Path) -> None:
    """A fine-tuned model's description holds that of the pre-trained one, references and all."""
    inner = Description.of(composed(bundle(tmp_path / "bundle"))).as_mapping()
    assert "learning_rate" not in inner["config"]
    outer = Description(
        {"part": {"_target_": "builtins.dict"}}, {"part": {"_target_": "builtins.dict", "given": inner}}
    )
    outer.write(tmp_path)
    made = Description.read(tmp_path / FILE).composed({}).get_parsed_content("part")
    assert made == {"given": json.loads(json.dumps(inner))}
