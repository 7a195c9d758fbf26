"""Where are the ears? A small network on the whole scan at a coarse spacing.

The scan is looked at in overlapping blocks of the locator's tile size, each normalised by itself as in training, so
that the air round a head or the size of the field does not matter. What it marks is gathered into a few places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from InnerEarAILib.inference.device import choose_precision
from InnerEarAILib.inference.execution import cudnn_settings, outputs
from InnerEarAILib.inference.execution_plan import (
    ExecutionPlan,
    NotFiniteError,
    first_that_fits,
    memory_ladder,
    usual_batch_size,
)
from InnerEarAILib.inference.prepared_network import prepared_network
from InnerEarAILib.inference.tiling import locator_blocks
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.preprocessing import CLIP_QUANTILES, lattice_grid, normalise, resample
from InnerEarAILib.progress import Progress
from InnerEarAILib.volume import Grid, InputError, Volume

LEAST_PROBABILITY = 0.5
"""A voxel at or above it is taken for labyrinth."""

LEAST_VOLUME_MM3 = 100.0
"""Smaller marks are no labyrinth: the smallest of 71 real ones has 140 mm³, and the locator marks it with a rim."""

MOST_CANDIDATES = 4
"""Marks that are looked at more closely: beside two ears the locator may have marked something else; ours."""

SAME_EAR_MM = 15.0
"""Marks whose centres are closer belong to one labyrinth (its extent is about 15 mm along each patient axis)."""


DARK_SHARE = 0.25
"""Voxels below this share of the way from the scan's 1st to its 99th percentile are dark: in a head, air."""

LEAST_BRIGHT_MM3 = 1000.0
"""A block with less that is not dark is not searched: the bone round a labyrinth has several times as much; ours."""

Block = tuple[slice, slice, slice]


@dataclass(frozen=True)
class EarCandidate:
    """A place that looks like a labyrinth.

    Attributes:
        centre_lps: its centre of mass, (3,) mm.
        volume_mm3: volume of what was marked.
        probability: mean probability over the marked voxels.
    """

    centre_lps: np.ndarray
    volume_mm3: float
    probability: float


def locate_ears(
    volume: Volume, network: torch.nn.Module, card: ModelCard, device: torch.device, progress: Progress
) -> tuple[EarCandidate, ...]:
    """Where the labyrinths of a scan may be, the surest first.

    Args:
        volume: any CT; its own grid may be oblique, anisotropic or left-handed.
        network: the locator's network.
        card: its card (spacing, tile).
        device: where to compute.
        progress: told of every block.

    Returns:
        At most MOST_CANDIDATES; empty where nothing looks like a labyrinth.
    """
    corners = volume.grid.corners_lps()
    grid = lattice_grid(corners.min(0), corners.max(0), card.spacing_mm, card.tile_voxels)
    coarse = resample(volume, grid, cubic=False)
    blocks = _bright_blocks(coarse, locator_blocks(grid.shape, card.tile_voxels, card.spacing_mm), card.spacing_mm)
    if not blocks:
        return ()
    batch_size = min(usual_batch_size(device, card.tile_voxels), len(blocks))
    precision = choose_precision("auto", device, card.agreeing_precisions)
    probability = first_that_fits(
        lambda plan: _searched(coarse, blocks, prepared_network(network, plan, heatmaps=False), plan, progress),
        memory_ladder(device, precision, batch_size),
        progress,
    ).result
    # The padding that normalise() puts outside the scan cannot hold an ear.
    probability[~np.isfinite(coarse)] = 0
    return gather_candidates(probability, grid, most=MOST_CANDIDATES)


def gather_candidates(
    probability: np.ndarray, grid: Grid, least_volume_mm3: float = LEAST_VOLUME_MM3, most: int = 2
) -> tuple[EarCandidate, ...]:
    """The labyrinths in a probability map, the surest first.

    Args:
        probability: (k, j, i), 0 to 1.
        grid: its grid.
        least_volume_mm3: smaller marks are dropped.
        most: how many are returned at most.
    """
    components, count = ndimage.label(probability >= LEAST_PROBABILITY, np.ones((3, 3, 3)))
    if count == 0:
        return ()
    # Of the marked voxels alone: a map of a whole scan may be as large as the memory.
    places = np.nonzero(components)
    mark_of, weights = components[places] - 1, probability[places].astype(np.float64)
    del components
    masses, voxels = np.bincount(mark_of, weights), np.bincount(mark_of)
    centres_lps = grid.to_lps(np.stack([np.bincount(mark_of, weights * axis) / masses for axis in places[::-1]], 1))
    clusters: list[dict[str, np.ndarray | float]] = []
    for mark in np.argsort(-masses):
        centre, mass = centres_lps[mark], masses[mark]
        home = next((c for c in clusters if np.linalg.norm(c["centre"] - centre) < SAME_EAR_MM), None)
        if home is None:
            clusters.append({"centre": centre, "mass": mass, "voxels": voxels[mark]})
            continue
        share = mass / (home["mass"] + mass)
        home["centre"] = (1 - share) * home["centre"] + share * centre
        home["mass"] += mass
        home["voxels"] += voxels[mark]
    voxel_mm3 = float(np.prod(grid.spacing_mm))
    candidates = [
        EarCandidate(c["centre"], float(c["voxels"] * voxel_mm3), float(c["mass"] / c["voxels"])) for c in clusters
    ]
    real = [c for c in candidates if c.volume_mm3 >= least_volume_mm3]
    return tuple(sorted(real, key=lambda c: -c.probability * c.volume_mm3)[:most])


def _bright_blocks(coarse: np.ndarray, blocks: Sequence[Block], spacing_mm: float) -> list[Block]:
    """The blocks that are not all air: an ear lies in bone and soft tissue."""
    known = coarse[np.isfinite(coarse)]
    if known.size == 0:
        return []
    low, high = np.quantile(known, CLIP_QUANTILES)
    bright = coarse >= low + DARK_SHARE * (high - low)  # never where the scan has no value, NaN
    least_voxels = LEAST_BRIGHT_MM3 / spacing_mm**3
    return [block for block in blocks if np.count_nonzero(bright[block]) >= least_voxels]


def _searched(
    coarse: np.ndarray, blocks: Sequence[Block], network: torch.nn.Module, plan: ExecutionPlan, progress: Progress
) -> np.ndarray:
    """The highest probability that any block gives to each voxel."""
    probability = np.zeros(coarse.shape, np.float32)
    dtype = getattr(torch, plan.precision)

    def batches() -> Iterator[tuple[list[Block], torch.Tensor]]:
        for first in range(0, len(blocks), plan.batch_size):
            progress.step("Finding the ears", first / len(blocks))
            batch, tiles = [], []
            for block in blocks[first : first + plan.batch_size]:
                try:
                    tiles.append(torch.from_numpy(normalise(coarse[block])).to(dtype))
                except InputError:
                    continue  # the same value everywhere
                batch.append(block)
            if batch:
                yield batch, torch.stack(tiles)[:, None]

    with torch.no_grad(), cudnn_settings(plan, len(blocks) // plan.batch_size):
        for batch, maps, _ in outputs(network, batches(), plan):
            seen = maps[:, 0].cpu().numpy()
            if not np.isfinite(seen).all():
                raise NotFiniteError
            for block, of_block in zip(batch, seen, strict=True):
                np.maximum(probability[block], of_block, out=probability[block])
    return probability
