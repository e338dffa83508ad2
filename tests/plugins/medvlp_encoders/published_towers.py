"""Seeded state dicts with the names of published contrastive models, narrower and shallower than those."""

from __future__ import annotations

import torch
from torch import Tensor

WIDTH, LAYERS, GRID = 64, 2, 2


def clip(patch: int = 32) -> dict[str, Tensor]:
    """OpenAI's layout, as CheXzero's file: the text tower first, then the image tower."""
    shapes: dict[str, tuple[int, ...]] = {
        "text_projection": (8, 8), "logit_scale": (), "token_embedding.weight": (12, 8), "ln_final.weight": (8,),
        "transformer.resblocks.0.ln_1.weight": (8,), "visual.proj": (WIDTH, 8),
        "visual.class_embedding": (WIDTH,), "visual.positional_embedding": (1 + GRID**2, WIDTH),
        "visual.conv1.weight": (WIDTH, 3, patch, patch), "visual.ln_pre.weight": (WIDTH,),
        "visual.ln_pre.bias": (WIDTH,),
    }  # fmt: skip
    for layer in range(LAYERS):
        block = f"visual.transformer.resblocks.{layer}."
        shapes |= {
            block + "attn.in_proj_weight": (3 * WIDTH, WIDTH), block + "attn.in_proj_bias": (3 * WIDTH,),
            block + "attn.out_proj.weight": (WIDTH, WIDTH), block + "attn.out_proj.bias": (WIDTH,),
            block + "ln_1.weight": (WIDTH,), block + "ln_1.bias": (WIDTH,),
            block + "mlp.c_fc.weight": (4 * WIDTH, WIDTH), block + "mlp.c_fc.bias": (4 * WIDTH,),
            block + "mlp.c_proj.weight": (WIDTH, 4 * WIDTH), block + "mlp.c_proj.bias": (WIDTH,),
            block + "ln_2.weight": (WIDTH,), block + "ln_2.bias": (WIDTH,),
        }  # fmt: skip
    return _drawn({**shapes, "visual.ln_post.weight": (WIDTH,), "visual.ln_post.bias": (WIDTH,)})


def timm_trunk(patch: int = 16) -> dict[str, Tensor]:
    """open_clip's layout around timm's vision transformer, as BiomedCLIP's file."""
    trunk = "visual.trunk."
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (), "text.transformer.embeddings.word_embeddings.weight": (12, 8),
        "text.proj.0.weight": (8, 8), "visual.head.proj.weight": (8, WIDTH), trunk + "cls_token": (1, 1, WIDTH),
        trunk + "pos_embed": (1, 1 + GRID**2, WIDTH), trunk + "patch_embed.proj.weight": (WIDTH, 3, patch, patch),
        trunk + "patch_embed.proj.bias": (WIDTH,),
    }  # fmt: skip
    for layer in range(LAYERS):
        block = f"{trunk}blocks.{layer}."
        shapes |= {
            block + "norm1.weight": (WIDTH,), block + "norm1.bias": (WIDTH,),
            block + "attn.qkv.weight": (3 * WIDTH, WIDTH), block + "attn.qkv.bias": (3 * WIDTH,),
            block + "attn.proj.weight": (WIDTH, WIDTH), block + "attn.proj.bias": (WIDTH,),
            block + "norm2.weight": (WIDTH,), block + "norm2.bias": (WIDTH,),
            block + "mlp.fc1.weight": (4 * WIDTH, WIDTH), block + "mlp.fc1.bias": (4 * WIDTH,),
            block + "mlp.fc2.weight": (WIDTH, 4 * WIDTH), block + "mlp.fc2.bias": (WIDTH,),
        }  # fmt: skip
    return _drawn({**shapes, trunk + "norm.weight": (WIDTH,), trunk + "norm.bias": (WIDTH,)})


def biovil() -> dict[str, Tensor]:
    """BioViL's image model: a projector around torchvision's ResNet-50, here of an eighth of its widths."""
    from medvlp_encoders.resnet import ResNetTokens

    torch.manual_seed(0)
    network = ResNetTokens(depth=50, last_stage=4, widths=(8, 16, 32, 64)).state_dict()
    head = {"projector.model.0.weight": torch.rand(8, 256, 1, 1), "encoder.encoder.fc.weight": torch.rand(4, 256)}
    return head | {f"encoder.encoder.{name}": value for name, value in network.items()}


def _drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
