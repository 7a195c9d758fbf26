"""Is the labyrinth whole? It is one piece, and each of its canals closes a loop with the vestibule."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import ndimage

from InnerEarAILib.volume import Volume

CANALS = 3

BRIDGED_MM = 0.35
"""Pits and slits up to twice this wide are closed before loops are counted, of which a rough surface is full; ours.
Closed so, 15 real label maps and meshes have 3 loops each, and 31 drawn labyrinths 3 or more: canals may touch."""

LARGE_PART_SHARE = 0.15
"""A cochlea is a third of a labyrinth; what thin canals are torn into is smaller; ours."""


def closed_canals(segmentation: Volume) -> int:
    """How many semicircular canals are drawn without a gap, 0 to 3.

    The loops of the shape are counted, with its pits and slits closed and with hair cracks of two voxels closed alone,
    and the fewer count: closing wider brings parts together that lie side by side, and a loop so made would stand in
    for a torn canal. A labyrinth has at least the three of its canals; one that is torn or missing takes one away.
    Where canals touch as they are drawn, the loop between them may still hide a torn one.

    Args:
        segmentation: 1 labyrinth, 0 not; voxels of at most BRIDGED_MM.
    """
    mask = segmentation.voxels > 0
    if not mask.any():
        return 0
    reach = [max(1, round(BRIDGED_MM / edge)) for edge in segmentation.spacing_mm[::-1]]
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    room = [(2 * r, 2 * r) for r in reach]
    padded = np.pad(mask[box], room).astype(np.uint8)
    return min(CANALS, *(loops(_closed(padded, size)) for size in (3, [2 * r + 1 for r in reach])))


def large_parts(segmentation: Volume) -> int:
    """In how many large pieces the labyrinth is drawn: 1 for a whole one, 0 where nothing is drawn.

    Args:
        segmentation: 1 labyrinth, 0 not; pieces of LARGE_PART_SHARE of the whole and more count.
    """
    mask = segmentation.voxels > 0
    regions, count = ndimage.label(mask)
    if count <= 1:
        return count
    sizes = np.bincount(regions[mask])[1:]
    return int((sizes >= LARGE_PART_SHARE * sizes.sum()).sum())


def loops(mask: np.ndarray) -> int:
    """Number of independent loops (first Betti number) of voxels that touch by faces, edges or corners.

    It follows from the Euler characteristic of the union of the closed voxels: parts − loops + cavities.

    Args:
        mask: (k, j, i) bool.
    """
    mask = np.pad(mask, 1)
    parts = ndimage.label(mask, np.ones((3, 3, 3)))[1]
    cavities = ndimage.label(~mask)[1] - 1
    return parts + cavities - _euler_characteristic(mask)


def _closed(mask: np.ndarray, size: int | list[int]) -> np.ndarray:
    """The mask (0 or 1) with gaps filled that are narrower than the size, in voxels; bool."""
    return ndimage.minimum_filter(ndimage.maximum_filter(mask, size), size) > 0


def _euler_characteristic(mask: np.ndarray) -> int:
    """Corners − edges + faces − voxels of the union of closed cubes."""
    total = 0
    for across in range(4):
        sign = -1 if across % 2 == 0 else 1
        total += sign * sum(_cells(mask, axes) for axes in combinations(range(3), across))
    return total


def _cells(mask: np.ndarray, across: tuple[int, ...]) -> int:
    """Cells of the union that lie across these axes: none of them for voxels, one for faces, all three for corners."""
    cells = mask
    for axis in across:
        width = [(1, 1) if other == axis else (0, 0) for other in range(3)]
        padded = np.moveaxis(np.pad(cells, width), axis, 0)
        cells = np.moveaxis(padded[1:] | padded[:-1], 0, axis)
    return int(np.count_nonzero(cells))
