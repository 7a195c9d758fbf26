"""From a network's prediction to a labyrinth and its landmarks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.inference.quality import UNCERTAIN_LANDMARK
from InnerEarAILib.landmarks import LANDMARK_NAMES, HeatmapPeak, decode_heatmap
from InnerEarAILib.preprocessing import lattice_grid, resample
from InnerEarAILib.splines import beyond_ends, splines_along_axes
from InnerEarAILib.volume import Grid, Volume, marked_indices

THRESHOLD = 0.5
"""Probability from which a voxel is labyrinth; ours (the paper states a sigmoid, and no threshold)."""

FINE_SPACING_MM = 0.12
"""Masks are written on a grid at least this fine, so that the surface of a coarse model's labyrinth is smooth."""

NEAR_LABYRINTH = 0.25
"""Probability from which a voxel and those round it are interpolated: a spline reaches THRESHOLD nowhere else; ours."""

MARGIN_VOXELS = 6
"""Room left round those voxels when they are cut out: more than the cubic kernel's reach."""

REGION_SHARE = 0.05
"""Share of the largest region's volume from which a region close to it is kept."""

JOINED_MM = 1.0
"""Regions this close to the largest one may belong to it: partial volume tears thin canals apart."""

APART_MM = 6.0
"""Regions up to this far from the largest one belong to it if a landmark tells so: where the lumen is ossified, cochlea
and vestibule are drawn apart (1.2 and 1.6 mm in two drawn ears); ours."""

BEARING_MM = 1.0
"""A region bears the landmarks that lie this close to it: the windows lie on the surface of the labyrinth; ours."""

LEAST_PEAK = 0.05
"""Share of the trained heatmap amplitude below which a landmark counts as not found; ours."""

TRUSTED_SCATTER_MM = 1.0
"""Scatter over the views at which the confidence has fallen to half; ours."""

UPRIGHT_SHARE = 0.75
"""How much of a landmark's place is that of the view that is not turned; the rest is that of the mean heatmap.

Patients lie as the ears in training do more often than any other way, so that this view knows best: on 31 drawn ears of
development the helicotrema is 0.41 mm off by the mean, 0.28 by this view and 0.30 by both so, the oval window 0.20,
0.21 and 0.20, the round window 0.12, 0.12 and 0.11. Ears that lie in another way keep something of the mean; ours.
"""

UPRIGHT_WITHIN_MM = 1.5
"""So long as both lie this close together; further apart that view may have lost the landmark; ours."""


def fine_probability(probability: Volume) -> Volume:
    """A network's probability of labyrinth near what may be labyrinth, at most FINE_SPACING_MM apart; float32.

    Args:
        probability: (k, j, i), 0 to 1, isotropic, at least 2 voxels along each of the patient's axes, to which it is
            parallel; 0 where the scan has no values.

    Returns:
        On the patient-aligned lattice of a whole fraction of its spacing; the probability as it is where no voxel of it
        reaches NEAR_LABYRINTH.
    """
    marked = marked_indices(probability.voxels >= NEAR_LABYRINTH)
    if len(marked) == 0:
        return probability
    near = probability.crop(marked.min(0) - MARGIN_VOXELS, marked.max(0) + 1 + MARGIN_VOXELS)
    spacing_mm = float(probability.spacing_mm.min())
    return on_fine_lattice(near, spacing_mm / math.ceil(spacing_mm / FINE_SPACING_MM))


def on_fine_lattice(probability: Volume, spacing_mm: float) -> Volume:
    """A probability map on the part of the patient-aligned lattice of a finer spacing that it covers; float32.

    All ears of a scan, and of its copies on other grids, so lie on one lattice. Beyond its voxels' centres it is 0.

    Args:
        probability: (k, j, i), 0 to 1, at least 2 voxels along each of the patient's axes, to which it is parallel.
        spacing_mm: isotropic, at most that of the map.
    """
    coarse = probability.grid
    corners = coarse.corners_lps()
    fine = lattice_grid(corners.min(0), corners.max(0), spacing_mm)
    # Axes x, y, z are i, j, k.
    first = (fine.origin_lps - coarse.origin_lps) / coarse.spacing_mm
    steps = spacing_mm / coarse.spacing_mm
    places = [first[axis] + steps[axis] * np.arange(fine.shape[2 - axis]) for axis in (2, 1, 0)]
    values = splines_along_axes(probability.voxels, places)
    values[beyond_ends(coarse.shape, places, 0)] = 0
    return Volume(values, fine.affine_lps, probability.name)


def labyrinth_mask(probability: Volume, largest_region: bool, landmarks: Sequence[LandmarkResult] = ()) -> Volume:
    """The labyrinth, uint8 0 or 1, on the probability's grid.

    Args:
        probability: 0 to 1.
        largest_region: keep the largest region and the sizeable ones (REGION_SHARE) that lie close to it (JOINED_MM) or
            bear a landmark (APART_MM, BEARING_MM) alone; the paper's figures are without it.
        landmarks: of this ear; uncertain ones tell nothing.
    """
    mask = probability.voxels >= THRESHOLD
    if largest_region and mask.any():
        sure_lps = [m.position_lps for m in landmarks if m.confidence >= UNCERTAIN_LANDMARK]
        mask = _belonging(mask, probability.grid, sure_lps)
    return probability.with_voxels(mask.astype(np.uint8))


def on_voxels_of(grid: Grid, mask: Volume) -> Volume:
    """A mask on the part of another grid that it covers, in any orientation: voxels of it at least half inside, uint8.

    Each of those voxels is asked at places as close together as the mask's own voxels.
    """
    corners_kji = grid.to_indices(mask.grid.corners_lps())[:, ::-1]
    start = np.maximum(np.floor(corners_kji.min(0)).astype(int), 0)
    stop = np.minimum(np.ceil(corners_kji.max(0)).astype(int) + 1, grid.shape)
    affine = grid.affine_lps.copy()
    affine[:3, 3] = grid.to_lps(start[::-1])
    part = Grid(tuple(int(n) for n in stop - start), affine)
    factors_ijk = np.ceil(part.spacing_mm / mask.spacing_mm.min() - 1e-6).astype(int)
    dense = part.refined(factors_ijk)
    share = np.nan_to_num(resample(mask.with_voxels(mask.voxels.astype(np.float32)), dense, cubic=False))
    blocks = np.stack([part.shape, factors_ijk[::-1]], 1).ravel()
    inside = share.reshape(blocks).mean((1, 3, 5)) >= 0.5
    return Volume(inside.astype(np.uint8), part.affine_lps, mask.name)


def _belonging(mask: np.ndarray, grid: Grid, landmarks_lps: Sequence[np.ndarray]) -> np.ndarray:
    """The largest region and those that belong to it."""
    regions, count = ndimage.label(mask)
    if count == 1:
        return mask
    spacing_mm = float(grid.spacing_mm.min())
    sizes = np.bincount(regions[mask])
    largest = int(np.argmax(sizes))
    others = [int(n) for n in np.flatnonzero(sizes >= REGION_SHARE * sizes.max()) if n != largest]
    kept = [largest]
    if others:
        gaps_mm = _gaps(regions, largest, others) * spacing_mm
        for region, gap_mm in zip(others, gaps_mm, strict=True):
            if gap_mm <= JOINED_MM or (gap_mm <= APART_MM and _bears(regions == region, grid, landmarks_lps)):
                kept.append(region)
    return np.isin(regions, kept)


def _gaps(regions: np.ndarray, largest: int, others: Sequence[int]) -> np.ndarray:
    """How many voxels lie between the largest region and each of the others, at their nearest."""
    (box,) = ndimage.find_objects(np.isin(regions, [largest, *others]).astype(np.uint8))
    near = regions[box]
    return np.asarray(ndimage.minimum(ndimage.distance_transform_edt(near != largest), near, others))


def _bears(region: np.ndarray, grid: Grid, landmarks_lps: Sequence[np.ndarray]) -> bool:
    """Whether one of the landmarks lies within BEARING_MM of the region."""
    places_lps = grid.to_lps(marked_indices(region)[:, ::-1])
    return any((np.linalg.norm(places_lps - place, axis=1) <= BEARING_MM).any() for place in landmarks_lps)


def landmark_results(
    heatmaps: np.ndarray | None,
    peaks: Sequence[Sequence[HeatmapPeak]],
    grid: Grid,
    amplitude: float,
    upright: bool = False,
) -> tuple[LandmarkResult, ...]:
    """The three landmarks: position by the fitted peak, confidence from height and scatter.

    Args:
        heatmaps: (3, k, j, i), mean over the views; None of a network that draws none.
        peaks: per view, of which the first is not turned, per landmark: the view's own peak; a single view tells no
            scatter.
        grid: the heatmaps' grid, along the patient's axes.
        amplitude: of the heatmaps that the network was trained with.
        upright: whether the view that is not turned has a say of its own (UPRIGHT_SHARE); if not, the place is the peak
            of the mean heatmap, as in Stebani et al. 2023. Either way confidence and scatter are those of that peak.

    Returns:
        In the order of LANDMARK_NAMES; without a position where the peak is below LEAST_PEAK of the amplitude, or where
        there are no heatmaps.
    """
    if heatmaps is None:
        return tuple(LandmarkResult(name, None, 0.0) for name in LANDMARK_NAMES)
    results = []
    for channel, name in enumerate(LANDMARK_NAMES):
        peak = decode_heatmap(heatmaps[channel])
        height = peak.height / amplitude
        position_lps = grid.to_lps(peak.index_kji[::-1])
        views_lps = [grid.to_lps(np.asarray(view[channel].index_kji)[::-1]) for view in peaks]
        scatter_mm = _scatter_mm(position_lps, views_lps)
        if height < LEAST_PEAK:
            results.append(LandmarkResult(name, None, 0.0, scatter_mm))
            continue
        if upright and views_lps and np.linalg.norm(views_lps[0] - position_lps) <= UPRIGHT_WITHIN_MM:
            position_lps = UPRIGHT_SHARE * views_lps[0] + (1 - UPRIGHT_SHARE) * position_lps
        trust = 1.0 if scatter_mm is None else 1 / (1 + (scatter_mm / TRUSTED_SCATTER_MM) ** 2)
        results.append(LandmarkResult(name, position_lps, min(1.0, height) * trust, scatter_mm))
    return tuple(results)


def _scatter_mm(position_lps: np.ndarray, views_lps: Sequence[np.ndarray]) -> float | None:
    """Median distance, so that a single view that was lost does not drown the others."""
    if len(views_lps) < 2:
        return None
    return float(np.median(np.linalg.norm(np.array(views_lps) - position_lps, axis=1)))
