"""The compositions of recipes and parts, each with the test that trains it, or the reason why there is none.

``python -m tests.bundles.compositions`` writes docs/compositions.md.
"""

from __future__ import annotations

from pathlib import Path

RECIPES = ("medklip", "arl", "kad", "contrastive")
#: Cells: a test (file::function), or ``no:`` and why it makes no sense.
MATRIX = "bundles/test_matrix.py::test_training_leaves_weights_and_pictures_of_attention"
OTHERS = "bundles/test_contrastive_overlays.py::test_the_others_take_its_place_by_their_names"
CLIP = "bundles/test_contrastive_overlays.py::test_clip_trains_beside_the_losses_of_the_recipe"
FUSION = "bundles/test_compositions.py::test_a_fusion_module_trains_in_the_other_recipe"
FEATURES = "bundles/test_compositions.py::test_feature_contrast_takes_the_place_of_clip"
CONTRAST = "bundles/test_compositions.py::test_a_contrastive_loss_takes_the_place_of_kads"
PLACE = "bundles/test_contrastive.py::test_the_other_losses_take_the_place_of_clips"
QUERIES = "bundles/test_arl.py::test_medklips_losses_train_over_arls_encoders_and_fusion"
ALIGNMENT = "bundles/test_arl.py::test_arls_alignment_trains_in_the_medklip_bundle"
NO_FUSION = "no: the dual encoder embeds image and text without each other, and has no fusion module"
NO_QUERIES = "no: asks descriptions of entities through a fusion module, and the dual encoder has neither"
NO_GRAPH = "no: aligns with the entities of a knowledge graph, and the model has no knowledge encoder"
NO_BANK = "no: positions are part of the study's text, and names without a bank of descriptions query the image"
NO_TOKENS = "no: reads a report through a fusion module with a knowledge encoder; names of findings query here"
NO_REPORTS = "no: reads report tokens and linked entities through the fusion module, which descriptions query here"
#: kind -> name -> a cell for each recipe
ENCODERS = ("clip_vit", "efficientnet_lite", "monai_net", "resnet", "timm_model", "transformers_image")
CELLS: dict[str, dict[str, tuple[str, str, str, str]]] = {
    "encoders": dict.fromkeys(ENCODERS, (MATRIX, MATRIX, MATRIX, MATRIX)),
    "fusion_modules": {
        "entity_query_decoder": (MATRIX, FUSION, MATRIX, NO_FUSION),
        "knowledge_co_attention": (FUSION, MATRIX, FUSION, NO_FUSION),
    },
    "pretext_losses": {
        "clip": (CLIP, CLIP, CONTRAST, MATRIX),
        "siglip": (OTHERS, OTHERS, CONTRAST, PLACE),
        "convirt": (OTHERS, OTHERS, CONTRAST, PLACE),
        "gloria_local": (OTHERS, OTHERS, CONTRAST, PLACE),
        "entity_existence": (MATRIX, QUERIES, MATRIX, NO_QUERIES),
        "entity_position": (MATRIX, QUERIES, NO_BANK, NO_QUERIES),
        "feature_contrast": (FEATURES, FEATURES, MATRIX, FEATURES),
        "image_text_matching": (NO_REPORTS, MATRIX, NO_TOKENS, NO_FUSION),
        "knowledge_alignment": (ALIGNMENT, MATRIX, NO_GRAPH, NO_GRAPH),
        "masked_image_modelling": (NO_REPORTS, MATRIX, NO_TOKENS, NO_FUSION),
        "masked_language_modelling": (NO_REPORTS, MATRIX, NO_TOKENS, NO_FUSION),
    },
}
#: What an overlay has to bring for a cell, beside the part itself.
NOTES = {
    ("encoders", "every recipe"): "`timm_model` where timm is installed, which the project's own tests do not install",
    ("encoders", "arl"): "an encoder that sees whole images without the loss `masked_image`",
    ("pretext_losses", "medklip"): "contrastive losses with `clip.yaml`, alignment with `arl_alignment.yaml`",
    ("pretext_losses", "arl"): "contrastive losses with `clip.yaml`, MedKLIP's with `medklip_losses.yaml`",
    ("fusion_modules", "arl"): "`entity_query_decoder` without the loss `matching`, which reads a pair feature",
}
TITLES = {"encoders": "Image encoders", "fusion_modules": "Fusion modules", "pretext_losses": "Losses"}
HEAD = """\
# Compositions

Which part fits which recipe. Parts of different kinds do not restrict one another beyond what is noted: encoders,
fusion modules and losses are combined freely. Each cell names the test that trains it for an epoch, or says why there
is nothing to train. Written by `python -m tests.bundles.compositions` from the table that tests compare with the
contracts.

`medvlp plugins --compatible-with bundles/arl/configs/train.yaml` shows the same for a configuration of your own with
the plugins that are installed; overlays follow with further `--compatible-with`.
"""


def page() -> str:
    """docs/compositions.md."""
    lines = [HEAD]
    for kind, rows in CELLS.items():
        lines += [f"## {TITLES[kind]}", "", f"| | {' | '.join(RECIPES)} |", "|---" * (len(RECIPES) + 1) + "|"]
        for name, cells in rows.items():
            lines.append(f"| `{name}` | {' | '.join(map(_shown, cells))} |")
        notes = [f"{recipe}: {NOTES[kind, recipe]}" for recipe in ("every recipe", *RECIPES) if (kind, recipe) in NOTES]
        lines += ["", *([f"With {'; '.join(notes)}."] if notes else []), *([""] if notes else [])]
    return "\n".join(lines).rstrip() + "\n"


def _shown(cell: str) -> str:
    if cell.startswith("no: "):
        return cell
    file, _, test = cell.partition("::")
    return f"[tested](../tests/{file}) `{test.removeprefix('test_')}`"


if __name__ == "__main__":
    (Path(__file__).parents[2] / "docs" / "compositions.md").write_text(page(), encoding="utf-8")
