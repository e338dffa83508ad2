"""Image towers of published contrastive models, imported by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_toolkit.cli.main import app
from tests.plugins.medvlp_encoders.published_towers import GRID, LAYERS, WIDTH, biovil, clip, timm_trunk


def image(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def published(state: dict[str, Tensor], picture: Tensor, patch: int) -> Tensor:
    """BiomedCLIP's trunk written out: pre-norm blocks with GELU, one matrix for query, key and value."""
    w = {name.removeprefix("visual.trunk."): value for name, value in state.items()}

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    x = F.conv2d(picture, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], patch).flatten(2).transpose(1, 2)
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], 1) + w["pos_embed"]
    for layer in range(LAYERS):
        block = f"blocks.{layer}."
        qkv = F.linear(norm(x, block + "norm1"), w[block + "attn.qkv.weight"], w[block + "attn.qkv.bias"])
        q, k, v = qkv.unflatten(-1, (3, 1, WIDTH)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + F.linear(mixed, w[block + "attn.proj.weight"], w[block + "attn.proj.bias"])
        hidden = F.gelu(F.linear(norm(x, block + "norm2"), w[block + "mlp.fc1.weight"], w[block + "mlp.fc1.bias"]))
        x = x + F.linear(hidden, w[block + "mlp.fc2.weight"], w[block + "mlp.fc2.bias"])
    return norm(x, "norm")


def test_biomedclip_gives_what_its_trunk_gives() -> None:
    state = timm_trunk()
    encoder = mv.checkpoint_importers.biomedclip(state).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(image(16 * GRID)), published(state, image(16 * GRID), 16), atol=1e-5, rtol=1e-4
        )


def test_chexzero_gives_what_openais_tower_gives() -> None:
    """torch's own attention with the same matrices, as OpenAI's code has it."""
    state = clip()
    w = {name.removeprefix("visual."): value for name, value in state.items()}
    x = F.conv2d(image(32 * GRID), w["conv1.weight"], stride=32).flatten(2).transpose(1, 2)
    x = torch.cat([w["class_embedding"].expand(2, 1, -1), x], 1) + w["positional_embedding"]
    x = F.layer_norm(x, (WIDTH,), w["ln_pre.weight"], w["ln_pre.bias"])
    for layer in range(LAYERS):
        block = f"transformer.resblocks.{layer}."
        attention = nn.MultiheadAttention(WIDTH, 1, batch_first=True)
        attention.load_state_dict(
            {k.removeprefix(block + "attn."): v for k, v in w.items() if k.startswith(block + "attn.")}
        )
        normed = F.layer_norm(x, (WIDTH,), w[block + "ln_1.weight"], w[block + "ln_1.bias"])
        x = x + attention(normed, normed, normed)[0]
        normed = F.layer_norm(x, (WIDTH,), w[block + "ln_2.weight"], w[block + "ln_2.bias"])
        hidden = F.linear(normed, w[block + "mlp.c_fc.weight"], w[block + "mlp.c_fc.bias"])
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        x = x + F.linear(hidden, w[block + "mlp.c_proj.weight"], w[block + "mlp.c_proj.bias"])
    x = F.layer_norm(x, (WIDTH,), w["ln_post.weight"], w["ln_post.bias"])
    encoder = mv.checkpoint_importers.chexzero(state).eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(image(32 * GRID)), x.detach(), atol=1e-5, rtol=1e-4)


def test_biovil_is_a_residual_network_with_all_stages() -> None:
    encoder = mv.checkpoint_importers.biovil({"state_dict": biovil()})
    assert encoder.num_features == 256
    assert encoder.grid_size((224, 224)) == (7, 7)
    assert encoder.key_report.unused["projector.model.0.weight"].startswith("the projection")
    assert len(encoder.key_report.used) == len(biovil()) - 2


@pytest.mark.parametrize(("name", "state"), [("chexzero", clip), ("biomedclip", timm_trunk), ("biovil", biovil)])
def test_the_command_writes_an_overlay_that_begins_training_with_the_tower(
    name: str, state: object, tmp_path: Path
) -> None:
    from monai.bundle import ConfigParser

    assert callable(state)
    torch.save(state(), tmp_path / "published.pt")
    done = CliRunner().invoke(app, ["import", name, str(tmp_path / "published.pt"), "--out", str(tmp_path / "tower")])
    assert done.exit_code == 0, done.output
    assert "not needed: " in done.output
    assert "encoder.yaml" in done.output
    overlay = yaml.safe_load((tmp_path / "tower" / "encoder.yaml").read_text())
    encoder = ConfigParser(overlay).get_parsed_content("image_encoder").eval()
    imported = mv.checkpoint_importers[name](state()).eval()
    side = 64
    with torch.no_grad():
        torch.testing.assert_close(encoder(image(side)), imported(image(side)))
    assert "weights" not in encoder.architecture()  # a description rebuilds it without the file


def test_a_tower_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"not a checkpoint of BiomedCLIP: it lacks visual.trunk.patch_embed"):
        mv.checkpoint_importers.biomedclip(clip())
