"""Renders the fields of a canvas as a radiograph: normal anatomy, vessels, bones, exposure, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medvlp_phantom.anatomy import FloatArray
from medvlp_phantom.canvas import LUNG_TRANSPARENCY, Canvas, ramp


def _soft_tissue(canvas: Canvas) -> FloatArray:
    """Attenuation of the body without air and bones."""
    a, x, y, distance = canvas.anatomy, canvas.x, canvas.y, canvas.distance
    shoulder = y + 1.02 - 0.55 * np.clip(distance - 0.26, 0.0, 0.35) - 0.20 * np.clip(distance - 0.61, 0.0, None)
    arms = np.clip(-0.15 - y, 0.0, 0.4)
    body = ramp(np.minimum(max(a.half_width) + 0.19 + 0.05 * y + 1.6 * arms - distance, shoulder), 0.05)
    below = ramp(-canvas.to_dome, 0.05)
    centre = np.clip(1.0 - distance / 0.75, 0.0, 1.0)
    tissue = 0.60 + 0.13 * below + 0.10 * centre + 0.10 * ramp(0.13 - distance, 0.08)
    tissue += 0.10 * canvas.heart
    if a.breast:
        breast = np.clip(1.0 - ((distance - 0.45) / 0.34) ** 2 - ((y - 0.18) / 0.36) ** 2, 0.0, 1.0)
        tissue += a.breast * np.sqrt(breast)
    # The windpipe is the one dark band of the mediastinum.
    tissue -= 0.22 * ramp(0.05 - np.abs(x - 0.01), 0.04) * ramp(-0.34 - y, 0.1)
    if a.stomach_bubble > 0.08:
        bubble = 1.0 - ((x - 0.40) / 0.15) ** 2 - ((y - a.dome_y[1] - 0.17) / 0.07) ** 2
        tissue -= a.stomach_bubble * ramp(bubble, 0.4)
    return tissue * body


def _vessels(canvas: Canvas) -> FloatArray:
    """Branching markings that leave the hila and fade towards the wall, 0 to about 1."""
    phases = canvas.projection.vessel_phase
    hilum_x = np.where(canvas.left, np.float32(0.17), np.float32(-0.17))
    dx, dy = canvas.x - hilum_x, canvas.y + 0.08
    radius = np.sqrt(dx * dx + dy * dy) + 1e-3
    angle = np.arctan2(dy, np.abs(dx)) + np.where(canvas.left, np.float32(phases[0]), np.float32(phases[1]))
    fade = np.exp(-radius * 2.2)
    # Uneven spacing and a wavy course keep the pattern from looking like a star.
    angle = angle + 0.22 * np.sin(3.0 * angle + phases[4])
    trunk = np.cos(6.0 * angle + 2.2 * np.sin(5.0 * radius + phases[2]) + phases[3])
    twig = np.cos(15.0 * angle + 2.6 * np.sin(9.0 * radius + phases[4]) + phases[5])
    hilum = np.exp(-((dx / 0.10) ** 2) - ((dy / 0.15) ** 2))
    trunk, twig = np.clip(trunk, 0.0, 1.0), np.clip(twig, 0.0, 1.0)
    return (1.1 * trunk * trunk * trunk + 0.8 * twig * twig) * fade + 0.9 * hilum


def _bones(canvas: Canvas) -> FloatArray:
    """Added attenuation of ribs, clavicles and spine."""
    a, distance, y = canvas.anatomy, canvas.distance, canvas.y
    cage = ramp(canvas.to_wall + 0.05, 0.03) * ramp(canvas.to_apex + 0.04, 0.04) * ramp(0.62 - y, 0.2)
    turn = np.float32(2.0 * np.pi / a.rib_pitch)
    posterior = np.cos((y - a.rib_slope * distance * distance + 0.10 * distance) * turn + 2 * np.pi * a.rib_phase)
    anterior = np.cos((y - 0.55 * (0.9 - distance)) * turn * 0.9 + 2 * np.pi * a.rib_phase)
    posterior, anterior = np.clip(posterior, 0.0, 1.0), np.clip(anterior, 0.0, 1.0)
    ribs = posterior * np.sqrt(posterior) + 0.45 * anterior * anterior * ramp(distance - 0.38, 0.2)
    wall = np.exp(-((canvas.to_wall + 0.02) ** 2) / 0.0012) * ramp(canvas.to_apex, 0.1)
    bones = canvas.projection.ribs * cage * (ribs + 0.35 * wall)
    clavicle_y = np.where(canvas.left, np.float32(a.clavicle_y[1]), np.float32(a.clavicle_y[0]))
    bow = clavicle_y - 0.24 * (distance - 0.12) + 0.06 * np.sin(5.0 * distance)
    bones += 0.15 * ramp(0.034 - np.abs(y - bow), 0.025) * ramp(0.80 - distance, 0.05) * ramp(distance - 0.09, 0.04)
    discs = 0.6 + 0.4 * np.cos(y * np.float32(2.0 * np.pi / a.vertebra_pitch))
    bones += 0.09 * ramp(0.085 - distance, 0.03) * discs
    return bones


def render(canvas: Canvas, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The finished image, uint8 (size, size); ``rng`` gives the noise of the detector."""
    p = canvas.projection
    lung = canvas.air
    attenuation = _soft_tissue(canvas) * (1.0 - LUNG_TRANSPARENCY * lung)
    attenuation += p.vessels * _vessels(canvas) * np.clip(lung, 0.0, 1.0) * canvas.markings
    attenuation += _bones(canvas) + canvas.overlay
    attenuation = ndimage.gaussian_filter(attenuation, 0.35 * canvas.size / 128, mode="nearest", truncate=3.0)
    signal = p.gain * np.clip(attenuation / 1.15, 0.0, 1.1) ** np.float32(p.gamma)
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    signal += np.float32(p.noise) * noise
    return (np.clip(signal, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
