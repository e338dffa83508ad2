"""Builds ARL's model with the sizes of a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medvlp_arl.alignment import KnowledgeAlignment
from medvlp_arl.fusion import KnowledgeCoAttention
from medvlp_arl.graph_encoder import GraphAttentionEncoder
from medvlp_arl.masked_image import MaskedImageModelling
from medvlp_arl.masked_language import MaskedLanguageModelling
from medvlp_arl.matching import ImageTextMatching
from medvlp_arl.projection import TypedProjection
from medvlp_arl.published_names import HEADS
from medvlp_encoders.clip import ClipVisionTransformer
from medvlp_encoders.text import TransformersText
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel

#: RoBERTa-base's; a state dict does not carry it.
TEXT_EPSILON = 1e-5


@dataclass(frozen=True)
class Sizes:
    """Sizes of a checkpoint with ARL's and M3AE's names; ``heads_present`` are the losses whose heads it has."""

    width: int
    image_width: int
    image_layers: int
    image_heads: int
    image_channels: int
    patch: int
    grid: int
    text_width: int
    text_layers: int
    text_heads: int
    text_hidden: int
    text_positions: int
    text_types: int
    vocabulary: int
    fusion_layers: int
    fusion_heads: int
    fusion_hidden: int
    dropout: float
    graph_dropout: float
    mim_layer: int
    decoder_width: int
    decoder_layers: int
    decoder_heads: int
    entities: int
    triples: int
    entity_width: int
    graph_heads: int
    graph_hidden: int
    heads_present: tuple[str, ...]

    @property
    def knowledge(self) -> bool:
        """Whether there is a knowledge graph."""
        return self.entities > 0

    @classmethod
    def of(
        cls,
        tensors: Mapping[str, Tensor],
        image_size: int | None,
        dropout: float,
        graph_dropout: float,
        image_heads: int | None,
        text_heads: int | None,
        fusion_heads: int | None,
        decoder_heads: int | None,
        mim_layer: int,
    ) -> Sizes:
        """Infer them from the tensors; attention heads, which are not stored, are one per 64 channels unless given.

        Raises:
            ValueError: when a tensor that decides a size is missing, or the image size does not fit.
        """

        def shape(name: str) -> tuple[int, ...]:
            if name not in tensors:
                raise ValueError(f"the checkpoint lacks {name}, without which the size of the model is unknown")
            return tuple(tensors[name].shape)

        width = shape("modality_type_embeddings.weight")[1]
        image_width, channels, patch, _ = shape("vision_encoder.visual.conv1.weight")
        side = round((shape("vision_encoder.visual.positional_embedding")[0] - 1) ** 0.5)
        if image_size is not None and image_size % patch:
            raise ValueError(f"an image_size of {image_size} is not a multiple of the checkpoint's patch size {patch}")
        vocabulary, text_width = shape("language_encoder.embeddings.word_embeddings.weight")
        decoder_width = shape("mim_head.mask_token")[-1] if "mim_head.mask_token" in tensors else 0
        has_graph = "align_head.x" in tensors
        graph_heads, graph_hidden = (0, 0)
        if has_graph:
            source = "align_head.conv1.att_src" if "align_head.conv1.att_src" in tensors else "align_head.conv1.att_l"
            graph_heads, graph_hidden = shape(source)[-2:]
        return cls(
            width=width,
            image_width=image_width,
            image_layers=_count(tensors, r"vision_encoder\.visual\.transformer\.resblocks\.(\d+)\."),
            image_heads=image_heads or max(1, image_width // 64),
            image_channels=channels,
            patch=patch,
            grid=side if image_size is None else image_size // patch,
            text_width=text_width,
            text_layers=_count(tensors, r"language_encoder\.encoder\.layer\.(\d+)\."),
            text_heads=text_heads or max(1, text_width // 64),
            text_hidden=shape("language_encoder.encoder.layer.0.intermediate.dense.weight")[0],
            text_positions=shape("language_encoder.embeddings.position_embeddings.weight")[0],
            text_types=shape("language_encoder.embeddings.token_type_embeddings.weight")[0],
            vocabulary=vocabulary,
            fusion_layers=_count(tensors, r"multi_modal_language_layers\.(\d+)\."),
            fusion_heads=fusion_heads or max(1, width // 64),
            fusion_hidden=shape("multi_modal_language_layers.0.intermediate.dense.weight")[0],
            dropout=dropout,
            graph_dropout=graph_dropout,
            mim_layer=mim_layer,
            decoder_width=decoder_width,
            decoder_layers=_count(tensors, r"mim_head\.decoder\.resblocks\.(\d+)\."),
            decoder_heads=decoder_heads or max(1, decoder_width // 64),
            entities=shape("align_head.x")[0] if has_graph else 0,
            triples=shape("align_head.edge_index")[1] if has_graph else 0,
            entity_width=shape("align_head.x")[1] if has_graph else 0,
            graph_heads=graph_heads,
            graph_hidden=graph_hidden,
            heads_present=tuple(name for prefix, name in HEADS.items() if any(k.startswith(prefix) for k in tensors)),
        )


def composed(sizes: Sizes, weights: Mapping[str, float], share_encodings: bool) -> PretrainingModel:
    """A model of these sizes, with weights drawn from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        losses = _losses(sizes)
        given = {name: weight for name, weight in weights.items() if name in losses}
        return PretrainingModel(_model(sizes), losses, given, share_encodings)


def _model(sizes: Sizes) -> VisionLanguageModel:
    text = {
        "model_type": "roberta",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.text_width,
        "num_hidden_layers": sizes.text_layers,
        "num_attention_heads": sizes.text_heads,
        "intermediate_size": sizes.text_hidden,
        "max_position_embeddings": sizes.text_positions,
        "type_vocab_size": sizes.text_types,
        "layer_norm_eps": TEXT_EPSILON,
        "hidden_dropout_prob": sizes.dropout,
        "attention_probs_dropout_prob": sizes.dropout,
    }
    return VisionLanguageModel(
        image_encoder=ClipVisionTransformer(
            sizes.grid * sizes.patch,
            sizes.patch,
            sizes.image_width,
            sizes.image_layers,
            sizes.image_heads,
            sizes.image_channels,
        ),
        image_projection=TypedProjection(sizes.image_width, sizes.width),
        text_encoder=TransformersText(config=text),
        text_projection=TypedProjection(sizes.text_width, sizes.width),
        knowledge_encoder=GraphAttentionEncoder(
            entities=sizes.entities,
            triples=sizes.triples,
            width=sizes.entity_width,
            hidden=sizes.graph_hidden,
            heads=sizes.graph_heads,
            dropout=sizes.graph_dropout,
        )
        if sizes.knowledge
        else None,
        fusion=KnowledgeCoAttention(
            sizes.width,
            sizes.fusion_layers,
            sizes.fusion_heads,
            sizes.fusion_hidden,
            sizes.dropout,
            knowledge=sizes.knowledge,
            knowledge_width=sizes.entity_width or 256,
        ),
    )


def _losses(sizes: Sizes) -> dict[str, nn.Module]:
    """The losses whose heads the checkpoint has; only matching if it has none."""
    present = sizes.heads_present or ("matching",)
    losses: dict[str, nn.Module] = {}
    if "masked_language" in present:
        losses["masked_language"] = MaskedLanguageModelling(sizes.width, sizes.vocabulary, sizes.knowledge)
    if "masked_image" in present:
        losses["masked_image"] = MaskedImageModelling(
            sizes.width,
            (sizes.grid, sizes.grid),
            sizes.grid * sizes.patch,
            sizes.image_channels,
            sizes.mim_layer,
            sizes.decoder_width,
            sizes.decoder_layers,
            sizes.decoder_heads,
            knowledge=sizes.knowledge,
        )
    if "matching" in present:
        losses["matching"] = ImageTextMatching(2 * sizes.width, sizes.knowledge)
    if "alignment" in present:
        losses["alignment"] = KnowledgeAlignment(sizes.width, sizes.entity_width)
    return losses


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})
