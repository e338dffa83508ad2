"""Maps the names of CLIP's vision tower in the common checkpoint layouts to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

# OpenAI's names within `visual.`; the fused projection is one matrix, as here.
_OPENAI: tuple[tuple[str, str], ...] = (
    (r"class_embedding", "class_embedding"),
    (r"positional_embedding", "positional_embedding"),
    (r"conv1\.weight", "patch_embedding.weight"),
    (r"(ln_pre|ln_post)\.(weight|bias)", r"\1.\2"),
    (r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", r"blocks.\1.attention.qkv.\2"),
    (r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(weight|bias)", r"blocks.\1.attention.output.\2"),
    (r"transformer\.resblocks\.(\d+)\.(ln_1|ln_2)\.(weight|bias)", r"blocks.\1.\2.\3"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(weight|bias)", r"blocks.\1.expand.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(weight|bias)", r"blocks.\1.contract.\2"),
)
# The names of the transformers library, which has separate matrices for query, key and value.
_TRANSFORMERS: tuple[tuple[str, str], ...] = (
    (r"embeddings\.class_embedding", "class_embedding"),
    (r"embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"embeddings\.patch_embedding\.weight", "patch_embedding.weight"),
    (r"pre_layrnorm\.(weight|bias)", r"ln_pre.\1"),
    (r"post_layernorm\.(weight|bias)", r"ln_post.\1"),
    (r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", r"blocks.\1.attention.\2.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"blocks.\1.attention.output.\2"),
    (r"encoder\.layers\.(\d+)\.layer_norm([12])\.(weight|bias)", r"blocks.\1.ln_\2.\3"),
    (r"encoder\.layers\.(\d+)\.mlp\.fc1\.(weight|bias)", r"blocks.\1.expand.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.fc2\.(weight|bias)", r"blocks.\1.contract.\2"),
)


def our_name(published: str) -> str | None:
    """Our name for one of OpenAI's, given without ``visual.``; None when the tower has no such parameter."""
    return renamed(published, _OPENAI)


def from_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The vision tower of a CLIP state dict, in our names and in float32.

    OpenAI's layout (with or without ``visual.``) and that of the transformers library (with or without
    ``vision_model.``) are distinguished by their names. Entries outside the tower are skipped.

    Raises:
        ValueError: when there is no vision tower in it.
    """
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if any(name.startswith("visual.") for name in tensors):
        found = {our_name(n.removeprefix("visual.")): v for n, v in tensors.items() if n.startswith("visual.")}
    elif any("resblocks" in name for name in tensors):
        found = {our_name(name): value for name, value in tensors.items()}
    else:
        apart = {renamed(_after(name, "vision_model."), _TRANSFORMERS): value for name, value in tensors.items()}
        fused = _with_fused_projections({name: value for name, value in apart.items() if name is not None})
        found = dict(fused.items())
    weights = {name: value.detach().float() for name, value in found.items() if name is not None}
    if "class_embedding" not in weights or "patch_embedding.weight" not in weights:
        shown = ", ".join(sorted(map(str, state))[:3]) or "nothing"
        raise ValueError(
            f"no CLIP vision tower among {len(state)} entries (beginning with {shown}); expected OpenAI's names "
            "(visual.conv1.weight, …) or those of transformers (vision_model.embeddings.…)"
        )
    return weights


def resized_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample position embeddings to another grid: (1 + n², D) -> (1 + rows · columns, D).

    The first row, of the class token, is unchanged; the square grid of the others is resampled bicubically.

    Raises:
        ValueError: when their grid is not square.
    """
    side = round((positions.shape[0] - 1) ** 0.5)
    if side * side != positions.shape[0] - 1:
        raise ValueError(f"position embeddings for {positions.shape[0] - 1} patches, which is not a square grid")
    if (side, side) == tuple(grid):
        return positions
    picture = positions[1:].t().reshape(1, positions.shape[1], side, side)
    resized = F.interpolate(picture.float(), size=list(grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], resized.flatten(2)[0].t().to(positions.dtype)])


def renamed(name: str, table: tuple[tuple[str, str], ...]) -> str | None:
    """A published name by a table of regular expressions and what they become; None where none fits."""
    for pattern, ours in table:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(ours)
    return None


def _after(name: str, prefix: str) -> str:
    return name.rpartition(prefix)[2]


def _with_fused_projections(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    fused: dict[str, Tensor] = {}
    for name, value in weights.items():
        match = re.fullmatch(r"(blocks\.\d+\.attention)\.([qkv])\.(weight|bias)", name)
        if match is None:
            fused[name] = value
        elif match[2] == "q":
            parts = [weights.get(f"{match[1]}.{part}.{match[3]}") for part in "qkv"]
            fused[f"{match[1]}.qkv.{match[3]}"] = torch.cat([part for part in parts if part is not None])
    return fused
