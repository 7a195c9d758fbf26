"""What lies beyond the temporal bone, in the frame of the head: skull, brain, face and scalp, alike on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.phantom.canvas import Canvas
from InnerEarAILib.phantom.head_face import Face
from InnerEarAILib.phantom.neighbours_shapes import Ellipsoid, smooth_min
from InnerEarAILib.phantom.texture import noise_lattice, sample_lattice
from InnerEarAILib.phantom.tissue import TissueParameters

FOAM_HOUNSFIELD, PLATE_HOUNSFIELD = -940.0, -150.0


@dataclass(frozen=True)
class SurroundingsParameters:
    """Sizes in mm in the head's frame: midsagittal plane x = 0, the vestibules at y = z = 0.

    Attributes:
        vault_radii: half axes of the cranial cavity's upper part (x, y, z).
        vault_height: height of its centre.
        fossa_floor: height of the floor of the middle cranial fossa.
        skull_thickness: of the vault.
        scalp_thickness: skin, fat and muscle over it.
        neck_radii: half axes (x, y) of the face and neck below the skull.
        sinus_radius: of the maxillary sinuses.
        fat_share: 0 lean to 1.
        headrest_mm: radius of the curved plate under the head; 0 for none.
        noise_seed: of the textures.
    """

    vault_radii: tuple[float, float, float] = (68.0, 86.0, 72.0)
    vault_height: float = 26.0
    fossa_floor: float = -7.0
    skull_thickness: float = 5.0
    scalp_thickness: float = 6.0
    neck_radii: tuple[float, float] = (66.0, 88.0)
    sinus_radius: float = 14.0
    fat_share: float = 0.3
    headrest_mm: float = 0.0
    noise_seed: int = 0


def sample_surroundings(rng: np.random.Generator) -> SurroundingsParameters:
    """Draws a head's size and shape."""
    size = rng.normal(1.0, 0.045)
    return SurroundingsParameters(
        vault_radii=tuple(float(v) for v in size * np.array([68.0, 86.0, 72.0]) * np.exp(rng.normal(0, 0.03, 3))),
        vault_height=rng.normal(26, 3),
        fossa_floor=rng.normal(-7, 1.5),
        skull_thickness=rng.uniform(3.0, 8.0),
        scalp_thickness=rng.uniform(3.5, 11.0),
        neck_radii=tuple(float(v) for v in size * np.array([66.0, 88.0]) * np.exp(rng.normal(0, 0.05, 2))),
        sinus_radius=rng.uniform(7, 18),
        fat_share=rng.uniform(0.0, 0.8),
        headrest_mm=rng.uniform(118, 135) if rng.random() < 0.5 else 0.0,
        noise_seed=int(rng.integers(64)),
    )


class Surroundings:
    """Paints the head round the temporal bones."""

    def __init__(self, parameters: SurroundingsParameters, tissue: TissueParameters) -> None:
        self.parameters = parameters
        self.tissue = tissue
        size = parameters.neck_radii[1] / SurroundingsParameters.neck_radii[1]
        self._face = Face(size, parameters.sinus_radius)

    def background(self, points: Tensor, edge_mm: float) -> Tensor:
        """(n,) HU at points (n, 3) of the head's frame."""
        figures, tissue = self.parameters, self.tissue
        noise = sample_lattice(noise_lattice(figures.noise_seed, points.device), points, 30.0)
        canvas = Canvas(points, edge_mm, tissue.surroundings)
        cavity = self._cavity(points, noise)
        skin = self._skin(points)
        soft = tissue.muscle + tissue.soft_variation * noise[1]
        fatty = torch.sigmoid(6 * (noise[0] - 1.2 + 2 * figures.fat_share))
        canvas.paint(None, canvas.coverage(skin), soft + fatty * (tissue.fat - soft))
        canvas.paint(None, canvas.plate_coverage(skin + 0.8, 0.8), tissue.muscle)
        shell = torch.maximum(cavity - figures.skull_thickness - 0.25 * noise[2], skin + 2)
        diploe = 0.5 * figures.skull_thickness
        bone = tissue.cortex + tissue.compact_variation * noise[0]
        spongy = tissue.trabecula + 0.5 * tissue.trabecular_variation * noise[1]
        canvas.paint(None, canvas.coverage(shell), bone)
        if figures.skull_thickness > 4:
            canvas.paint(None, canvas.plate_coverage(cavity - diploe, diploe - 1.6), spongy)
        canvas.paint(None, canvas.coverage(cavity), tissue.dura)
        inner = cavity + 1.0
        canvas.paint(None, canvas.coverage(inner), tissue.cerebrospinal)
        brain = tissue.brain + tissue.soft_variation * noise[2] + 6 * torch.sign(noise[1])
        canvas.paint(None, canvas.coverage(inner + 1.2 + 1.2 * noise[0]), brain)
        one_side = torch.cat([points[:, :1].abs(), points[:, 1:]], dim=1)
        faced = Canvas(one_side, edge_mm, canvas.hounsfield)
        self._face.paint(faced, tissue, noise)
        if figures.headrest_mm:
            self._paint_headrest(faced)
        return faced.hounsfield

    def _paint_headrest(self, canvas: Canvas) -> None:
        """A curved plate with foam behind the head."""
        x, y, z = canvas.points.unbind(1)
        away = (x**2 + (y - 12) ** 2).sqrt() - self.parameters.headrest_mm
        reach = canvas.coverage(20 - y) * canvas.coverage(z - 130)
        canvas.paint(None, reach * canvas.plate_coverage(away + 6, 5.0), FOAM_HOUNSFIELD)
        canvas.paint(None, reach * canvas.plate_coverage(away, 1.2), PLATE_HOUNSFIELD)

    def _cavity(self, points: Tensor, noise: Tensor) -> Tensor:
        """Signed distance of the cranial cavity."""
        figures = self.parameters
        radii = figures.vault_radii
        upper = _ellipsoid(points, (0.0, 12.0, figures.vault_height), radii)
        stepped = figures.fossa_floor + 0.45 * (-points[:, 1] - 30).clamp(0, 40)
        upper = torch.maximum(upper, (stepped - points[:, 2] + 0.25 * noise[0]))
        back = _ellipsoid(points, (0.0, 32.0, -8.0), (0.78 * radii[0], 40.0, 30.0))
        return smooth_min(upper, back, 4.0)

    def _skin(self, points: Tensor) -> Tensor:
        figures = self.parameters
        over_vault = _ellipsoid(
            points,
            (0.0, 12.0, figures.vault_height),
            tuple(r + figures.skull_thickness + figures.scalp_thickness for r in figures.vault_radii),
        )
        x, y, z = points.unbind(1)
        across, along = figures.neck_radii
        narrowing = 1 - 0.0025 * (-z - 20).clamp(0, 80)
        share = ((x / across) ** 2 + ((y - 5) / along) ** 2).sqrt() / narrowing
        below = torch.maximum((share - 1) * across, z - 20)
        size = along / SurroundingsParameters.neck_radii[1]
        face = _ellipsoid(points, (0.0, -42.0 * size, -15.0), (70.0 * size, 58.0 * size, 82.0 * size))
        return smooth_min(smooth_min(over_vault, below, 12.0), face, 8.0)


def _ellipsoid(points: Tensor, centre: tuple[float, float, float], radii: tuple[float, ...]) -> Tensor:
    return Ellipsoid(np.array(centre), np.array(radii)).distance(points)
