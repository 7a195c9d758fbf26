"""A temporal bone as the scanner sees it: the labyrinth in its capsule, and everything round it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.phantom.anatomy import PhantomEar, Rendering
from InnerEarAILib.phantom.canvas import Canvas
from InnerEarAILib.phantom.head_surroundings import Surroundings, SurroundingsParameters
from InnerEarAILib.phantom.labyrinth import Labyrinth
from InnerEarAILib.phantom.labyrinth_nearby import NearbyLabyrinth
from InnerEarAILib.phantom.labyrinth_parameters import VARIANTS as LABYRINTH_VARIANTS
from InnerEarAILib.phantom.labyrinth_parameters import sample_labyrinth_parameters
from InnerEarAILib.phantom.neighbours_bodies import NeighbourBodies
from InnerEarAILib.phantom.neighbours_surfaces import REACH_HIGH, REACH_LOW, BoneSurfaces
from InnerEarAILib.phantom.point_tiles import tiles
from InnerEarAILib.phantom.temporal_bone_painting import TemporalBonePainter
from InnerEarAILib.phantom.temporal_bone_parameters import (
    VARIANTS,
    TemporalBoneParameters,
    sample_temporal_bone_parameters,
)
from InnerEarAILib.phantom.tissue import STATES, State

TILE_POINTS = {"cpu": 80_000}
DEVICE_TILE_POINTS = 2_000_000
"""Points painted at once: about what fits a processor's cache; on an accelerator, its memory."""

VARIANT_SHARES = {
    "normal": 0.72,
    "otosclerosis": 0.06,
    "dehiscent_superior_canal": 0.05,
    "enlarged_vestibular_aqueduct": 0.05,
    "fibrosis": 0.04,
    "ossification": 0.04,
    "incomplete_partition": 0.04,
    "lateral_canal_dysplasia": 0.03,
    "cochlear_hypoplasia": 0.03,
    "incomplete_partition_1": 0.03,
    "common_cavity": 0.03,
    "cochlear_aplasia": 0.02,
    "labyrinthine_aplasia": 0.01,
}
STATE_SHARES: dict[State, float] = {"fresh": 0.7, "embalmed": 0.12, "dry": 0.1, "embedded": 0.08}
"""How often each is drawn where the caller leaves it open: diseased and prepared ears far more often than they occur,
so that a network trained on the phantom meets all of them."""


class TemporalBone:
    """One right ear and its surroundings; implements anatomy.Anatomy.

    Args:
        labyrinth: the labyrinth.
        parameters: the rest.

    Attributes:
        labyrinth, parameters: as given.
        ears: the one ear; none where there is no labyrinth.
        bodies: the neighbours as placed.
        surfaces: the outer surfaces of the bone.
    """

    def __init__(self, labyrinth: Labyrinth, parameters: TemporalBoneParameters) -> None:
        self.labyrinth = labyrinth
        self.parameters = parameters
        ear = PhantomEar("right", dict(labyrinth.landmarks), dict(labyrinth.measures))
        self.ears = (ear,) if labyrinth.parameters.malformation.lumen else ()
        self.bodies = NeighbourBodies(labyrinth.frames, parameters.neighbours)
        self.surfaces = BoneSurfaces(parameters.neighbours.bone, parameters.neighbours.posture)
        self._surroundings = Surroundings(parameters.surroundings, parameters.tissue)

    @torch.no_grad()
    def render(self, points: Tensor, edge_mm: float) -> Rendering:
        """Samples the temporal bone at points (n, 3) mm; see anatomy.Anatomy.render."""
        points = points.to(torch.float32)
        hounsfield = torch.empty(len(points), device=points.device)
        labyrinth = torch.empty_like(hounsfield)
        part = torch.empty(len(points), dtype=torch.uint8, device=points.device)
        for tile in tiles(points, TILE_POINTS.get(points.device.type, DEVICE_TILE_POINTS)):
            hounsfield[tile], labyrinth[tile], part[tile] = self._render_piece(points[tile], edge_mm)
        return Rendering(hounsfield, labyrinth, part)

    @torch.no_grad()
    def label(self, points: Tensor, edge_mm: float) -> tuple[Tensor, Tensor]:
        """Share of lumen and part at points (n, 3) mm, as `render` gives them; see anatomy.Labelling."""
        points = points.to(torch.float32)
        share = torch.empty(len(points), device=points.device)
        part = torch.empty(len(points), dtype=torch.uint8, device=points.device)
        for tile in tiles(points, TILE_POINTS.get(points.device.type, DEVICE_TILE_POINTS)):
            canvas = Canvas(points[tile], edge_mm, 0.0)
            share[tile], part[tile] = NearbyLabyrinth(canvas, self.labyrinth).truth()
        return share, part

    def _render_piece(self, points: Tensor, edge_mm: float) -> tuple[Tensor, Tensor, Tensor]:
        parameters = self.parameters
        to_head = points.new_tensor(parameters.place)

        def behind(index: Tensor) -> Tensor:
            return self._surroundings.background(points[index] + to_head, edge_mm)

        canvas = Canvas(points, edge_mm, parameters.tissue.surroundings)
        share = torch.zeros_like(canvas.hounsfield)
        part = torch.zeros(len(points), dtype=torch.uint8, device=points.device)
        cut = self._cut(points)
        within = ((points >= points.new_tensor(REACH_LOW)) & (points <= points.new_tensor(REACH_HIGH))).all(1)
        kept = cut < 0.5 * edge_mm
        inner, outer = (within & kept).nonzero()[:, 0], (~within & kept).nonzero()[:, 0]
        if len(outer):
            canvas.hounsfield[outer] = behind(outer)
        if len(inner):
            painter = TemporalBonePainter(
                self.labyrinth,
                parameters,
                self.bodies,
                self.surfaces,
                points[inner],
                edge_mm,
                lambda chosen: behind(inner[chosen]),
            )
            canvas.hounsfield[inner] = painter.painted()
            share[inner], part[inner] = painter.nearby.truth()
        if parameters.block:
            canvas.paint(None, canvas.coverage(-cut), parameters.tissue.surroundings)
        return canvas.hounsfield, share, part

    def _cut(self, points: Tensor) -> Tensor:
        """(n,) mm, positive where an isolated specimen has been cut away."""
        planes = [points @ points.new_tensor(normal) - offset for normal, offset in self.parameters.block]
        return torch.stack(planes).amax(0) if planes else torch.full_like(points[:, 0], -torch.inf)


def sample_temporal_bone(
    rng: np.random.Generator,
    variant: str | None = None,
    state: State | None = None,
    surroundings: SurroundingsParameters | None = None,
) -> TemporalBone:
    """Draws a temporal bone.

    Args:
        rng: source of randomness; same seed, same temporal bone.
        variant: one of temporal_bone_parameters.VARIANTS; drawn by VARIANT_SHARES if None.
        state: one of tissue.STATES; drawn by STATE_SHARES if None.
        surroundings: the head, if there is one already.

    Raises:
        ValueError: if there is no such variant or state.
    """
    variant = _drawn(rng, VARIANT_SHARES) if variant is None else variant
    state = _drawn(rng, STATE_SHARES) if state is None else state
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(VARIANTS)}")
    if state not in STATES:
        raise ValueError(f"state {state!r} is unknown; choose one of {', '.join(STATES)}")
    of_labyrinth = variant if variant in LABYRINTH_VARIANTS else "normal"
    labyrinth = Labyrinth(sample_labyrinth_parameters(rng, of_labyrinth))
    return TemporalBone(labyrinth, sample_temporal_bone_parameters(rng, variant, state, labyrinth.frames, surroundings))


def _drawn(rng: np.random.Generator, shares: dict[str, float]) -> str:
    names = list(shares)
    weights = np.array(list(shares.values()))
    return names[rng.choice(len(names), p=weights / weights.sum())]
