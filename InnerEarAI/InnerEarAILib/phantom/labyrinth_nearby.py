"""The labyrinth among the points of a canvas: which of them lie near it, how far off they are, and the truth there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.phantom.anatomy import CANALS, COCHLEA, VESTIBULE
from InnerEarAILib.phantom.canvas import Canvas
from InnerEarAILib.phantom.labyrinth import Labyrinth
from InnerEarAILib.phantom.labyrinth_shapes import FAR_MM
from InnerEarAILib.phantom.labyrinth_solids import LabyrinthDistances

LABYRINTH_REACH_MM = 16.0
"""Half edge of the box round the vestibule outside which no labyrinth is looked for."""

NEAR_MM = 4.5
"""Distance from the labyrinth beyond which nothing depends on it; what is noted for all points farther away. Less than
labyrinth_solids.REACH_MM, so that no rough bound shows."""

INNER_FIELDS = ("cochlea", "vestibule", "canals", "bone_within")
"""Distances that matter within the labyrinth's wall alone."""


class NearbyLabyrinth:
    """A labyrinth as the points of a canvas see it.

    Args:
        canvas: holds the points.
        labyrinth: in the same frame.

    Attributes:
        near: (m,) indices of the points within about NEAR_MM.
        distances: there, each (m,), exact wherever a wall may cut the voxel and inside; None where no point is near.
        from_lumen: (n,) mm from the lumen for all points, at most NEAR_MM.
    """

    def __init__(self, canvas: Canvas, labyrinth: Labyrinth) -> None:
        self._canvas = canvas
        self.near, self.distances = self._find(labyrinth)
        self.from_lumen = torch.full_like(canvas.hounsfield, NEAR_MM)
        if self.distances is not None:
            self.from_lumen[self.near] = self.distances.union.clamp_max(NEAR_MM)

    def truth(self) -> tuple[Tensor, Tensor]:
        """Share of each voxel that is lumen (n,), and part (n,) uint8."""
        share = torch.zeros_like(self.from_lumen)
        part = torch.zeros(len(share), dtype=torch.uint8, device=share.device)
        if self.distances is not None:
            fields = self.distances
            share[self.near] = self._canvas.coverage(fields.union)
            nearest = torch.stack([fields.cochlea, fields.vestibule, fields.canals]).argmin(0)
            names = torch.tensor([COCHLEA, VESTIBULE, CANALS], dtype=torch.uint8, device=share.device)[nearest]
            part[self.near] = torch.where(fields.union < 0, names, torch.zeros_like(names))
        return share, part

    def _find(self, labyrinth: Labyrinth) -> tuple[Tensor, LabyrinthDistances | None]:
        canvas = self._canvas
        reach = np.full(3, LABYRINTH_REACH_MM)
        if (canvas.low > reach).any() or (canvas.high < -reach).any():
            return canvas.nothing, None
        if canvas.coarse is None:
            near = canvas.within((-reach, reach))
            return near, labyrinth.distances(canvas.points[near]) if len(near) else None
        at_nodes = _outer(labyrinth.distances(canvas.coarse.nodes))
        if float(at_nodes.amin()) > NEAR_MM + canvas.coarse.slack_mm:
            return canvas.nothing, None
        read = canvas.coarse.read(at_nodes)
        near = (read.amin(0) < NEAR_MM).nonzero()[:, 0]
        read = read[:, near]
        close = (read.amin(0) < 0.5 * canvas.edge_mm + canvas.coarse.slack_mm).nonzero()[:, 0]
        exact = labyrinth.distances(canvas.points[near[close]])
        read[:, close] = _outer(exact)
        far = torch.full_like(read[0], FAR_MM)
        inner = {name: far.index_copy(0, close, getattr(exact, name)) for name in INNER_FIELDS}
        return near, LabyrinthDistances(union=read[0], aqueducts=read[1], modiolus=read[2], **inner)


def _outer(distances: LabyrinthDistances) -> Tensor:
    """The distances that matter beyond the labyrinth's wall, (3, n)."""
    return torch.stack([distances.union, distances.aqueducts, distances.modiolus])
