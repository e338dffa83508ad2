"""Imports the published KAD checkpoints as a :class:`~medvlp_toolkit.model.PretrainingModel`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

import medvlp_toolkit as mv
from medvlp_kad.contrast import FeatureContrast
from medvlp_kad.projection import TextProjection
from medvlp_kad.queries import PUBLISHED, query_tokens
from medvlp_medklip.fusion import EntityQueryDecoder
from medvlp_medklip.losses import EntityExistence
from medvlp_medklip.projection import image_projection
from medvlp_toolkit.interfaces import KeyReport
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel

#: Whose vocabulary the published training used.
TEXT_MODEL = "GanjinZero/UMLSBert_ENG"
#: Pixels of the published layouts, by the last stage of the residual network.
IMAGE_SIZES = {3: 224, 4: 512}
#: Heads of the published networks; a state dict does not carry the number.
QUERY_HEADS, TEXT_HEADS = 4, 12
#: The three state dicts of a published file.
PARTS = ("image_encoder", "text_encoder", "model")
_STAGES = {"4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}

# Published key, with its part in front -> ours.
_PREFIXES: tuple[tuple[str, str], ...] = (
    ("image_encoder.res_features.0.", "model.image_encoder.conv1."),
    ("image_encoder.res_features.1.", "model.image_encoder.bn1."),
    *((f"image_encoder.res_features.{number}.", f"model.image_encoder.{stage}.") for number, stage in _STAGES.items()),
    ("image_encoder.resnet.", "model.image_encoder."),
    ("image_encoder.res_l1.", "model.image_projection.0."),
    ("image_encoder.res_l2.", "model.image_projection.2."),
    ("text_encoder.bert_model.pooler.dense.", "model.text_projection.0."),
    ("text_encoder.bert_model.", "model.text_encoder.model."),
    ("text_encoder.mlp_embed.0.", "model.text_projection.2."),
    ("text_encoder.mlp_embed.2.", "model.text_projection.4."),
    ("model.decoder_norm.", "model.fusion.norm."),
    ("model.decoder.norm.", "model.fusion.norm."),
    ("model.decoder.layers.", "model.fusion.layers."),
    ("model.mlp_head.0.", "losses.existence.head."),
)
_RENAMED = {".self_attn.": ".self_attention.", ".multihead_attn.": ".cross_attention."}
#: Copies of other entries, and what a model of ours does not learn.
_UNUSED = {
    "image_encoder.resnet.": "a second copy of res_features, or a stage that the published network does not run",
    "text_encoder.logit_scale": "the scale of the knowledge encoder's own training",
    "model.logit_scale": "never read by the published code: its scale is a constant",
    "text_encoder.bert_model.embeddings.position_ids": "0, 1, 2 …",
}


def our_name(published: str) -> str | None:
    """Our parameter for a published one, named with its part in front; None when there is none."""
    for prefix, ours in _PREFIXES:
        if published.startswith(prefix):
            name = ours + published[len(prefix) :]
            for old, new in _RENAMED.items():
                name = name.replace(old, new)
            return name
    return None


def kad(
    state_dict: Mapping[str, Any],
    entity_tokens: tuple[Tensor, Tensor] | None = None,
    tokenizer: Any = None,
    dropout: float = 0.1,
    unmentioned: str = "absent",
) -> PretrainingModel:
    """Build the model of a published KAD checkpoint.

    The depth of the residual network and the stage it ends at, the sizes of the BERT and the number of decoder layers
    are read off the weights.

    Args:
        state_dict: the published dict with ``image_encoder``, ``text_encoder`` and ``model``, or one with keys
            that begin so; with or without the ``module.`` prefix.
        entity_tokens: (Q, L) token ids and mask of the names that are scored, of the text model's vocabulary, which a
            checkpoint lacks; None makes those of the 41 published names (:mod:`medvlp_kad.queries`).
        tokenizer: folder or hub name of that vocabulary; None with ``entity_tokens`` builds no tokenizer, else the
            published one is taken.
        dropout: of the query network and on its output; published 0.1.
        unmentioned: published ``absent``; see ``entity_existence``.

    Raises:
        ValueError: when a key is missing, foreign or of another shape; the message holds the whole list.

    Example::

        pretraining_model:
          _target_: medvlp_toolkit.checkpoint_importers.kad
          state_dict: "$torch.load('best_valid.pt', map_location='cpu', weights_only=True)"
    """
    tensors = _unwrap(state_dict)
    depth, last_stage = _depth(tensors)
    width = int(tensors["model.mlp_head.0.weight"].shape[1])
    encoder = mv.encoders.resnet(depth=depth, last_stage=last_stage)
    text = _text_encoder(tensors, TEXT_MODEL if entity_tokens is None and tokenizer is None else tokenizer)
    if entity_tokens is None:
        entity_tokens = query_tokens(list(PUBLISHED.values()), text.tokenizer)
    existence = EntityExistence(width, unmentioned=unmentioned)  # type: ignore[arg-type]
    in_text = EntityExistence(width, image="report", unmentioned=unmentioned, head=existence.head)  # type: ignore[arg-type]
    model = PretrainingModel(
        VisionLanguageModel(
            image_encoder=encoder,
            image_projection=image_projection(encoder.num_features, width),
            text_encoder=text,
            text_projection=TextProjection(text.num_features, width),
            fusion=EntityQueryDecoder(
                width, _layers(tensors), QUERY_HEADS, int(tensors["model.decoder.layers.0.linear1.weight"].shape[0]),
                dropout, output_dropout=dropout, normalize_inputs=True,
            ),
            entity_tokens=entity_tokens,
        ),
        {"existence": existence, "existence_in_text": in_text, "contrast": FeatureContrast()},
    )  # fmt: skip
    used, unused = _load(model, tensors)
    unused |= {key: "not weights" for key in state_dict if "image_encoder" in state_dict and key not in PARTS}
    made = {"model.entity_ids": f"{len(entity_tokens[0])} names, tokenised"}
    model.key_report = KeyReport(used, unused, made)  # type: ignore[assignment]
    return model


def settings(state_dict: Mapping[str, Any], tokenizer: Any = None) -> dict[str, Any]:
    """The settings with which the bundle's ``train.yaml`` composes the model of a published checkpoint.

    Raises:
        ValueError: when it is not a KAD checkpoint.
    """
    tensors = _unwrap(state_dict)
    depth, last_stage = _depth(tensors)
    return {
        "width": int(tensors["model.mlp_head.0.weight"].shape[1]),
        "image_size": IMAGE_SIZES.get(last_stage, 224),
        "image_encoder::depth": depth,
        "image_encoder::last_stage": last_stage,
        "fusion::layers": _layers(tensors),
        "fusion::heads": QUERY_HEADS,
        "fusion::feed_forward": int(tensors["model.decoder.layers.0.linear1.weight"].shape[0]),
        "text_encoder::pretrained": None,
        "text_encoder::config": _bert(tensors),
        "text_encoder::tokenizer": tokenizer or TEXT_MODEL,
        "text_projection::pretrained": None,
    }


kad.settings = settings  # type: ignore[attr-defined]


def _text_encoder(tensors: Mapping[str, Tensor], tokenizer: Any) -> Any:
    config = _bert(tensors)
    lower_case = None if tokenizer is None else True
    try:
        return mv.encoders.transformers_text(config=config, tokenizer=tokenizer, lower_case=lower_case)
    except ValueError as error:
        raise ValueError(
            f"the checkpoint's text encoder knows {config['vocab_size']} words, which are not those of {tokenizer} "
            f"({error}); name the text model that it was trained with (--text-model)"
        ) from None


def _unwrap(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Every tensor of the file under the name of its part."""
    tensors: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if key in PARTS and isinstance(value, Mapping):
            tensors |= {f"{key}.{name.removeprefix('module.')}": item for name, item in value.items()}
        elif isinstance(value, Tensor):
            tensors[key] = value
    needed = ("model.mlp_head.0.weight", "text_encoder.mlp_embed.2.weight", "image_encoder.res_l2.weight")
    missing = [key for key in needed if key not in tensors]
    if missing:
        shown = ", ".join(sorted(map(str, state_dict))[:5]) or "nothing"
        raise ValueError(
            f"this is not a checkpoint of KAD: it lacks {', '.join(missing)}; it holds {len(state_dict)} entries, "
            f"beginning with {shown}"
        )
    return tensors


def _depth(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Of the residual network: depth, and the last stage that is run."""
    names = [key.removeprefix("image_encoder.res_features.") for key in tensors if ".res_features." in key]
    last = max(int(name.split(".")[0]) for name in names) - 3
    third = {name.split(".")[1] for name in names if name.startswith("6.")}
    bottleneck = any(".conv3." in name for name in names)
    for depth, (kind, blocks) in {18: (False, 2), 34: (False, 6), 50: (True, 6), 101: (True, 23)}.items():
        if bottleneck == kind and len(third) == blocks:
            return depth, last
    raise ValueError(
        f"the checkpoint's image encoder has {len(third)} {'bottleneck' if bottleneck else 'basic'} blocks in stage 3; "
        "expected ResNet-18, 34, 50 or 101"
    )


def _layers(tensors: Mapping[str, Tensor]) -> int:
    return len({m.group(1) for key in tensors if (m := re.match(r"model\.decoder\.layers\.(\d+)\.", key))})


def _bert(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the configuration of the checkpoint's BERT."""
    bert = "text_encoder.bert_model."
    words, width = tensors[f"{bert}embeddings.word_embeddings.weight"].shape
    layers = {m.group(1) for key in tensors if (m := re.match(rf"{re.escape(bert)}encoder\.layer\.(\d+)\.", key))}
    return {
        "model_type": "bert",
        "vocab_size": int(words),
        "hidden_size": int(width),
        "num_hidden_layers": len(layers),
        "num_attention_heads": TEXT_HEADS,
        "intermediate_size": int(tensors[f"{bert}encoder.layer.0.intermediate.dense.weight"].shape[0]),
        "max_position_embeddings": int(tensors[f"{bert}embeddings.position_embeddings.weight"].shape[0]),
    }


def _load(model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[dict[str, str], dict[str, str]]:
    """Put the published values into the model; returns published key -> our name, and key -> why it is not used."""
    expected = model.state_dict()
    loaded: dict[str, Tensor] = {}
    used: dict[str, str] = {}
    unused: dict[str, str] = {}
    problems = []
    for key, value in tensors.items():
        reason = next((why for prefix, why in _UNUSED.items() if key.startswith(prefix)), None)
        name = our_name(key)
        if reason is not None:
            unused[key] = reason
        elif name is None or name not in expected:
            problems.append(f"  {key}: no place for it in this model")
        elif tuple(expected[name].shape) != tuple(value.shape):
            problems.append(f"  {key}: shape {tuple(value.shape)}, expected {tuple(expected[name].shape)}")
        else:
            loaded[name] = value
            used[key] = name
    for name in ("weight", "bias"):  # one head, of two losses
        if (head := loaded.get(f"losses.existence.head.{name}")) is not None:
            loaded[f"losses.existence_in_text.head.{name}"] = head
    if not any("shape" in problem for problem in problems):
        problems += [f"  {name}: missing from the checkpoint" for name in expected if name not in loaded]
    if problems:
        raise ValueError(f"{len(problems)} entries of the checkpoint do not fit KAD:\n" + "\n".join(problems))
    model.load_state_dict(loaded)
    return used, unused
