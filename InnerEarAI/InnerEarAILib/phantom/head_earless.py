"""Scans without an ear, to be refused: a knee, a slab of brain, a water phantom, air."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.phantom.anatomy import PhantomEar, Rendering
from InnerEarAILib.phantom.canvas import Canvas
from InnerEarAILib.phantom.head_surroundings import Surroundings, SurroundingsParameters, sample_surroundings
from InnerEarAILib.phantom.neighbours_parameters import Vector
from InnerEarAILib.phantom.neighbours_shapes import Ellipsoid, Tube, smooth_min
from InnerEarAILib.phantom.texture import noise_lattice, sample_lattice
from InnerEarAILib.phantom.tissue import TissueParameters, sample_tissue

EarlessKind = Literal["knee", "brain", "water", "air"]
KINDS: tuple[EarlessKind, ...] = get_args(EarlessKind)


@dataclass(frozen=True)
class EarlessParameters:
    """What a scan without an ear shows.

    Attributes:
        kind: one of KINDS.
        tissue: CT numbers.
        surroundings: of the head that "brain" is a part of.
        centre: of the scan, mm, in the frame of the knee, head or vessel.
        size: of the knee or the vessel against the mean.
        noise_seed: of the textures.
    """

    kind: EarlessKind
    tissue: TissueParameters = field(default_factory=TissueParameters)
    surroundings: SurroundingsParameters = field(default_factory=SurroundingsParameters)
    centre: Vector = (0.0, 0.0, 0.0)
    size: float = 1.0
    noise_seed: int = 0


class Earless:
    """An anatomy without an ear; implements anatomy.Anatomy."""

    def __init__(self, parameters: EarlessParameters) -> None:
        self.parameters = parameters
        self.ears: tuple[PhantomEar, ...] = ()

    @torch.no_grad()
    def render(self, points: Tensor, edge_mm: float) -> Rendering:
        """Samples the anatomy at points (n, 3) mm; see anatomy.Anatomy.render."""
        figures = self.parameters
        placed = points.to(torch.float32) + points.new_tensor(figures.centre)
        painted = [_PAINTERS[figures.kind](figures, piece, edge_mm) for piece in placed.split(1 << 18)]
        hounsfield = torch.cat(painted)
        none = torch.zeros_like(hounsfield)
        return Rendering(hounsfield, none, none.to(torch.uint8))


def sample_earless(rng: np.random.Generator, kind: EarlessKind | None = None) -> Earless:
    """Draws a scan without an ear.

    Args:
        rng: source of randomness.
        kind: one of KINDS; drawn if None, mostly what has bone.

    Raises:
        ValueError: if there is no such kind.
    """
    kind = str(rng.choice(KINDS, p=(0.5, 0.3, 0.12, 0.08))) if kind is None else kind
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is unknown; choose one of {', '.join(KINDS)}")
    low, high = _CENTRES[kind]
    return Earless(
        EarlessParameters(
            kind=kind,
            tissue=sample_tissue(rng),
            surroundings=sample_surroundings(rng),
            centre=tuple(float(value) for value in rng.uniform(low, high)),
            size=rng.uniform(0.85, 1.15),
            noise_seed=int(rng.integers(64)),
        )
    )


_CENTRES = {
    "knee": ((-25, -20, -25), (25, 20, 25)),
    "brain": ((-45, -60, 42), (45, 60, 95)),
    "water": ((-40, -40, -40), (40, 40, 40)),
    "air": ((0, 0, 0), (1, 1, 1)),
}
"""Where the middle of the scan may lie, mm; a brain slab stays above the temporal bones."""


def _paint_knee(figures: EarlessParameters, points: Tensor, edge_mm: float) -> Tensor:
    tissue = figures.tissue
    points = points / figures.size
    edge_mm = edge_mm / figures.size
    noise = sample_lattice(noise_lattice(figures.noise_seed, points.device), points, 24.0)
    grain = sample_lattice(noise_lattice(figures.noise_seed + 1, points.device), points + 3.1 * noise.T, 19.0)
    canvas = Canvas(points, edge_mm, tissue.surroundings)
    x, y, _ = points.unbind(1)
    skin = (x**2 + (y - 5) ** 2).sqrt() - 58 + 0.4 * noise[0]
    canvas.paint(None, canvas.coverage(skin), tissue.muscle)
    canvas.paint(None, canvas.coverage(skin + 2), tissue.fat + tissue.soft_variation * noise[1])
    canvas.paint(None, canvas.coverage(skin + 9 + 3 * noise[2]), tissue.muscle + tissue.soft_variation * grain[1])
    femur = smooth_min(
        smooth_min(_ball((-22, 2, 22), (20, 26, 20), points), _ball((22, 2, 22), (20, 27, 21), points), 6.0),
        Tube.of([[0, -4, 38], [0, -8, 120]], [20.0, 13.0]).distance(points),
        8.0,
    )
    tibia = smooth_min(
        _ball((0, 2, -16), (38, 24, 13), points),
        Tube.of([[0, 0, -24], [0, 0, -120]], [17.0, 11.0]).distance(points),
        8.0,
    )
    fibula = Tube.of([[34, 16, -26], [32, 16, -120]], [8.0, 6.0]).distance(points)
    patella = _ball((0, -38, 25), (21, 10, 21), points)
    for bone, cartilage in ((femur, 2.2), (tibia, 2.5), (patella, 2.0), (fibula, 0.0)):
        canvas.paint(None, canvas.coverage(bone - cartilage), tissue.cartilage)
    for bone in (femur, tibia, patella, fibula):
        rough = bone + 0.2 * noise[0]
        canvas.paint(None, canvas.coverage(rough), tissue.cortex + tissue.compact_variation * grain[0])
        marrow = 0.35 * tissue.trabecula + tissue.trabecular_variation * grain[2]
        canvas.paint(None, canvas.coverage(rough + 1.6 + 0.4 * noise[1]), marrow)
    return canvas.hounsfield


def _paint_brain(figures: EarlessParameters, points: Tensor, edge_mm: float) -> Tensor:
    return Surroundings(figures.surroundings, figures.tissue).background(points, edge_mm)


def _paint_water(figures: EarlessParameters, points: Tensor, edge_mm: float) -> Tensor:
    canvas = Canvas(points, edge_mm, figures.tissue.air)
    across = points[:, :2].norm(dim=1) - 60 * figures.size
    canvas.paint(None, canvas.coverage(across), 120.0)
    canvas.paint(None, canvas.coverage(across + 4), 0.0)
    return canvas.hounsfield


def _paint_air(figures: EarlessParameters, points: Tensor, edge_mm: float) -> Tensor:
    return torch.full((len(points),), figures.tissue.air, device=points.device)


_PAINTERS = {"knee": _paint_knee, "brain": _paint_brain, "water": _paint_water, "air": _paint_air}


def _ball(centre: Vector, radii: Vector, points: Tensor) -> Tensor:
    return Ellipsoid(np.array(centre, float), np.array(radii, float)).distance(points)
