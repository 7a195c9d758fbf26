"""Points in space gathered into compact tiles, so that a body far from a tile is left out for all of its points."""

from __future__ import annotations

import torch
from torch import Tensor


def tiles(points: Tensor, points_per_tile: int) -> list[Tensor]:
    """Splits points into boxes of about equal edges.

    Args:
        points: (n, 3) mm, float32, anywhere.
        points_per_tile: about how many points a box holds where they are spread evenly; no tile holds more than twice
            as many.

    Returns:
        Indices into the points, one tensor a tile, ascending within each; together every index once.
    """
    if len(points) <= points_per_tile:
        return [torch.arange(len(points), device=points.device)]
    low, high = points.amin(0), points.amax(0)
    extent = (high - low).clamp_min(1e-3)
    edge = extent.max()
    while (counts := (extent / edge).ceil().clamp_min(1)).prod() < len(points) / points_per_tile:
        edge = 0.9 * edge
    cell = ((points - low) / extent * counts).to(torch.int64).minimum((counts - 1).to(torch.int64))
    key = (cell[:, 2] * int(counts[1]) + cell[:, 1]) * int(counts[0]) + cell[:, 0]
    order = torch.argsort(key, stable=True)
    sizes = torch.bincount(key).tolist()
    return [piece for tile in order.split([s for s in sizes if s]) for piece in tile.split(2 * points_per_tile)]
