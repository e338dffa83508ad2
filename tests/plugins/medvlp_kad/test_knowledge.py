"""Stage 1: pairs of texts of one concept, over all processes, and the text model that stage 2 reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import medvlp_toolkit as mv
from medvlp_kad.knowledge import KnowledgeModel, write_text_model
from medvlp_kad.knowledge_evaluation import ConceptRecall
from medvlp_kad.pairs import KnowledgePairs, knowledge_texts
from medvlp_kad.projection import TextProjection
from medvlp_toolkit.data.records import Concept, Triple
from medvlp_toolkit.engines.parallel import replicate
from tests.medvlp_toolkit.engines.test_ranks import on_ranks


class Small:
    """Three concepts, two of them defined, and two relations; one more names a concept that is not there."""

    concepts = (
        Concept("a", "effusion", definition="Fluid in the chest."),
        Concept("b", "pleura"),
        Concept("c", "edema", definition="Fluid in the lung."),
    )
    triples = (Triple("a", "located_in", "b"), Triple("c", "is_a", "a"), Triple("a", "causes", "unknown"))


def encoder() -> Any:
    config = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "intermediate_size": 16, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # fmt: skip
    return mv.encoders.transformers_text(config=config, corpus=knowledge_texts(Small()), vocabulary_size=200, seed=0)


def model() -> KnowledgeModel:
    torch.manual_seed(0)
    return KnowledgeModel(encoder(), TextProjection(16, 8))


def pairs(**options: Any) -> KnowledgePairs:
    return KnowledgePairs(Small(), encoder().tokenizer, **options)


# -- pairs ------------------------------------------------------------------------------------------


def test_a_definition_pairs_a_name_and_a_relation_either_side() -> None:
    made = pairs()
    assert len(made) == 4
    assert made.pair(1) == ("edema", "Fluid in the lung.", 2)
    assert made.pair(2, forward=True) == ("effusion [SEP] located in", "pleura", 1)
    assert made.pair(2, forward=False) == ("located in [SEP] pleura", "effusion", 0)


def test_the_separator_within_a_text_is_the_tokenizers() -> None:
    made = pairs()
    made.set_epoch(1)
    batch = made.__getitems__([2, 3])
    separator = encoder().tokenizer.sep_token_id
    assert (batch["input_ids"] == separator).sum(dim=1).tolist() == [2, 2]


def test_directions_change_with_the_epoch_and_not_with_the_batch() -> None:
    made = pairs()
    drawn = []
    for epoch in range(8):
        made.set_epoch(epoch)
        drawn.append(made.__getitems__([2, 3])["concept"].tolist())
        assert [made[i]["concept"].item() for i in (2, 3)] == drawn[-1]
    assert {row[0] for row in drawn} == {0, 1}
    assert {row[1] for row in drawn} == {0, 2}


def test_a_share_of_the_pairs_is_spread_over_all_of_them() -> None:
    assert [pairs(most=2)[i]["study_id"] for i in range(2)] == ["0", "3"]


def test_a_source_without_definitions_and_relations_is_refused() -> None:
    class Names:
        concepts = (Concept("a", "effusion"),)
        triples = ()

    with pytest.raises(ValueError, match="neither definitions nor relations"):
        KnowledgePairs(Names(), encoder().tokenizer)


def test_every_registered_source_that_needs_no_file_gives_pairs() -> None:
    lexicon = mv.knowledge_sources.chest_lexicon()
    made = KnowledgePairs(lexicon, encoder().tokenizer)
    assert len(made) == len([c for c in lexicon.concepts if c.definition]) + len(lexicon.triples)
    assert made.__getitems__(list(range(len(made))))["concept"].max() < len(lexicon.concepts)


# -- the loss over processes ------------------------------------------------------------------------


def results(_: Any = None) -> dict[str, Any]:
    """Loss and gradients of this rank's share of four pairs, two of one concept on either rank."""
    network: Any = model()
    made = pairs()
    made.set_epoch(2)
    rows = [0, 1, 2, 3]
    if dist.is_initialized():
        rows = rows[dist.get_rank() * 2 :][:2]
    batch = {key: value for key, value in made.__getitems__(rows).items() if key != "study_id"}
    batch["concept"] = torch.tensor([[0, 1, 0, 2][row] for row in rows])
    named = dict(network.named_parameters())
    if dist.is_initialized():
        network = replicate(network, torch.device("cpu"))
    loss = network(batch)["loss"]
    loss.backward()
    return {"loss": loss.detach(), "gradients": {name: p.grad for name, p in named.items()}}


def test_two_ranks_have_the_loss_and_gradient_of_one(tmp_path: Path) -> None:
    alone, ranks = results(), on_ranks(results, tmp_path)
    for rank in ranks:
        torch.testing.assert_close(rank["loss"], alone["loss"])
        for name, expected in alone["gradients"].items():
            torch.testing.assert_close(rank["gradients"][name], expected, rtol=1e-4, atol=1e-6, msg=name)


# -- what is measured, and what is written ----------------------------------------------------------


def test_recall_counts_texts_whose_nearest_is_of_their_concept() -> None:
    recall = ConceptRecall()
    other = torch.eye(3)
    recall.update((torch.eye(3)[[0, 1]], other[[0, 1]], torch.tensor([5, 6])))
    recall.update((torch.eye(3)[[0]], other[[2]], torch.tensor([5])))  # nearest is a twin in another batch
    recall.update((torch.eye(3)[[0]], other[[1]], torch.tensor([7])))  # nearest is of another concept
    assert recall.compute() == pytest.approx(3 / 4)


def test_stage_two_reads_the_text_model_that_stage_one_wrote(tmp_path: Path) -> None:
    made = model()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.01)
    folder = write_text_model(made, tmp_path)
    assert folder is not None
    read = KnowledgeModel(mv.encoders.transformers_text(pretrained=folder), TextProjection(16, 8, pretrained=folder))
    batch = pairs().__getitems__([0, 1])
    torch.testing.assert_close(
        read.eval().embed(batch["input_ids"], batch["attention_mask"]),
        made.eval().embed(batch["input_ids"], batch["attention_mask"]),
    )
    text = "Effusion [SEP] located in"
    assert read.text_encoder.tokenizer(text)["input_ids"] == made.text_encoder.tokenizer(text)["input_ids"]


def test_a_folder_without_a_trained_projection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train it with knowledge.yaml, or set text_projection::pretrained"):
        TextProjection(16, 8, pretrained=tmp_path)
