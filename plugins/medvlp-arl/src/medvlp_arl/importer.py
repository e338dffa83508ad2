"""Imports checkpoints of the published ARL, M3AE and METER as :class:`~medvlp_toolkit.model.PretrainingModel`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from medvlp_arl.composition import Sizes, composed
from medvlp_arl.published_names import TYPE_EMBEDDINGS, from_meter, to_meter
from medvlp_arl.published_weights import filled, unwrapped
from medvlp_arl.scorer import alignment_scorer, image_features
from medvlp_toolkit.model.pretraining import PretrainingModel

#: Weights of the losses in the total.
ARL_WEIGHTS = {"masked_language": 1.0, "masked_image": 1.0, "matching": 0.1, "alignment": 1.0}


def arl(
    state_dict: Mapping[str, Any],
    image_size: int | None = None,
    dropout: float = 0.1,
    graph_dropout: float = 0.2,
    vision_heads: int | None = None,
    text_heads: int | None = None,
    fusion_heads: int | None = None,
    decoder_heads: int | None = None,
    mim_layer: int = 3,
    share_encodings: bool = True,
) -> PretrainingModel:
    """Build ARL from a checkpoint of the published code; graph and embeddings are in it.

    Sizes are inferred from the tensors, except the number of attention heads, which is one per 64 channels by default.
    A loss whose head is completely missing is left out; fine-tuned checkpoints lack some.

    Args:
        state_dict: bare or under ``state_dict`` (Lightning).
        image_size: side of the image, to which position embeddings are resampled; None keeps the checkpoint's.
        dropout: of text encoder and fusion module.
        graph_dropout: of the graph encoder.
        vision_heads, text_heads, fusion_heads, decoder_heads: of image and text encoder, fusion and patch decoder.
        mim_layer: fusion layer whose input the patch decoder reads.
        share_encodings: False repeats the published passes.

    Raises:
        ValueError: when an entry is missing, foreign or of another shape; the message holds the whole list.

    Example::

        pretraining_model:
          _target_: medvlp_toolkit.checkpoint_importers.arl
          state_dict: "$read_weights('arl.ckpt')"
    """
    tensors, around = unwrapped(state_dict, "ARL")
    if "align_head.x" not in tensors:
        raise ValueError("the checkpoint has no knowledge graph (align_head.x): import it with m3ae or meter")
    sizes = Sizes.of(
        tensors, image_size, dropout, graph_dropout, vision_heads, text_heads, fusion_heads, decoder_heads, mim_layer
    )
    return filled(composed(sizes, ARL_WEIGHTS, share_encodings), tensors, around, sizes)


def m3ae(
    state_dict: Mapping[str, Any],
    image_size: int | None = None,
    dropout: float = 0.1,
    vision_heads: int | None = None,
    text_heads: int | None = None,
    fusion_heads: int | None = None,
    decoder_heads: int | None = None,
    mim_layer: int = 3,
    share_encodings: bool = True,
) -> PretrainingModel:
    """Build M3AE (Chen et al. 2022) from its published checkpoints: ARL's model without knowledge.

    Fine-tuned checkpoints hold a downstream head only; they get a fresh matching head, which the report notes.

    Args:
        state_dict: bare or under ``state_dict`` (Lightning).
        image_size: side of the image, to which position embeddings are resampled; None keeps the checkpoint's.
        dropout: of text encoder and fusion module.
        vision_heads, text_heads, fusion_heads, decoder_heads: of image and text encoder, fusion and patch decoder.
        mim_layer: fusion layer whose input the patch decoder reads.
        share_encodings: False repeats the published passes.

    Raises:
        ValueError: when an entry is missing, foreign or of another shape; the message holds the whole list.

    Example::

        pretraining_model:
          _target_: medvlp_toolkit.checkpoint_importers.m3ae
          state_dict: "$read_weights('m3ae.ckpt')"
    """
    tensors, around = unwrapped(state_dict, "M3AE")
    return _without_knowledge(
        tensors, around, image_size, dropout, vision_heads, text_heads, fusion_heads, decoder_heads, mim_layer,
        share_encodings,
    )  # fmt: skip


def meter(
    state_dict: Mapping[str, Any],
    image_size: int | None = None,
    dropout: float = 0.1,
    vision_heads: int | None = None,
    text_heads: int | None = None,
    fusion_heads: int | None = None,
    share_encodings: bool = True,
) -> PretrainingModel:
    """Build METER (Dou et al. 2022) with CLIP-ViT and RoBERTa from its checkpoint, in its own names or in ARL's.

    Args:
        state_dict: bare or under ``state_dict`` (Lightning).
        image_size: side of the image, to which position embeddings are resampled; None keeps the checkpoint's.
        dropout: of text encoder and fusion module.
        vision_heads, text_heads, fusion_heads: of image and text encoder and fusion.
        share_encodings: False repeats the published passes.

    Raises:
        ValueError: when an entry is missing, foreign or of another shape; the message holds the whole list.

    Example::

        pretraining_model:
          _target_: medvlp_toolkit.checkpoint_importers.meter
          state_dict: "$read_weights('meter_clip16_288_roberta_pretrain.ckpt')"
    """
    tensors, around = unwrapped(state_dict, "METER", from_meter)
    inner = state_dict.get("state_dict", state_dict)
    in_its_own_names = not any(str(name).endswith(TYPE_EMBEDDINGS) for name in inner)
    return _without_knowledge(
        tensors, around, image_size, dropout, vision_heads, text_heads, fusion_heads, None, 3, share_encodings,
        to_meter if in_its_own_names else str,
    )  # fmt: skip


def _without_knowledge(
    tensors: dict[str, Tensor],
    around: dict[str, str],
    image_size: int | None,
    dropout: float,
    vision_heads: int | None,
    text_heads: int | None,
    fusion_heads: int | None,
    decoder_heads: int | None,
    mim_layer: int,
    share_encodings: bool,
    published: Callable[[str], str] = str,
) -> PretrainingModel:
    if "align_head.x" in tensors:
        raise ValueError("the checkpoint has a knowledge graph (align_head.x): it is ARL's, import it with arl")
    sizes = Sizes.of(
        tensors, image_size, dropout, 0.0, vision_heads, text_heads, fusion_heads, decoder_heads, mim_layer
    )
    return filled(composed(sizes, {}, share_encodings), tensors, around, sizes, published)


arl.network_def = alignment_scorer  # type: ignore[attr-defined]
m3ae.network_def = image_features  # type: ignore[attr-defined]
meter.network_def = image_features  # type: ignore[attr-defined]
