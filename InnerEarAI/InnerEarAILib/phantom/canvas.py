"""The canvas that an anatomy is painted on: CT numbers at points, laid on from background to foreground."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.phantom.coarse_lattice import CoarseLattice, lattice_over
from InnerEarAILib.phantom.neighbours_shapes import Disc

Value = float | Tensor
"""A CT number in HU: one for all points, or one for each (n,)."""


COMPACT_MM = 12.0
"""Half diagonal up to which a canvas is small enough that a body far from its middle is far from all of it."""


class Body(Protocol):
    """Anything with a box and a signed distance."""

    def box(self, margin_mm: float) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the box that holds the body and a margin."""

    def distance(self, points: Tensor) -> Tensor:
        """(n,) signed distance, mm, of points (n, 3)."""


class Canvas:
    """CT numbers at points, painted layer by layer.

    A layer covers the share of each voxel that its body takes: coverage = ½ − distance / edge, cut to 0–1, which is
    exact for a plane along the voxel's faces.

    Attributes:
        points: (n, 3) float32 mm.
        edge_mm: edge of the voxel round each point.
        hounsfield: (n,) float32, what has been painted so far.
        low, high: corners of the points' box, (3,) mm.
        everything, nothing: indices of all points and of none.
    """

    def __init__(self, points: Tensor, edge_mm: float, background: Value) -> None:
        self.points = points
        self.edge_mm = edge_mm
        self.hounsfield = torch.empty(len(points), dtype=points.dtype, device=points.device)
        self.hounsfield[:] = background
        self.low, self.high = (corner.double().cpu().numpy() for corner in points.aminmax(dim=0))
        self.everything = torch.arange(len(points), device=points.device)
        self.nothing = self.everything[:0]

    def within(self, box: tuple[np.ndarray, np.ndarray]) -> Tensor:
        """Indices of the points inside a box (low corner, high corner)."""
        low, high = (torch.as_tensor(corner, dtype=self.points.dtype, device=self.points.device) for corner in box)
        inside = None
        for axis in range(3):
            along = self.points[:, axis]
            here = (along >= low[axis]) & (along <= high[axis])
            inside = here if inside is None else inside & here
        return inside.nonzero()[:, 0]

    @cached_property
    def coarse(self) -> CoarseLattice | None:
        """Nodes between which distances are read where they decide nothing; None for few points."""
        return lattice_over(self.points, self.low, self.high, self.edge_mm)

    def reached(self, body: Body, margin_mm: float) -> tuple[Tensor, Tensor]:
        """The points that a body widened by a margin may reach.

        Returns:
            Their indices, none if it stays clear of all of them, and their signed distances to the body, mm.
        """
        low, high = body.box(margin_mm)
        if (low > self.high).any() or (high < self.low).any() or self._clear_of(body, margin_mm):
            return self.nothing, self.hounsfield[:0]
        if self.coarse is not None:
            at_nodes = body.distance(self.coarse.nodes)
            if float(at_nodes.amin()) > margin_mm + self.coarse.slack_mm:
                return self.nothing, self.hounsfield[:0]
            nearly = self.coarse.read(at_nodes[None])[0]
            index = (nearly < margin_mm + self.coarse.slack_mm).nonzero()[:, 0]
        elif (low <= self.low).all() and (high >= self.high).all():
            index = self.everything
        else:
            index = self.within((low, high))
        return index, body.distance(self.points[index])

    def _clear_of(self, body: Body, margin_mm: float) -> bool:
        half_diagonal = 0.5 * float(np.linalg.norm(self.high - self.low))
        if half_diagonal >= COMPACT_MM:
            return False
        middle = torch.as_tensor(0.5 * (self.low + self.high), dtype=self.points.dtype)[None]
        return float(body.distance(middle)) > 1.5 * (half_diagonal + margin_mm)

    def coverage(self, distance: Tensor) -> Tensor:
        """Share of each voxel inside a body, (n,), from its signed distance in mm."""
        return (0.5 - distance / self.edge_mm).clamp(0, 1)

    def plate_coverage(self, height: Tensor, half_thickness: float | Tensor) -> Tensor:
        """Share of each voxel inside a plate, even one thinner than a voxel, from the height above its middle."""
        return self.coverage(height - half_thickness) - self.coverage(height + half_thickness)

    def paint(self, index: Tensor | None, coverage: Tensor, value: Value) -> None:
        """Lays a value over the chosen points (all with None) as far as it covers them."""
        if index is None:
            self.hounsfield += coverage * (value - self.hounsfield)
        elif len(index):
            below = self.hounsfield[index]
            self.hounsfield[index] = below + coverage * (value - below)

    def paint_body(self, body: Body, value: Value, keep_out: Tensor | None = None) -> None:
        """Paints a body with one value.

        Args:
            body: what to paint.
            value: HU.
            keep_out: (n,) signed distance over all points of where it must not go (positive there).
        """
        index, distance = self.reached(body, self.edge_mm)
        if len(index):
            if keep_out is not None:
                distance = torch.maximum(distance, keep_out[index])
            self.paint(index, self.coverage(distance), value if isinstance(value, float) else value[index])

    def paint_strut(self, body: Body, radius_mm: float, value: float) -> None:
        """Paints a round strut that may be thinner than a voxel, such as a stapes crus of the given radius."""
        index, distance = self.reached(body, self.edge_mm)
        if len(index):
            from_axis = distance + radius_mm
            width = 0.5 * np.sqrt(np.pi) * radius_mm
            across = min(1.0, 2 * width / self.edge_mm)
            self.paint(index, across * self.plate_coverage(from_axis, width), value)

    def paint_disc(self, disc: Disc, value: float) -> None:
        """Paints a thin plate."""
        low, high = disc.box(self.edge_mm)
        if (low > self.high).any() or (high < self.low).any():
            return
        index = self.within((low, high))
        if len(index):
            height, rim = disc.heights(self.points[index])
            covered = self.plate_coverage(height, disc.half_thickness) * self.coverage(rim)
            self.paint(index, covered, value)
