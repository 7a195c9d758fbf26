"""Scanning an anatomy: CT images and their exact truth on any grid.

The calls that others build on:

    scan(anatomy, scanner, pose, grid, rng, device) -> Tensor      any anatomy, drawn finely for this one image
    scan_rendered(rendered, scanner, pose, grid, rng) -> Tensor    a RenderedAnatomy, fast: training
    truth(anatomy, pose, grid, device) -> Truth                    labyrinth share, parts, landmarks on any grid

A grid may be anisotropic and oblique; its axes i, j lie in the scanner's slice and k across it. Images hold stored
values (float32, whole numbers); scanner.Storage says how. A RenderedAnatomy is scanned where it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from InnerEarAILib.ear_result import Side
from InnerEarAILib.phantom.anatomy import Anatomy, truth_at
from InnerEarAILib.phantom.artefacts import add_artefacts, noise_scale
from InnerEarAILib.phantom.lattice import affine_points
from InnerEarAILib.phantom.noise import scanner_noise
from InnerEarAILib.phantom.pose import Pose
from InnerEarAILib.phantom.rendered_anatomy import RenderedAnatomy
from InnerEarAILib.phantom.scanner import Scanner
from InnerEarAILib.phantom.scanner_psf import FWHM_OF_SIGMA, filter_volume, generator_from, psf_taps
from InnerEarAILib.volume import Grid

SAMPLES_PER_FWHM, DRAWN_SAMPLES_PER_FWHM = 1.9, 1.6
"""Samples of the anatomy across the point-spread function: of a lattice, so that what aliases of a Gaussian is below
1 %; of an anatomy that is drawn for the scan, whose every sample is the mean over its voxel already."""

TRUTH_STEP_MM = 0.36
"""Voxels of the truth wider than this are averaged from finer ones."""

BLOCK_MM = 1.0
"""Edge of the blocks in which a labyrinth is looked for before its truth is drawn."""

POINTS_AT_ONCE = 6_000_000
"""Points at which an anatomy is drawn in one piece: bounds the working memory, and leaves slabs thick enough for
compact tiles, which leave most of the anatomy out."""


@dataclass(frozen=True)
class Truth:
    """What a scan shows, exactly.

    Attributes:
        labyrinth: (k, j, i) float32, share of each voxel that is labyrinth lumen, 0 to 1.
        part: (k, j, i) uint8, NO_PART, COCHLEA, VESTIBULE or CANALS at the voxel's centre.
        landmarks: LPS mm, (3,) by landmark name, by side of the ear.
    """

    labyrinth: Tensor
    part: Tensor
    landmarks: Mapping[Side, Mapping[str, np.ndarray]]


def scan_rendered(
    rendered: RenderedAnatomy, scanner: Scanner, pose: Pose, grid: Grid, rng: np.random.Generator
) -> Tensor:
    """Scans an anatomy that was rendered before.

    Args:
        rendered: the anatomy; its lattice should be no coarser than half the scanner's FWHM.
        scanner: how it is scanned; noise is made on the voxels of `grid`.
        pose: where it lies.
        grid: voxels of the image.
        rng: source of noise and artefacts; the same state gives the same image on the same device.

    Returns:
        (k, j, i) float32 on the device of `rendered`, stored values.
    """

    def sample(shape: tuple[int, int, int], affine: np.ndarray, step_mm: float) -> tuple[Tensor, float]:
        level = rendered.coarser(step_mm)
        # The lattice's voxels are boxes (variance e²/12); trilinear interpolation blurs by e²/6 on average.
        return level.hounsfield_on(shape, affine), level.spacing_mm**2 / 4

    return _acquire(sample, SAMPLES_PER_FWHM, scanner, pose, grid, rng, rendered.device)


def scan(
    anatomy: Anatomy,
    scanner: Scanner,
    pose: Pose,
    grid: Grid,
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Scans an anatomy directly, drawn as finely as the scanner resolves; arguments and result as `scan_rendered`."""

    def sample(shape: tuple[int, int, int], affine: np.ndarray, step_mm: float) -> tuple[Tensor, float]:
        hounsfield = torch.empty(shape, device=device)
        for layers, block_affine in _blocks(shape, affine):
            points = affine_points((layers.stop - layers.start, *shape[1:]), block_affine, device)
            hounsfield[layers] = anatomy.render(points, step_mm).hounsfield.reshape(-1, *shape[1:])
        return hounsfield, step_mm**2 / 12

    return _acquire(sample, DRAWN_SAMPLES_PER_FWHM, scanner, pose, grid, rng, torch.device(device))


def truth(anatomy: Anatomy, pose: Pose, grid: Grid, device: torch.device | str = "cpu") -> Truth:
    """The exact truth on a grid; voxels wider than TRUTH_STEP_MM are averaged from finer ones.

    Args:
        anatomy: what is scanned; a RenderedAnatomy is read on its own device.
        pose: where it lies.
        grid: voxels of the truth; any, not only those of the scan.
        device: where the work is done.
    """
    finer = np.maximum(np.ceil(grid.spacing_mm[::-1] / TRUTH_STEP_MM), 1).astype(int)
    affine = pose.inverse_affine @ grid.affine_lps @ _subdivision(finer)
    edge = float(np.cbrt((grid.spacing_mm[::-1] / finer).prod())) / pose.size
    shape = tuple(int(n * m) for n, m in zip(grid.shape, finer, strict=True))
    if isinstance(anatomy, RenderedAnatomy):
        share, part = anatomy.coarser(edge).truth_on(shape, affine)
    else:
        share, part = _drawn_truth(anatomy, shape, affine, edge, torch.device(device))
    a, b, c = (int(n) // 2 for n in finer)
    part = part[a :: int(finer[0]), b :: int(finer[1]), c :: int(finer[2])].contiguous()
    if (finer > 1).any():
        share = F.avg_pool3d(share[None, None], finer.tolist())[0, 0]
    return Truth(share, part, {pose.side(ear): pose.landmarks_lps(ear) for ear in anatomy.ears})


def _drawn_truth(
    anatomy: Anatomy, shape: tuple[int, int, int], affine: np.ndarray, edge: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Labyrinth share and part of an anatomy on a grid; only blocks of voxels near a labyrinth are drawn."""
    sides = np.maximum(np.round(BLOCK_MM / np.linalg.norm(affine[:3, :3], axis=0)[::-1]), 1).astype(int)
    blocks = tuple(-(-n // int(m)) for n, m in zip(shape, sides, strict=True))
    coarse = affine @ _subdivision(1 / sides)
    near = torch.empty(blocks, device=device)
    for layers, block_affine in _blocks(blocks, coarse):
        points = affine_points((layers.stop - layers.start, *blocks[1:]), block_affine, device)
        near[layers] = truth_at(anatomy, points, 2 * BLOCK_MM)[0].reshape(-1, *blocks[1:])
    near = F.max_pool3d((near > 0).float()[None, None], 3, stride=1, padding=1)[0, 0] > 0
    for axis, side in enumerate(sides.tolist()):
        near = near.repeat_interleave(side, axis).narrow(axis, 0, shape[axis])
    share = torch.zeros(shape, device=device)
    part = torch.zeros(shape, dtype=torch.uint8, device=device)
    indices = near.nonzero()
    matrix = torch.as_tensor(affine[:3], dtype=torch.float32, device=device)
    for piece in indices.split(POINTS_AT_ONCE) if len(indices) else ():  # of nothing, split makes one empty piece
        points = piece.flip(1).to(torch.float32) @ matrix[:, :3].T + matrix[:, 3]
        share[piece.unbind(1)], part[piece.unbind(1)] = truth_at(anatomy, points, edge)
    return share, part


def _acquire(
    sample, samples_per_fwhm: float, scanner: Scanner, pose: Pose, grid: Grid, rng, device: torch.device
) -> Tensor:
    """Samples finer than the voxels, applies the point-spread function, then all that a scanner adds."""
    generator = generator_from(rng, device)
    spacing, own = grid.spacing_mm[::-1], np.array(scanner.spacing_mm)[::-1]
    # Voxels coarser than the scanner's own stand for means over its voxels: boxes of variance edge² / 12.
    widened = np.maximum(spacing**2 - own**2, 0) / 12
    fwhm = np.sqrt(np.array(scanner.fwhm_mm)[::-1] ** 2 + FWHM_OF_SIGMA**2 * widened)
    finer = np.maximum(np.ceil(spacing / fwhm * samples_per_fwhm - 0.05), 1).astype(int)
    steps = spacing / finer
    overshoot = (0.0, scanner.overshoot, scanner.overshoot)
    # The widest margin is needed before the blur of the samples is known; less blur means a wider filter.
    margins = [len(psf_taps(s, f, o, 0.0)) // 2 for s, f, o in zip(steps, fwhm, overshoot, strict=True)]
    shape = tuple(int((n - 1) * m + 1 + 2 * g) for n, m, g in zip(grid.shape, finer, margins, strict=True))
    start = np.eye(4)
    start[:3, :3] = np.diag(1.0 / finer[::-1])
    start[:3, 3] = -np.array(margins[::-1]) / finer[::-1]
    # The samples' own blur is told in the anatomy's millimetres.
    hounsfield, blur = sample(shape, pose.inverse_affine @ grid.affine_lps @ start, float(steps.min()) / pose.size)
    taps = []
    for step, width, enhancement, margin in zip(steps, fwhm, overshoot, margins, strict=True):
        narrow = psf_taps(step, width, enhancement, blur * pose.size**2)
        taps.append(np.pad(narrow, margin - len(narrow) // 2))
    image = filter_volume(hounsfield, taps, finer.tolist())
    image = add_artefacts(image, scanner.artefacts, grid, generator)
    if scanner.noise_hounsfield:
        image = image + scanner_noise(scanner, grid, generator) * noise_scale(image, scanner.artefacts)
    return _store(image, scanner, grid)


def _store(image: Tensor, scanner: Scanner, grid: Grid) -> Tensor:
    storage = scanner.storage
    if scanner.field_diameter_mm is not None:
        across = [
            (torch.arange(n, device=image.device) - (n - 1) / 2) * float(s)
            for n, s in zip(grid.shape[1:], grid.spacing_mm[1::-1], strict=True)
        ]
        radius = torch.hypot(across[0][:, None], across[1][None, :])
        image = torch.where(radius > scanner.field_diameter_mm / 2, scanner.outside_hounsfield, image)
    image = image.clamp(storage.lowest, storage.highest)
    stored = torch.round((image * storage.gain + storage.bias - storage.intercept) / storage.slope)
    limits = np.iinfo(storage.dtype)
    return stored.clamp(limits.min, limits.max)


def _subdivision(finer_kji: np.ndarray) -> np.ndarray:
    """(4, 4): indices of the finer grid to those of the grid that it divides, voxel boxes kept in place."""
    finer = finer_kji[::-1].astype(float)
    affine = np.diag([*(1 / finer), 1.0])
    affine[:3, 3] = (1 / finer - 1) / 2
    return affine


def _blocks(shape: tuple[int, int, int], affine: np.ndarray):
    """Slabs of a grid with the affine that places each; bounds the working memory."""
    step = max(1, POINTS_AT_ONCE // (shape[1] * shape[2]))
    for first in range(0, shape[0], step):
        block_affine = affine.copy()
        block_affine[:3, 3] += affine[:3, 2] * first
        yield slice(first, min(first + step, shape[0])), block_affine
