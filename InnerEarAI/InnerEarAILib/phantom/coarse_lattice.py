"""A coarse lattice round a tile of points: tells cheaply where a distance must be asked for point by point.

Most points of a fine grid are far from every wall, where a distance read between the nodes of a coarse lattice serves.
The nodes lie at multiples of the step, so that what is read does not depend on how points were gathered into tiles.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

STEP_EDGES, LONGEST_STEP_MM = 2.5, 0.5
"""Distance of the nodes: in edges of a voxel, and at most in mm; a capsule round a canal reads true to 0.03 mm."""

SLACK_STEPS = 1.3
"""By how many steps a distance read between nodes may be wrong: 0.87 (half the diagonal of a cell) for an exact
distance, more for those that are exact at their surface only."""

LEAST_POINTS_PER_NODE = 4


class CoarseLattice:
    """Nodes that span the box of some points, and linear interpolation from them to the points.

    Args:
        points: (n, 3) mm.
        low, high: corners of their box, (3,) mm.
        step_mm: distance of the nodes.

    Attributes:
        nodes: (m, 3) mm, on the points' device.
        slack_mm: how far off a distance read between the nodes may be.
    """

    def __init__(self, points: Tensor, low: np.ndarray, high: np.ndarray, step_mm: float) -> None:
        first, counts = _extent(low, high, step_mm)
        axes = [
            torch.arange(n, device=points.device, dtype=points.dtype) * step_mm + float(start * step_mm)
            for n, start in zip(counts.tolist(), first.tolist(), strict=True)
        ]
        z, y, x = torch.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
        self.nodes = torch.stack([x, y, z], -1).reshape(-1, 3)
        self.slack_mm = SLACK_STEPS * step_mm
        self._shape = tuple(counts[::-1].tolist())
        to_unit = 2 / ((counts - 1) * step_mm)
        scale = torch.as_tensor(to_unit, dtype=points.dtype, device=points.device)
        shift = torch.as_tensor(first * step_mm * to_unit + 1, dtype=points.dtype, device=points.device)
        self._places = (points * scale - shift).view(1, 1, 1, -1, 3)

    def read(self, values: Tensor) -> Tensor:
        """Values at the points, (c, n), from values at the nodes, (c, m)."""
        lattice = values.view(1, len(values), *self._shape)
        return grid_sample(lattice, self._places, align_corners=True).view(len(values), -1)


def lattice_over(points: Tensor, low: np.ndarray, high: np.ndarray, edge_mm: float) -> CoarseLattice | None:
    """The lattice that suits voxels of an edge; None where the points are too few for it to save anything."""
    step_mm = min(STEP_EDGES * edge_mm, LONGEST_STEP_MM)
    _, counts = _extent(low, high, step_mm)
    if float(counts.prod()) * LEAST_POINTS_PER_NODE > len(points):
        return None
    return CoarseLattice(points, low, high, step_mm)


def _extent(low: np.ndarray, high: np.ndarray, step_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Number of the first node and count of nodes along x, y, z."""
    first = np.floor(low / step_mm).astype(int)
    return first, np.maximum(np.ceil(high / step_mm).astype(int) - first, 1) + 1
