"""What to install for a known plugin that is missing."""

from __future__ import annotations

#: kind -> name -> distribution.
KNOWN_PLUGINS: dict[str, dict[str, str]] = {
    "report_filters": dict.fromkeys(("rules", "radgraph", "entity_linker", "llm"), "medvlp-reports"),
    "knowledge_sources": dict.fromkeys(
        ("definitions", "obo", "umls", "triples", "chest_lexicon", "joined"), "medvlp-knowledge"
    ),
    "encoders": dict.fromkeys(
        (
            *("clip_vit", "resnet", "transformers_image", "monai_net", "efficientnet_lite", "timm_model"),
            "transformers_text",
        ),
        "medvlp-encoders",
    ),
    "fusion_modules": {"entity_query_decoder": "medvlp-medklip", "knowledge_co_attention": "medvlp-arl"},
    "pretext_losses": {
        **dict.fromkeys(("entity_existence", "entity_position"), "medvlp-medklip"),
        **dict.fromkeys(("clip", "siglip", "convirt", "gloria_local"), "medvlp-contrastive"),
        **dict.fromkeys(
            (
                *("knowledge_alignment", "masked_language_modelling", "masked_image_modelling"),
                "image_text_matching",
            ),
            "medvlp-arl",
        ),
        "feature_contrast": "medvlp-kad",
    },
    "data_sources": dict.fromkeys(
        (
            *("csv", "open_i", "joined", "mimic_cxr", "edema_severity", "chestxray14", "chexpert", "rsna_pneumonia"),
            *("siim_pneumothorax", "covidx_cxr2", "covid_rural", "roco", "medicat", "melinda", "vqa_rad", "slake"),
            *("vqa_med_2019", "vqa_med_2021"),
        ),
        "medvlp-datasets",
    )
    | dict.fromkeys(("phantom", "phantom_questions"), "medvlp-phantom"),
    "checkpoint_importers": {
        "medklip": "medvlp-medklip",
        "kad": "medvlp-kad",
        **dict.fromkeys(("biomedclip", "biovil", "chexzero", "open_clip"), "medvlp-encoders"),
        **dict.fromkeys(("arl", "m3ae", "meter"), "medvlp-arl"),
    },
}
