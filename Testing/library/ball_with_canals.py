"""A shape with the topology of a labyrinth: a ball, and three rings that stand out of it."""

import numpy as np

from InnerEarAILib.volume import Volume

RING_RADIUS_MM = 3.0
TUBE_RADIUS_MM = 0.6


def ball_with_canals(radius_mm=3.5, canals=3, torn=0, gap_mm=1.6, spacing_mm=0.175):
    """Rings in three planes, each centred on the ball's surface; the first `torn` of them have a gap at the far end."""
    reach = radius_mm + RING_RADIUS_MM + TUBE_RADIUS_MM + 1
    n = int(np.ceil(2 * reach / spacing_mm))
    line = (np.arange(n) - (n - 1) / 2) * spacing_mm
    k, j, i = np.meshgrid(line, line, line, indexing="ij")
    inside = i**2 + j**2 + k**2 < radius_mm**2
    for number, (out, up, across) in enumerate(((i, j, k), (j, k, i), (k, i, j))[:canals]):
        along = np.hypot(out - radius_mm, up)
        ring = np.hypot(along - RING_RADIUS_MM, across) < TUBE_RADIUS_MM
        if number < torn:
            ring &= ~((out > radius_mm) & (np.abs(up) < gap_mm / 2))
        inside |= ring
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = line[0]
    return Volume(inside.astype(np.uint8), affine)


def split(shape, gap_mm=1.5):
    """The shape without a slice through the middle of its ball, as where a lumen is filled there."""
    voxels = shape.voxels.copy()
    middle, half = voxels.shape[0] // 2, max(1, round(gap_mm / shape.spacing_mm[2] / 2))
    voxels[middle - half : middle + half] = 0
    return shape.with_voxels(voxels)
