"""A whole head with two ears, in the frame of the head: midsagittal plane x = 0, LPS-parallel axes, mm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.phantom.anatomy import PhantomEar, Rendering
from InnerEarAILib.phantom.temporal_bone import TemporalBone, sample_temporal_bone
from InnerEarAILib.phantom.tissue import State

MIRROR = np.array([-1.0, 1.0, 1.0])

ASYMMETRY_MM = 1.2
"""SD by which the two vestibules differ in height and depth."""


class Head:
    """A head with two ears; implements anatomy.Anatomy.

    Args:
        right: the right ear with its half of the head.
        left: the left ear, described as a right one; it is mirrored here. Both carry the same surroundings and tissue.

    Attributes:
        right, left: as given.
        ears: right before left, as many as there are.
    """

    def __init__(self, right: TemporalBone, left: TemporalBone) -> None:
        self.right, self.left = right, left
        self.ears = (*_placed(right, np.ones(3), "right"), *_placed(left, MIRROR, "left"))

    @torch.no_grad()
    def label(self, points: Tensor, edge_mm: float) -> tuple[Tensor, Tensor]:
        """Share of lumen and part at points (n, 3) mm; see anatomy.Labelling."""
        share = torch.empty(len(points), device=points.device)
        part = torch.empty(len(points), dtype=torch.uint8, device=points.device)
        for half, index, placed in self._halves(points.to(torch.float32)):
            share[index], part[index] = half.label(placed, edge_mm)
        return share, part

    @torch.no_grad()
    def render(self, points: Tensor, edge_mm: float) -> Rendering:
        """Samples the head at points (n, 3) mm; see anatomy.Anatomy.render."""
        points = points.to(torch.float32)
        hounsfield = torch.empty(len(points), device=points.device)
        labyrinth = torch.empty_like(hounsfield)
        part = torch.empty(len(points), dtype=torch.uint8, device=points.device)
        for half, index, placed in self._halves(points):
            seen = half.render(placed, edge_mm)
            hounsfield[index], labyrinth[index], part[index] = seen.hounsfield, seen.labyrinth, seen.part
        return Rendering(hounsfield, labyrinth, part)

    def _halves(self, points: Tensor) -> Iterator[tuple[TemporalBone, Tensor, Tensor]]:
        """Each ear with the indices of the points on its side, and those points in its own frame."""
        on_right = points[:, 0] <= 0
        for half, mask in ((self.right, on_right), (self.left, ~on_right)):
            index = mask.nonzero()[:, 0]
            if len(index):
                sign = points.new_tensor(np.ones(3) if half is self.right else MIRROR)
                yield half, index, points[index] * sign - points.new_tensor(half.parameters.place)


def sample_head(rng: np.random.Generator, variant: str | None = None, state: State = "fresh") -> Head:
    """Draws a head.

    Args:
        rng: source of randomness; same seed, same head.
        variant: of both ears, one of temporal_bone_parameters.VARIANTS; drawn for each if None.
        state: how it was kept, one of tissue.STATES.

    Raises:
        ValueError: if there is no such variant or state.
    """
    right = sample_temporal_bone(rng, variant, state)
    shared = right.parameters
    left = sample_temporal_bone(rng, variant, state, shared.surroundings)
    distance = left.parameters.place[0]
    beside = (distance, *(float(value + rng.normal(0, ASYMMETRY_MM)) for value in shared.place[1:]))
    return Head(
        TemporalBone(right.labyrinth, replace(shared, block=())),
        TemporalBone(left.labyrinth, replace(left.parameters, tissue=shared.tissue, place=beside, block=())),
    )


def _placed(bone: TemporalBone, sign: np.ndarray, side: str) -> tuple[PhantomEar, ...]:
    """The ear of a bone, if it has one, in the head."""
    place = np.array(bone.parameters.place)
    return tuple(
        replace(ear, side=side, landmarks={name: sign * (position + place) for name, position in ear.landmarks.items()})
        for ear in bone.ears
    )
