"""Maps data sets' labels to MedKLIP's entities."""

from __future__ import annotations

#: Labels of ChestX-ray14 (Wang et al. 2017), in its order, as MedKLIP's published zero-shot evaluation reads them.
#: Fibrosis is not among its entities: the published protocol uses the class of all rarer abnormalities instead.
CHESTXRAY14_TO_MEDKLIP: dict[str, str] = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Effusion": "effusion",
    "Infiltration": "infiltrate",
    "Mass": "mass",
    "Nodule": "nodule",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Emphysema": "emphysema",
    "Fibrosis": "tail_abnorm_obs",
    "Pleural_Thickening": "thicken",
    "Hernia": "hernia",
}
