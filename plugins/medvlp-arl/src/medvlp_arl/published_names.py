"""Maps published parameter names of ARL, M3AE and METER to ours."""

from __future__ import annotations

import re

from medvlp_encoders import clip_weights

#: Raw METER prefix -> the prefix that ARL and M3AE use.
METER_PREFIXES: tuple[tuple[str, str], ...] = (
    ("vit_model.", "vision_encoder."),
    ("text_transformer.", "language_encoder."),
    ("cross_modal_text_transform.", "multi_modal_language_proj."),
    ("cross_modal_image_transform.", "multi_modal_vision_proj."),
    ("token_type_embeddings.", "modality_type_embeddings."),
    ("cross_modal_image_layers.", "multi_modal_vision_layers."),
    ("cross_modal_text_layers.", "multi_modal_language_layers."),
    ("cross_modal_image_pooler.", "multi_modal_vision_pooler."),
    ("cross_modal_text_pooler.", "multi_modal_language_pooler."),
    ("mlm_score.", "mlm_head."),
    ("itm_score.", "itm_head."),
)
#: Published prefix of each loss's head -> the loss's name here.
HEADS: dict[str, str] = {
    "mlm_head.": "masked_language",
    "mim_head.": "masked_image",
    "itm_head.": "matching",
    "align_head.": "alignment",
}
# The part of a name that follows `multi_modal_language_layers.N.` or `multi_modal_vision_layers.N.`.
_LAYER_PARTS: tuple[tuple[str, str], ...] = (
    (r"(attention|crossattention)\.self\.(query|key|value)\.(weight|bias)", r"{stream}.\1.\2.\3"),
    (r"(attention|crossattention)\.output\.dense\.(weight|bias)", r"{stream}.\1.output.\2"),
    (r"(attention|crossattention)\.output\.LayerNorm\.(weight|bias)", r"{stream}.\1.norm.\2"),
    (r"intermediate\.dense\.(weight|bias)", r"{stream}.feed_forward.expand.\1"),
    (r"output\.dense\.(weight|bias)", r"{stream}.feed_forward.contract.\1"),
    (r"output\.LayerNorm\.(weight|bias)", r"{stream}.feed_forward.norm.\1"),
    (r"knowledge_fusion_output\.dense\.(weight|bias)", r"{stream}.inject.linear.\1"),
    (r"knowledge_fusion_output\.LayerNorm\.(weight|bias)", r"{stream}.inject.norm.\1"),
    (r"knowledge_(attention|crossattention)\.self\.(query|key|value)\.(weight|bias)", r"knowledge.\1.\2.\3"),
    (r"knowledge_(attention|crossattention)\.output\.dense\.(weight|bias)", r"knowledge.\1.output.\2"),
    (r"knowledge_(attention|crossattention)\.output\.LayerNorm\.(weight|bias)", r"knowledge.\1.norm.\2"),
    (r"knowledge_intermediate\.dense\.(weight|bias)", r"knowledge.feed_forward.expand.\1"),
    (r"knowledge_output\.dense\.(weight|bias)", r"knowledge.feed_forward.contract.\1"),
    (r"knowledge_output\.LayerNorm\.(weight|bias)", r"knowledge.feed_forward.norm.\1"),
    (r"image2knowledge\.(weight|bias)", r"knowledge.from_image.\1"),
    (r"knowledge2text\.(weight|bias)", r"knowledge.to_text.\1"),
)
_OTHERS: tuple[tuple[str, str], ...] = (
    (r"language_encoder\.((?:embeddings|encoder)\..*)", r"model.text_encoder.model.\1"),
    (r"multi_modal_language_proj\.(weight|bias)", r"model.text_projection.linear.\1"),
    (r"multi_modal_vision_proj\.(weight|bias)", r"model.image_projection.linear.\1"),
    (r"multi_modal_language_pooler\.dense\.(weight|bias)", r"model.fusion.text_pooler.\1"),
    (r"multi_modal_vision_pooler\.dense\.(weight|bias)", r"model.fusion.image_pooler.\1"),
    (r"mlm_head\.bias", r"losses.masked_language.head.decoder.bias"),
    (r"mlm_head\.transform\.dense\.(weight|bias)", r"losses.masked_language.head.dense.\1"),
    (r"mlm_head\.transform\.LayerNorm\.(weight|bias)", r"losses.masked_language.head.norm.\1"),
    (r"mlm_head\.decoder\.weight", r"losses.masked_language.head.decoder.weight"),
    (r"mim_head\.mask_token", r"losses.masked_image.head.mask_token"),
    (r"mim_head\.decoder_embed\.(weight|bias)", r"losses.masked_image.head.embed.\1"),
    (r"mim_head\.decoder_norm\.(weight|bias)", r"losses.masked_image.head.norm.\1"),
    (r"mim_head\.decoder_pred\.(weight|bias)", r"losses.masked_image.head.predict.\1"),
    (r"itm_head\.fc\.(weight|bias)", r"losses.matching.head.\1"),
    (r"align_head\.x", r"model.knowledge_encoder.embeddings"),
    (r"align_head\.edge_index", r"model.knowledge_encoder.edge_index"),
    (r"align_head\.embedding_ln\.(weight|bias)", r"model.knowledge_encoder.embedding_ln.\1"),
    (r"align_head\.(conv[12])\.bias", r"model.knowledge_encoder.\1.bias"),
    (r"align_head\.(conv[12])\.(?:lin|lin_src|lin_l)\.weight", r"model.knowledge_encoder.\1.linear.weight"),
    (r"align_head\.(conv[12])\.(?:att_src|att_l)", r"model.knowledge_encoder.\1.source_attention"),
    (r"align_head\.(conv[12])\.(?:att_dst|att_r)", r"model.knowledge_encoder.\1.target_attention"),
    (r"align_head\.img_linear1\.(weight|bias)", r"losses.alignment.head.image.0.\1"),
    (r"align_head\.img_linear2\.(weight|bias)", r"losses.alignment.head.image.2.\1"),
    (r"align_head\.txt_linear1\.(weight|bias)", r"losses.alignment.head.text.0.\1"),
    (r"align_head\.txt_linear2\.(weight|bias)", r"losses.alignment.head.text.2.\1"),
)
_UNUSED: tuple[tuple[str, str], ...] = (
    (
        r"vision_encoder\.(token_embedding|positional_embedding|ln_final|text_projection|logit_scale)\b.*",
        "CLIP's text side",
    ),
    (r"language_encoder\.pooler\..*", "pooling of the text encoder, which nothing reads"),
    (r"language_encoder\.embeddings\.(position_ids|token_type_ids)", "a counter, computed here"),
    (r"mim_head\.decoder_pos_embed", "the fixed sine-cosine table, computed here"),
    (r"align_head\.conv[12]\.(lin_dst|lin_r)\.weight", "the same tensor a second time"),
    (
        r"(vqa_head|cls_head|irtr_head|rank_output|vqa_classifier|nlvr2_classifier|snli_classifier)\..*",
        "a downstream head",
    ),
)
#: Row 0 belongs to text, row 1 to the image.
TYPE_EMBEDDINGS = "modality_type_embeddings.weight"


def our_names(published: str) -> tuple[str, ...]:
    """Our parameters for a published name of ARL or M3AE; empty if there is none.

    The type embeddings are one tensor there and two here, text first.
    """
    if published == TYPE_EMBEDDINGS:
        return ("model.text_projection.type_embedding", "model.image_projection.type_embedding")
    for prefix, ours in (
        ("vision_encoder.visual.", "model.image_encoder."),
        ("mim_head.decoder.", "losses.masked_image.head."),
    ):
        if published.startswith(prefix):
            tail = published.removeprefix(prefix)
            name = clip_weights.our_name(f"transformer.{tail}" if tail.startswith("resblocks.") else tail)
            return () if name is None else (ours + name,)
    layer = re.fullmatch(r"multi_modal_(language|vision)_layers\.(\d+)\.(.*)", published)
    if layer:
        stream = "text" if layer[1] == "language" else "image"
        for pattern, ours in _LAYER_PARTS:
            match = re.fullmatch(pattern, layer[3])
            if match:
                kind, _, rest = match.expand(ours.format(stream=stream)).partition(".")
                rest = rest.replace("crossattention.", "cross_attention.")
                return (f"model.fusion.{kind}_layers.{layer[2]}.{rest}",)
        return ()
    for pattern, ours in _OTHERS:
        match = re.fullmatch(pattern, published)
        if match:
            return (match.expand(ours),)
    return ()


def reason_unused(published: str, fusion_layers: int) -> str | None:
    """The reason why a published entry is not needed, or None."""
    for pattern, reason in _UNUSED:
        if re.fullmatch(pattern, published):
            return reason
    last = rf"multi_modal_language_layers\.{fusion_layers - 1}\.knowledge_(intermediate|output)\..*"
    return "the last layer's output of the entities" if re.fullmatch(last, published) else None


def from_meter(name: str) -> str:
    """One of METER's own names in ARL's and M3AE's form; unchanged if it is already in that form."""
    for theirs, common in METER_PREFIXES:
        if name.startswith(theirs):
            return common + name.removeprefix(theirs)
    return name


def to_meter(name: str) -> str:
    """METER's own name for one of ARL's and M3AE's names."""
    for theirs, common in METER_PREFIXES:
        if name.startswith(common):
            return theirs + name.removeprefix(common)
    return name
