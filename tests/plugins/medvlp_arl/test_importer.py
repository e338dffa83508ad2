"""Checkpoints of ARL, M3AE and METER: whole, in every spelling and container, and what does not fit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from seeded_weights import state_dict
from torch import Tensor
from typer.testing import CliRunner, Result

import medvlp_toolkit as mv
from medvlp_arl.masked_image import sine_cosine_table
from medvlp_arl.published_names import our_names, reason_unused, to_meter
from medvlp_arl.scorer import AlignmentScorer, ImageFeatures
from medvlp_toolkit.cli.main import app
from medvlp_toolkit.weights.weights import load_weights

KEYS = Path(__file__).parents[2] / "golden" / "arl" / "keys.json"
HEADS = ("mlm_head.", "mim_head.", "itm_head.")
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def complete() -> State:
    return state_dict(KEYS)


@pytest.fixture
def published(complete: State) -> State:
    return dict(complete)


def without(state: State, *parts: str) -> State:
    return {name: value for name, value in state.items() if not any(part in name for part in parts)}


def without_knowledge(state: State) -> State:
    return without(state, "align_head.", ".knowledge", ".image2knowledge")


def same(one: Any, other: Any) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_sizes_are_read_off_the_checkpoint(published: State) -> None:
    model = mv.checkpoint_importers.arl(published)
    assert model.model.image_encoder.grid_size((96, 96)) == (6, 6)
    assert len(model.model.image_encoder.blocks) == 4
    assert model.model.fusion.depth == 4
    assert model.model.knowledge_encoder.num_entities == 60
    assert set(model.losses) == {"masked_language", "masked_image", "matching", "alignment"}
    assert model.weights == {"masked_language": 1.0, "masked_image": 1.0, "matching": 0.1, "alignment": 1.0}


def test_every_published_value_is_in_the_model_or_reported_with_the_reason(published: State) -> None:
    model = mv.checkpoint_importers.arl(published)
    state, report = model.state_dict(), model.key_report
    assert report.used.keys() | report.unused.keys() == published.keys()
    for name, value in published.items():
        reason = reason_unused(name, fusion_layers=4)
        assert (name in report.unused) == (reason is not None)
        if reason is None:
            found = torch.cat([state[ours].flatten() for ours in our_names(name)])
            assert torch.equal(found, value.flatten()), name
    filled = {ours for name in report.used for ours in our_names(name)}
    assert filled == state.keys()
    assert "the last layer's output of the entities" in report.unused.values()


def spelt_as_older_graph_library(state: State) -> State:
    """The matrix twice, as torch_geometric 2.0 to 2.4 save it."""
    out = dict(state)
    for layer in ("conv1", "conv2"):
        weight = out.pop(f"align_head.{layer}.lin.weight")
        out[f"align_head.{layer}.lin_src.weight"] = weight
        out[f"align_head.{layer}.lin_dst.weight"] = weight.clone()
    return out


CONTAINERS: dict[str, Callable[[State], dict[str, Any]]] = {
    "prefixed": lambda state: {f"module.{name}": value for name, value in state.items()},
    "lightning": lambda state: {"state_dict": state, "epoch": 3, "optimizer_states": [], "callbacks": {}},
    "older graph library": spelt_as_older_graph_library,
    "with position ids": lambda state: {
        **state,
        "language_encoder.embeddings.position_ids": torch.arange(66)[None],
    },
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_and_spellings_make_no_difference(published: State, container: str) -> None:
    given = CONTAINERS[container](published)
    assert same(mv.checkpoint_importers.arl(given), mv.checkpoint_importers.arl(published))


def test_entries_next_to_the_weights_are_reported(published: State) -> None:
    report = mv.checkpoint_importers.arl(CONTAINERS["lightning"](published)).key_report
    assert {"epoch", "optimizer_states", "callbacks"} <= report.unused.keys()


def test_two_different_matrices_in_the_graph_encoder_are_refused(published: State) -> None:
    given = spelt_as_older_graph_library(published)
    given["align_head.conv1.lin_dst.weight"] += 1
    with pytest.raises(ValueError, match=r"conv1\.lin_dst\.weight: differs from lin_src"):
        mv.checkpoint_importers.arl(given)


def test_another_image_size_resamples_positions_and_rebuilds_the_patch_decoders(published: State) -> None:
    model = mv.checkpoint_importers.arl(published, image_size=128)
    assert model.model.image_encoder.positional_embedding.shape == (65, 192)
    assert torch.equal(
        model.model.image_encoder.positional_embedding[0], published["vision_encoder.visual.positional_embedding"][0]
    )
    assert model.losses["masked_image"].grid == (8, 8)
    assert torch.equal(model.losses["masked_image"].head.positions, sine_cosine_table((8, 8), 96))
    with pytest.raises(ValueError, match="image_size of 100 is not a multiple of the checkpoint's patch size 16"):
        mv.checkpoint_importers.arl(published, image_size=100)


def test_loss_whose_head_is_absent_is_left_out_and_said(published: State) -> None:
    model = mv.checkpoint_importers.arl(without(published, "mim_head."))
    assert set(model.losses) == {"masked_language", "matching", "alignment"}
    assert model.key_report.notes == ("no head in the checkpoint for masked_image: left out",)


def test_m3ae_is_arl_without_knowledge(published: State) -> None:
    model = mv.checkpoint_importers.m3ae(without_knowledge(published))
    assert set(model.losses) == {"masked_language", "masked_image", "matching"}
    assert model.weights["matching"] == 1.0
    assert not model.model.fusion.reads_knowledge
    assert model.model.knowledge_encoder is None
    assert not [key for key in model.needs if "entit" in key]


def test_fine_tuned_m3ae_gives_a_fresh_matching_head_the_same_each_time(published: State) -> None:
    given = without(without_knowledge(published), *HEADS) | {"vqa_head.0.weight": torch.zeros(3, 3)}
    models = [mv.checkpoint_importers.m3ae(given) for _ in range(2)]
    assert same(*models)
    report = models[0].key_report
    assert set(models[0].losses) == {"matching"}
    assert set(report.made) == {"losses.matching.head.weight", "losses.matching.head.bias"}
    assert report.unused["vqa_head.0.weight"] == "a downstream head"
    assert "drawn at random" in report.notes[0]


def test_meter_reads_its_own_names_and_the_renamed_ones(published: State) -> None:
    renamed = without(without_knowledge(published), "mim_head.")
    raw = {to_meter(name): value for name, value in renamed.items()}
    assert not raw.keys() & renamed.keys()
    models = [mv.checkpoint_importers.meter(given) for given in (raw, {"state_dict": raw}, renamed)]
    assert same(models[0], models[1])
    assert same(models[0], models[2])
    assert same(models[0], mv.checkpoint_importers.m3ae(renamed))
    assert set(models[0].key_report.used) <= set(raw)


def test_misfit_of_a_meter_file_is_reported_in_its_own_names(published: State) -> None:
    renamed = without(without_knowledge(published), "mim_head.")
    raw = {to_meter(name): value for name, value in renamed.items()} | {"mlm_score.bias": torch.zeros(7)}
    with pytest.raises(ValueError, match=r"mlm_score\.bias: shape \(7,\), expected \(1200,\)"):
        mv.checkpoint_importers.meter(raw)


def test_file_that_matches_nothing_is_an_error(published: State) -> None:
    raw = {to_meter(name): value for name, value in without_knowledge(published).items()}
    for importer in ("arl", "m3ae"):  # the published code would load nothing of it and say nothing
        with pytest.raises(ValueError, match=r"not a checkpoint of (ARL|M3AE): it lacks modality_type_embeddings"):
            mv.checkpoint_importers[importer](raw)
    with pytest.raises(ValueError, match="'state_dict' is a list"):
        mv.checkpoint_importers.arl({"state_dict": [1]})
    with pytest.raises(ValueError, match="is not a tensor"):
        mv.checkpoint_importers.arl({**published, "mlm_head.bias": [1.0]})


def test_wrong_importer_is_named(published: State) -> None:
    with pytest.raises(ValueError, match="import it with m3ae or meter"):
        mv.checkpoint_importers.arl(without_knowledge(published))
    with pytest.raises(ValueError, match="it is ARL's, import it with arl"):
        mv.checkpoint_importers.m3ae(published)


def test_whole_list_of_misfits_is_in_the_message(published: State) -> None:
    published["queue"] = torch.zeros(2)
    published["itm_head.fc.weight"] = torch.zeros(3, 384)
    published["modality_type_embeddings.weight"] = torch.zeros(3, 192)
    with pytest.raises(ValueError, match="3 entries of the checkpoint do not fit") as told:
        mv.checkpoint_importers.arl(published)
    assert "queue: no place for it" in str(told.value)
    assert "itm_head.fc.weight: shape (3, 384), expected (2, 384)" in str(told.value)


def test_missing_entry_is_named(published: State) -> None:
    del published["multi_modal_vision_layers.1.output.dense.weight"]
    with pytest.raises(ValueError, match=r"fusion\.image_layers\.1\.feed_forward\.contract\.weight: missing"):
        mv.checkpoint_importers.arl(published)
    del published["language_encoder.embeddings.word_embeddings.weight"]
    with pytest.raises(ValueError, match=r"lacks language_encoder\.embeddings\.word_embeddings\.weight"):
        mv.checkpoint_importers.arl(published)


# -- through the command ---------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_lightning_checkpoint_of_absent_code_comes_in_through_the_command(complete: State, tmp_path: Path) -> None:
    module = ModuleType("lightning_callbacks")
    exec("class ModelCheckpoint:\n    pass\n", module.__dict__)
    sys.modules["lightning_callbacks"] = module
    file = tmp_path / "last.ckpt"
    callbacks = {module.ModelCheckpoint: {"best_model_path": "x"}}  # type: ignore[attr-defined]
    torch.save({"state_dict": complete, "callbacks": callbacks, "epoch": 1}, file)
    del sys.modules["lightning_callbacks"]
    result = run("arl", file, "--out", tmp_path / "models")
    assert result.exit_code == 0, result.output
    assert "not needed: callbacks (state of its training)" in result.output
    assert "not needed: vision_encoder.token_embedding.weight (CLIP's text side)" in result.output
    assert "descriptions" not in result.output
    expected = mv.checkpoint_importers.arl(complete)
    load_weights(mv.checkpoint_importers.arl.network_def(expected), tmp_path / "models" / "model.safetensors")
    load_weights(expected, tmp_path / "models" / "pretraining.pt", key="model")
    record = json.loads((tmp_path / "models" / "import.json").read_text())
    assert record["keys"]["used"] == len(expected.key_report.used)


@pytest.mark.parametrize("name", ["m3ae", "meter"])
def test_checkpoints_without_knowledge_come_in_through_the_command(complete: State, tmp_path: Path, name: str) -> None:
    weights = without(without_knowledge(complete), "mim_head.")
    torch.save(
        {to_meter(key): value for key, value in weights.items()} if name == "meter" else weights, tmp_path / "x.pt"
    )
    result = run(name, tmp_path / "x.pt", "--out", tmp_path / "models")
    assert result.exit_code == 0, result.output
    assert "no head in the checkpoint for masked_image: left out" in result.output


def test_foreign_file_is_refused_through_the_command(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    result = run("arl", tmp_path / "other.pt", "--out", tmp_path / "models")
    assert result.exit_code == 2
    assert "this is not a checkpoint of ARL" in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "models").exists()


# -- what inference reads --------------------------------------------------------------------------


def test_scorer_gives_the_alignment_of_the_image_with_every_entity(complete: State) -> None:
    from medvlp_toolkit.model.encodings import Encodings

    model = mv.checkpoint_importers.arl(complete).eval()
    scorer = mv.checkpoint_importers.arl.network_def(model).eval()
    assert isinstance(scorer, AlignmentScorer)
    image = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    batch = {"image": image, "input_ids": torch.full((2, 4), 7), "attention_mask": torch.ones(2, 4, dtype=torch.long)}
    with torch.no_grad():
        expected = model.losses["alignment"].logits(Encodings(model.model, batch))["image"].sigmoid()
        assert torch.allclose(scorer(image), expected, atol=1e-6)
        assert torch.allclose(torch.jit.script(scorer)(image), expected, atol=1e-6)


def test_scorer_takes_the_entities_anew_when_told(complete: State) -> None:
    model = mv.checkpoint_importers.arl(complete)
    scorer = mv.checkpoint_importers.arl.network_def(model)
    with torch.no_grad():
        model.model.knowledge_encoder.embeddings.add_(1.5 * torch.randn(60, 256))
    before = scorer.entity_embeddings.clone()
    scorer.refresh(model.model)
    assert not torch.allclose(scorer.entity_embeddings, before)
    assert model.model.knowledge_encoder.training
    assert not scorer.entity_embeddings.requires_grad


def test_image_tower_of_a_model_without_knowledge_is_scripted(complete: State) -> None:
    model = mv.checkpoint_importers.m3ae(without_knowledge(complete)).eval()
    tower = mv.checkpoint_importers.m3ae.network_def(model).eval()
    assert isinstance(tower, ImageFeatures)
    image = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(torch.jit.script(tower)(image), model.model.image_tokens(image)[:, 0], atol=1e-5)


def test_scorer_of_a_model_without_alignment_is_refused(complete: State) -> None:
    model = mv.checkpoint_importers.m3ae(without_knowledge(complete))
    with pytest.raises(ValueError, match="has no loss 'alignment', only masked_language, masked_image, matching"):
        mv.checkpoint_importers.arl.network_def(model)
    with pytest.raises(ValueError, match="needs a model with a knowledge_encoder"):
        AlignmentScorer(model.model, torch.nn.Linear(192, 256))
