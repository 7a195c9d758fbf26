"""From a scan to what a network sees: resampling onto a grid, clipping and normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from InnerEarAILib.scan_checks import MeasuredScan
from InnerEarAILib.splines import beyond_ends, splines_along_axes
from InnerEarAILib.volume import Grid, InputError, Volume

CLIP_QUANTILES = (0.01, 0.99)
"""Stebani et al. 2023, "Data processing and augmentation"."""

PAPER_VOXEL_MM = 0.099
"""Edge of the voxels of Stebani et al. 2023 ("Datasets description"): their scans, their network, their distances."""

QUANTILE_SAMPLE_VOXELS = 4_000_000
"""Quantiles of larger images are taken from an even subset of about this size, which bounds time and memory."""

PARALLEL_VOXELS = 1e-4
"""Grids whose axes part by no more than this over their whole length count as parallel; ours."""

SMALLEST_DEVIATION = 1e-9
"""An image whose range or standard deviation is no larger share of its largest magnitude counts as constant; ours. Less
than the rounding of float32, so that the unit of the values does not matter."""


def lattice_grid(
    lower_lps: Sequence[float], upper_lps: Sequence[float], spacing_mm: float, least_shape: int = 1
) -> Grid:
    """The part of the patient-aligned lattice {spacing · (a, b, c)} that covers a box.

    Working on one fixed lattice makes what the network sees depend on where tissue is, not on how the scanner's array
    happens to be laid out.

    Args:
        lower_lps: lower corner of the box, mm.
        upper_lps: upper corner.
        spacing_mm: isotropic spacing.
        least_shape: a shorter axis is widened evenly to this many voxels.
    """
    first = np.floor(np.asarray(lower_lps, float) / spacing_mm).astype(int)
    last = np.ceil(np.asarray(upper_lps, float) / spacing_mm).astype(int)
    missing = np.maximum(least_shape - (last - first + 1), 0)
    first -= missing // 2
    count = np.maximum(last - first + 1, least_shape)
    return Grid.axis_aligned(count[::-1], spacing_mm, first * spacing_mm)


def resample(volume: Volume, grid: Grid, cubic: bool = True) -> np.ndarray:
    """A scan's values on another grid, (k, j, i) float32; NaN where the scan has none.

    Cubic B-splines, so that copies of a scan on other grids give the same values (linear interpolation blurs by where
    the voxels happen to fall). Where the new voxels are larger than the old ones, the scan is first smoothed along that
    axis to the new voxel's width (a Gaussian of the variance by which the box kernels differ), so that nothing aliases.

    Args:
        volume: the scan.
        grid: where its values are wanted.
        cubic: False interpolates linearly, which is several times as fast and good enough to find a place.

    Raises:
        InputError: if the scan and the grid do not overlap.
    """
    near = _crop_to(volume, grid)
    coarse_edge = grid.spacing_mm.min()
    image = near.to_sitk()
    if not cubic:
        image = _binned(image, coarse_edge)
    image = sitk.Cast(image, sitk.sitkFloat32)
    spacing_mm = np.array(image.GetSpacing())
    # Variance of a box of edge e is e²/12; the coarse voxel's minus the fine one's.
    variance = np.maximum(coarse_edge**2 - spacing_mm**2, 0) / 12
    for axis, sigma in enumerate(np.sqrt(variance)):
        # A kernel far below the voxel is no smoothing at all, only rounding.
        if sigma > 0.2 * spacing_mm[axis]:
            image = sitk.RecursiveGaussian(
                image, float(sigma), False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis
            )
    if cubic and (found := _places_along_axes(image, grid)) is not None:
        axes, places = found
        voxels = sitk.GetArrayViewFromImage(image).transpose(axes)
        values = splines_along_axes(voxels, places)
        values[beyond_ends(voxels.shape, places, 0.5)] = np.nan
        return values
    target = sitk.Resample(
        image,
        [int(n) for n in grid.shape[::-1]],
        sitk.Transform(),
        sitk.sitkBSpline if cubic else sitk.sitkLinear,
        grid.origin_lps.tolist(),
        grid.spacing_mm.tolist(),
        grid.directions.ravel().tolist(),
        float("nan"),
        sitk.sitkFloat32,
    )
    return sitk.GetArrayFromImage(target)


def resample_measured(scan: MeasuredScan, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """A scan's values on another grid, and where they were measured.

    Args:
        scan: see scan_checks.measured_scan.
        grid: where its values are wanted.

    Returns:
        As `resample` gives them, (k, j, i) float32, NaN beyond the scan's end; and bool of the same shape, False there
        and in what was padded.

    Raises:
        InputError: if the scan and the grid do not overlap.
    """
    values = resample(scan.volume, grid)
    known = np.isfinite(values)
    if scan.unmeasured is not None:
        share = resample(scan.unmeasured.with_voxels(scan.unmeasured.voxels.astype(np.float32)), grid)
        known &= ~(share > 0.5)
    return values, known


def normalise(voxels: np.ndarray) -> np.ndarray:
    """Clipped at the 1st and 99th percentile, mean 0, standard deviation 1; float32, same shape.

    NaN voxels (outside the scan) count for nothing and become the lowest value, as air does.

    Raises:
        InputError: if every voxel is the same or there are none.

    Source:
        Stebani et al. 2023, "Data processing and augmentation".
    """
    stride = max(1, voxels.size // QUANTILE_SAMPLE_VOXELS)
    known = voxels.reshape(-1)[::stride]
    known = known[np.isfinite(known)]
    smallest = SMALLEST_DEVIATION * float(np.abs(known).max(initial=0))
    if known.size == 0 or known.max() - known.min() <= smallest:
        raise InputError("Every voxel of the scan has the same value there; choose a scan that shows tissue.")
    low, high = np.quantile(known, CLIP_QUANTILES)
    clipped = np.clip(known, low, high)
    mean, deviation = float(clipped.mean(dtype=np.float64)), float(clipped.std(dtype=np.float64))
    if deviation <= smallest:
        raise InputError("Nearly every voxel of the scan has the same value there; choose a scan that shows tissue.")
    # In place, since a whole scan may be large.
    filled = voxels.astype(np.float32)
    filled[np.isnan(filled)] = low
    np.clip(filled, low, high, out=filled)
    filled -= np.float32(mean)
    filled /= np.float32(deviation)
    return filled


def _places_along_axes(image: sitk.Image, grid: Grid) -> tuple[tuple[int, ...], list[np.ndarray]] | None:
    """Where the voxels of a grid lie in an image with parallel axes, in any order and sense; None if they are oblique.

    Returns:
        Axis of the image (k, j, i) for each axis of the grid, and along it the grid's places in voxels of the image.
    """
    size_ijk, shape_ijk = np.array(image.GetSize()), np.array(grid.shape[::-1])
    directions = np.array(image.GetDirection()).reshape(3, 3)
    to_indices = np.linalg.inv(directions * np.array(image.GetSpacing()))
    step = to_indices @ (grid.directions * grid.spacing_mm)
    first = to_indices @ (grid.origin_lps - np.array(image.GetOrigin()))
    axes = np.abs(step).argmax(0)
    aside = step.copy()
    aside[axes, range(3)] = 0
    if sorted(axes) != [0, 1, 2] or (np.abs(aside) @ shape_ijk > PARALLEL_VOXELS).any() or (size_ijk < 2).any():
        return None
    places = [first[axes[own]] + step[axes[own], own] * np.arange(shape_ijk[own]) for own in range(3)]
    return tuple(2 - int(axis) for axis in axes[::-1]), places[::-1]


def _binned(image: sitk.Image, coarse_edge_mm: float) -> sitk.Image:
    """Whole blocks of voxels averaged, up to half the coarse voxel: very fine scans are large, and slow to smooth."""
    factors = [max(1, int(coarse_edge_mm / (2 * edge))) for edge in image.GetSpacing()]
    factors = [min(factor, size) for factor, size in zip(factors, image.GetSize(), strict=True)]
    return sitk.BinShrink(image, factors) if max(factors) > 1 else image


def _crop_to(volume: Volume, grid: Grid) -> Volume:
    corners_kji = volume.grid.to_indices(grid.corners_lps())[:, ::-1]
    # Room for the smoothing kernel, which reaches about the new voxel's width.
    reach = 4 * np.ceil(grid.spacing_mm.max() / volume.spacing_mm[::-1]) + 2
    near = volume.crop(
        np.floor(corners_kji.min(0) - reach).astype(int), np.ceil(corners_kji.max(0) + reach + 1).astype(int)
    )
    if near.voxels.size == 0:
        raise InputError("The scan does not reach the region to be looked at; check its position in space.")
    return near
