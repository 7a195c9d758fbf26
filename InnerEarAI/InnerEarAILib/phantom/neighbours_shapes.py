"""Signed distances (mm, negative inside) of the simple bodies that the labyrinth's neighbours are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Tube:
    """A tube along a polyline, round, of changing radius: canals, vessels, nerves, ossicle processes.

    Attributes:
        nodes: (m, 3) mm, m ≥ 2.
        radii: (m,) mm.
    """

    nodes: np.ndarray
    radii: np.ndarray

    @staticmethod
    def of(nodes: list | np.ndarray, radii: float | list | np.ndarray) -> Tube:
        """A tube through nodes; one radius for all, or one for each."""
        nodes = np.asarray(nodes, float)
        return Tube(nodes, np.broadcast_to(np.asarray(radii, float), len(nodes)))

    def smoothed(self, rounds: int = 2) -> Tube:
        """The same course with its corners cut (Chaikin), ends kept."""
        path = np.column_stack([self.nodes, self.radii])
        for _ in range(rounds):
            cut = np.stack([0.75 * path[:-1] + 0.25 * path[1:], 0.25 * path[:-1] + 0.75 * path[1:]], 1)
            path = np.concatenate([path[:1], cut.reshape(-1, 4)[1:-1], path[-1:]])
        return Tube(path[:, :3], path[:, 3])

    def box(self, margin_mm: float) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the box that holds the tube and a margin."""
        reach = self.radii[:, None] + margin_mm
        return (self.nodes - reach).min(0), (self.nodes + reach).max(0)

    def distance(self, points: Tensor) -> Tensor:
        """(n,) signed distance of points (n, 3)."""
        nodes = torch.as_tensor(self.nodes, dtype=points.dtype, device=points.device)
        if len(points) == 1:
            return self._distance_of_one(points, nodes)
        radii = self.radii.tolist()
        nearest = None
        for index in range(len(nodes) - 1):
            start, along = nodes[index], nodes[index + 1] - nodes[index]
            relative = points - start
            share = ((relative @ along) / along.dot(along).clamp_min(1e-12)).clamp(0, 1)
            radius = radii[index] + share * (radii[index + 1] - radii[index])
            distance = torch.linalg.vector_norm(relative - share[:, None] * along, dim=1) - radius
            nearest = distance if nearest is None else torch.minimum(nearest, distance)
        return nearest

    def _distance_of_one(self, point: Tensor, nodes: Tensor) -> Tensor:
        """The same for a single point, all segments at once."""
        radii = point.new_tensor(self.radii)
        along, relative = nodes[1:] - nodes[:-1], point - nodes[:-1]
        share = ((relative * along).sum(1) / (along * along).sum(1).clamp_min(1e-12)).clamp(0, 1)
        radius = torch.lerp(radii[:-1], radii[1:], share)
        return (torch.linalg.vector_norm(relative - share[:, None] * along, dim=1) - radius).amin(0, keepdim=True)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid: cavities, ossicle bodies, the head.

    Attributes:
        centre: (3,) mm.
        radii: (3,) mm along the axes.
        axes: (3, 3), unit vectors as rows; None for the axes of the frame.
    """

    centre: np.ndarray
    radii: np.ndarray
    axes: np.ndarray | None = None

    def box(self, margin_mm: float) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the box that holds the ellipsoid and a margin."""
        axes = np.eye(3) if self.axes is None else self.axes
        reach = np.sqrt(((axes * np.asarray(self.radii)[:, None]) ** 2).sum(0)) + margin_mm
        return np.asarray(self.centre) - reach, np.asarray(self.centre) + reach

    def distance(self, points: Tensor) -> Tensor:
        """(n,) signed distance of points (n, 3), to first order in the distance from the surface."""
        relative = points - _like(self.centre, points)
        if self.axes is not None:
            relative = relative @ _like(self.axes, points).T
        radii = _like(self.radii, points)
        scaled = torch.linalg.vector_norm(relative / radii, dim=1)
        steepness = torch.linalg.vector_norm(relative / radii**2, dim=1)
        return scaled * (scaled - 1) / steepness.clamp_min(1e-6)


@dataclass(frozen=True)
class Disc:
    """A thin elliptic plate: the stapes footplate, the eardrum, the round window membrane.

    Attributes:
        centre: (3,) mm.
        axes: (3, 3), unit vectors as rows: long axis, short axis, normal.
        radii: half axes (2,) mm.
        half_thickness: mm.
        cone_depth: how far the centre is drawn in along the normal (eardrum), mm.
    """

    centre: np.ndarray
    axes: np.ndarray
    radii: np.ndarray
    half_thickness: float
    cone_depth: float = 0.0

    def box(self, margin_mm: float) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the box that holds the plate and a margin."""
        reach = max(self.radii) + margin_mm + abs(self.cone_depth)
        return np.asarray(self.centre) - reach, np.asarray(self.centre) + reach

    def heights(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Height above the plate's middle surface and signed distance from its rim (negative within), each (n,) mm."""
        local = (points - _like(self.centre, points)) @ _like(self.axes, points).T
        share = torch.linalg.vector_norm(local[:, :2] / _like(self.radii, points), dim=1)
        height = local[:, 2] - self.cone_depth * (1 - share).clamp_min(0)
        return height, (share - 1) * float(np.mean(self.radii))


def smooth_max(first: Tensor, second: Tensor, blend_mm: float) -> Tensor:
    """Intersection of two bodies with its edge rounded over `blend_mm`.

    Source:
        Inigo Quilez, "Smooth minimum" (polynomial form).
    """
    closeness = (blend_mm - (first - second).abs()).clamp_min(0)
    return torch.maximum(first, second) + closeness**2 / (4 * blend_mm)


def smooth_min(first: Tensor, second: Tensor, blend_mm: float) -> Tensor:
    """Union of two bodies with its crease filled over `blend_mm` (see smooth_max)."""
    return -smooth_max(-first, -second, blend_mm)


def frame_of(normal: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """Rows: unit vector closest to `hint` across the normal, the third axis, and the unit normal; (3, 3)."""
    normal = np.asarray(normal, float) / np.linalg.norm(normal)
    long_axis = hint - normal * np.dot(hint, normal)
    long_axis /= np.linalg.norm(long_axis)
    return np.stack([long_axis, np.cross(normal, long_axis), normal])


def _like(array: np.ndarray, points: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(array, float), dtype=points.dtype, device=points.device)
