"""The wording of phantom reports: phrases for findings, positions and absence.

Positions are the 51 landmark ids of the MedKLIP vocabulary (Wu et al. 2023).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from medvlp_phantom.difficulty import FINDINGS
from medvlp_phantom.planning import BOTH

MENTIONS: dict[str, re.Pattern[str]] = {name: re.compile(rf"{name}s?", re.IGNORECASE) for name in FINDINGS}
"""How each finding is named in a report; every sentence about a finding uses its name."""


@dataclass(frozen=True, slots=True)
class Where:
    """A position in words: as an adjective (None if there is none), after "in", and its id."""

    adjective: str | None
    place: str
    position: str


def _lung_places(side: str) -> dict[str, tuple[Where, ...]]:
    mid_lobe = (
        Where("right middle lobe", "the right middle lobe", "middle_right_lobe")
        if side == "right"
        else Where("lingular", "the lingula", "upper_left_lobe")
    )
    return {
        "upper": (
            Where(f"{side} upper lobe", f"the {side} upper lobe", f"upper_{side}_lobe"),
            Where(f"{side} upper lung", f"the {side} upper lung", f"{side}_upper_lung"),
            Where(f"{side} upper lung", f"the {side} upper lung zone", f"{side}_upper_lung"),
        ),
        "mid": (
            mid_lobe,
            Where(f"{side} mid lung", f"the {side} mid lung", f"{side}_mid_lung"),
            Where(f"{side} mid lung", f"the {side} mid lung zone", f"{side}_mid_lung"),
        ),
        "lower": (
            Where(f"{side} lower lobe", f"the {side} lower lobe", f"lower_{side}_lobe"),
            Where(f"{side} basilar", f"the {side} lung base", f"{side}_lower_lung"),
            Where(f"{side} lower lung", f"the {side} lower lung", f"{side}_lower_lung"),
        ),
    }


def _hemithorax(side: str) -> tuple[Where, ...]:
    return (
        Where(f"{side}-sided", f"the {side} hemithorax", f"{side}_lung_unspec"),
        Where(f"{side}", f"the {side} hemithorax", f"{side}_lung_unspec"),
    )


def places(name: str, side: str, level: str) -> tuple[Where, ...]:
    """The positions in words that are true of a finding at a side and level."""
    if name == "effusion":
        if side == BOTH:
            return (Where("bilateral pleural", "both pleural spaces", "pleural_unspec"),)
        pleural = Where(f"{side} pleural", f"the {side} pleural space", f"{side}_pleural")
        if level == "mid":
            return (Where(f"loculated {side} pleural", f"the {side} lateral pleural space", f"{side}_pleural"),)
        return (
            pleural,
            pleural,
            Where(None, f"the {side} costophrenic angle", f"{side}_costophrenic"),
            Where(f"{side} basilar", f"the {side} lung base", f"{side}_lower_lung"),
        )
    if name == "pneumothorax":
        return {
            "apical": (
                Where(f"{side} apical", f"the {side} apex", f"{side}_apical_lung"),
                Where(f"{side} apical", f"the {side} lung apex", f"{side}_apical_lung"),
            ),
            "mid": (*_hemithorax(side), Where(f"{side} mid lung", f"the {side} mid lung", f"{side}_mid_lung")),
            "lower": (Where(f"{side} basilar", f"the {side} lung base", f"{side}_lower_lung"),),
        }[level]
    if name == "edema":
        return (
            Where("pulmonary", "the pulmonary vasculature", "pulmonary"),
            Where("pulmonary", "the pulmonary vasculature", "pulmonary"),
            Where("interstitial", "the interstitium", "interstitium"),
            Where("bilateral perihilar", "the perihilar regions", "hilar_unspec"),
        )
    if name == "pacemaker":
        return (*_hemithorax(side), Where(None, f"the {side} upper lung", f"{side}_upper_lung"))
    if side == BOTH:
        return (
            Where("bibasilar", "both lung bases", "lung_bases"),
            Where("bilateral basilar", "the lung bases", "lung_bases"),
        )
    return _lung_places(side)[level]


SEVERITY = {"small": "mild", "moderate": "moderate", "large": "severe"}
GRADED_BY_SEVERITY = ("cardiomegaly", "atelectasis", "edema")

NAMED: tuple[str, ...] = (
    "{Size} {adjective} {noun}.",
    "{Adjective} {noun}.",
    "There is {article}{size} {adjective} {noun}.",
    "{Article}{size} {adjective} {noun} is present.",
    "{Article}{adjective} {noun} is again seen.",
    "{Article}{adjective} {noun} is noted, {size} in extent.",
    "Findings are in keeping with {article}{size} {adjective} {noun}.",
    "Interval development of {article}{adjective} {noun}.",
)
LOCATED: tuple[str, ...] = (
    "{Size} {noun} in {place}.",
    "There is {article}{size} {noun} in {place}.",
    "{Article}{noun} is seen in {place}.",
    "{Article}{size} {noun} is identified in {place}.",
    "In {place} there is {article}{size} {noun}.",
    "{Place} shows {article}{size} {noun}.",
)
CARDIOMEGALY: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("{Size} cardiomegaly.", ()),
    ("There is {size} cardiomegaly.", ()),
    ("Cardiomegaly is present.", ()),
    ("The heart is enlarged in keeping with {size} cardiomegaly.", ("heart_size",)),
    ("The cardiac silhouette shows {size} cardiomegaly.", ("heart_size",)),
    ("Heart size is increased, consistent with cardiomegaly.", ("heart_size",)),
)
PACEMAKER_LEAD = ("Its lead ends in the right ventricle.", "Lead tip projects over the right ventricle.")
TIPS: dict[str, tuple[str, ...]] = {
    "svc": ("the SVC", "the mid SVC", "the superior vena cava"),
    "cavoatrial_junction": ("the cavoatrial junction",),
    "right_atrium": ("the right atrium",),
}
CATHETER: tuple[tuple[str, bool], ...] = (
    ("A central venous catheter ends in {tip}.", False),
    ("Central venous catheter with its tip projecting over {tip}.", False),
    ("The tip of the catheter lies in {tip}.", False),
    ("{Side}-sided central venous catheter with its tip in {tip}.", True),
    ("A {side}-sided catheter terminates in {tip}.", True),
)
HEDGED: tuple[str, ...] = (
    "Possible {adjective} {noun}.",
    "Questionable {adjective} {noun}.",
    "{Article}{adjective} {noun} cannot be excluded.",
    "There may be {article}small {adjective} {noun}.",
    "Subtle density which may represent {article}{adjective} {noun}.",
    "Equivocal {adjective} {noun}; correlate clinically.",
)

ABSENT_NOUNS: dict[str, tuple[str, ...]] = {
    "effusion": ("pleural effusion", "effusion", "pleural effusion"),
    "pneumothorax": ("pneumothorax",),
    "consolidation": ("focal consolidation", "consolidation", "airspace consolidation"),
    "nodule": ("pulmonary nodule", "nodule", "suspicious nodule"),
    "cardiomegaly": ("cardiomegaly",),
    "atelectasis": ("atelectasis",),
    "edema": ("pulmonary edema", "edema", "overt edema"),
    "pacemaker": ("pacemaker",),
    "catheter": ("central venous catheter", "catheter"),
}
MENTION_RATE_OF_ABSENT: dict[str, float] = {
    "effusion": 0.85,
    "pneumothorax": 0.85,
    "consolidation": 0.70,
    "nodule": 0.50,
    "cardiomegaly": 0.50,
    "atelectasis": 0.50,
    "edema": 0.55,
    "pacemaker": 0.40,
    "catheter": 0.40,
}
"""Real reports name the absence of a pneumothorax far more often than that of a nodule."""

DENIALS: tuple[str, ...] = (
    "No {list}.",
    "There is no {list}.",
    "No evidence of {list}.",
    "No {list} is seen.",
    "Negative for {list}.",
    "The study shows no {list}.",
)
PARENCHYMAL = ("consolidation", "nodule", "atelectasis", "edema")
NORMAL_STATEMENTS: tuple[tuple[float, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        0.50,
        (*PARENCHYMAL, "effusion", "pneumothorax"),
        ("The lungs are clear.", "Lungs are clear bilaterally.", "The lungs are well expanded and clear."),
    ),
    (
        0.35,
        ("cardiomegaly",),
        (
            "Heart size is normal.",
            "The heart is normal in size.",
            "The cardiomediastinal silhouette is unremarkable.",
            "Heart and mediastinal contours are normal.",
        ),
    ),
    (0.20, ("effusion",), ("Costophrenic angles are sharp.", "The costophrenic sulci are sharp.")),
    (0.30, (), ("Osseous structures are intact.", "No acute osseous abnormality.", "The bony thorax is intact.")),
    (0.15, (), ("The trachea is midline.",)),
)
"""Statements of normality: how often they are made, and the findings that must be absent for them to be true."""

NORMAL_IMPRESSIONS = (
    "No acute cardiopulmonary process.",
    "No acute cardiopulmonary abnormality.",
    "Normal examination of the chest.",
)
REFERENCES = ("See above.", "As described above.")
INDICATIONS = (
    "Cough and fever.",
    "Shortness of breath.",
    "Chest pain.",
    "Evaluate for pneumothorax.",
    "Follow-up of known effusion.",
    "Status post line placement.",
    "Preoperative examination.",
)
COMPARISONS = ("None.", "Prior examination of the chest.", "Earlier examination of the same day.")
TECHNIQUES = {"PA": "PA view of the chest.", "AP": "Portable AP view of the chest.", "CT": "CT of the chest."}
