"""The phantom's difficulty: every constant that model results depend on, in one frozen place.

The values were fixed before any model was tuned on the phantom. Changing one of them makes
published figures incomparable, so a change needs another ``version``.
"""

from __future__ import annotations

from dataclasses import dataclass

FINDINGS: tuple[str, ...] = (
    "effusion",
    "pneumothorax",
    "consolidation",
    "nodule",
    "cardiomegaly",
    "atelectasis",
    "edema",
    "pacemaker",
    "catheter",
)
"""The findings the phantom can show; the names are entity ids of the MedKLIP vocabulary."""

FOCAL_FINDINGS: tuple[str, ...] = ("nodule", "consolidation", "effusion", "pneumothorax", "pacemaker")
"""The findings whose visible change is compact, so that pointing at their box is a fair question.

Named before any model was trained on the phantom. The others do not qualify: an enlarged heart and
edema fill a large part of every image that has them, atelectases and catheters are long and thin. The box of
a pacemaker bounds its generator; the lead, which crosses the chest, counts as a miss.
"""

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PhantomDifficulty:
    """Prevalence, size, contrast and nuisance variation of the phantom.

    Lengths are in body units: the image of an unscaled body spans -1 to 1 in both directions, so
    0.1 is a twentieth of the image's side. Contrasts are shares of the air in the lung that a
    finding replaces (1 is as dense as soft tissue). Angles are in degrees. A pair is a range that
    is drawn from uniformly.
    """

    version: str = "1"

    # How often
    normal_share: float = 0.265
    """Share of images without a definite finding; a few of these have a doubtful one, a quarter of all has none."""
    finding_counts: tuple[float, ...] = (0.25, 0.35, 0.26, 0.14)
    """Probability of 1, 2, 3, … findings in an image that is not normal."""
    equivocal_rate: float = 0.06
    """Probability that an image carries one doubtful finding, reported as uncertain."""
    equivocal_visible_rate: float = 0.5
    """How many of the doubtful findings show a faint change at all."""
    equivocal_strength: float = 0.3
    bilateral_rate: float = 0.12
    """How many effusions and atelectases are on both sides."""

    # How large and how dense
    effusion_height: Range = (0.26, 0.52)
    effusion_loculated_rate: float = 0.30
    effusion_contrast: Range = (0.90, 1.0)
    pneumothorax_depth: Range = (0.26, 0.42)
    pneumothorax_rim: Range = (0.17, 0.25)
    pneumothorax_levels: tuple[float, ...] = (0.45, 0.30, 0.25)
    """Probability of an apical, a lateral (mid) and a basal (lower) pneumothorax."""
    pneumothorax_darkening: float = 0.34
    pleural_line: float = 0.26
    """Attenuation added along the edge of the collapsed lung."""
    consolidation_radius: Range = (0.19, 0.27)
    consolidation_contrast: Range = (0.74, 0.96)
    nodule_radius: Range = (0.105, 0.145)
    nodule_contrast: Range = (0.85, 1.0)
    atelectasis_length: Range = (0.34, 0.52)
    atelectasis_thickness: Range = (0.024, 0.036)
    atelectasis_contrast: Range = (0.75, 0.95)
    diaphragm_elevation: Range = (0.06, 0.12)
    edema_radius: Range = (0.30, 0.42)
    edema_contrast: Range = (0.42, 0.62)
    normal_cardiothoracic_ratio: Range = (0.40, 0.49)
    enlarged_cardiothoracic_ratio: Range = (0.57, 0.68)
    pacemaker_radius: Range = (0.125, 0.155)
    pacemaker_right_rate: float = 0.35
    lead_contrast: float = 0.14
    catheter_half_width: float = 0.018
    catheter_contrast: float = 0.42

    # What varies besides
    rotation: float = 5.0
    scale: Range = (0.88, 1.04)
    shift: float = 0.07
    gamma: Range = (0.80, 1.20)
    gain: Range = (0.82, 1.08)
    noise: Range = (0.008, 0.022)
    vessel_contrast: Range = (0.08, 0.18)
    rib_contrast: Range = (0.06, 0.12)
