"""Scans to be timed: the embedded phantom's ear in the fields and voxel sizes that users have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from InnerEarAILib.phantom.phantom import PhantomOptions, draw_phantom, embedded_phantom
from InnerEarAILib.phantom.scanner import ScannerKind
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.progress import Progress
from InnerEarAILib.volume import Grid, Volume

AIR, TISSUE, NOISE = -1000, 40, 25
"""Values outside the drawn ear, HU, and the standard deviation of the noise on them."""

AGREEMENT_SCANNERS: tuple[ScannerKind, ...] = ("multi_slice", "cone_beam", "flat_panel")
FIRST_SEED = 31_000
"""Ears on which number formats are compared; no training draws from these seeds."""

EAR_FROM_MIDLINE_MM = 42.0
HEAD_HALF_AXES_MM = np.array([75.0, 95.0, 110.0])
"""The head is an ellipsoid of soft tissue (x, y, z) with an ear on either side: enough to be searched."""


@dataclass(frozen=True)
class ScanKind:
    """A size and a field.

    Attributes:
        shape: voxels (k, j, i).
        spacing_mm: voxel edges (x, y, z).
        is_head: both ears in a head instead of one ear in tissue.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    is_head: bool = False


SCAN_KINDS: Mapping[str, ScanKind] = {
    "crop-50mm": ScanKind((167, 167, 167), (0.3, 0.3, 0.3)),
    "cube-190": ScanKind((190, 190, 190), (0.15, 0.15, 0.15)),
    "cube-256": ScanKind((256, 256, 256), (0.2, 0.2, 0.2)),
    "bone-512": ScanKind((405, 512, 512), (0.099, 0.099, 0.099)),
    "head-512": ScanKind((226, 512, 512), (0.45, 0.45, 0.7), is_head=True),
}
"""A crop of a clinical CT, a small volume, those of Hussain et al. 2021 and Stebani et al. 2023, a whole head CT."""


def timed_scan(name: str, ear: Volume) -> Volume:
    """A scan of that kind, int16.

    Args:
        name: a key of SCAN_KINDS.
        ear: a scan of one ear, whose middle comes to the scan's middle, or to both sides of the head.
    """
    kind = SCAN_KINDS[name]
    extent = (np.array(kind.shape[::-1]) - 1) * kind.spacing_mm
    centre = ear.grid.centre_lps
    ears = [ear]
    if kind.is_head:
        ears = [_moved(ear, [1, 1, 1], EAR_FROM_MIDLINE_MM), _moved(ear, [-1, 1, 1], -EAR_FROM_MIDLINE_MM)]
        centre = np.zeros(3)
    grid = Grid.axis_aligned(kind.shape, kind.spacing_mm, centre - extent / 2)
    rng = np.random.default_rng(0)
    values = NOISE * rng.standard_normal(grid.shape, dtype=np.float32)
    values += _background(grid, kind.is_head)
    for one in ears:
        seen = resample(one, grid, cubic=False)
        known = np.isfinite(seen)
        values[known] = seen[known]
    return Volume(np.rint(values).astype(np.int16), grid.affine_lps, name)


def _moved(ear: Volume, mirror: list[int], x_mm: float) -> Volume:
    """An ear, perhaps its mirror image, with its middle at (x, 0, 0)."""
    affine = np.diag([*mirror, 1.0]) @ ear.affine_lps
    middle = Volume(ear.voxels, affine).grid.centre_lps
    affine[:3, 3] += [x_mm, 0, 0] - middle
    return Volume(ear.voxels, affine, ear.name)


def _background(grid: Grid, is_head: bool) -> np.ndarray:
    if not is_head:
        return np.full((1, 1, 1), TISSUE, np.float32)
    z, y, x = (
        ((np.arange(count) * edge + origin) / half) ** 2
        for count, edge, origin, half in zip(
            grid.shape, grid.spacing_mm[::-1], grid.origin_lps[::-1], HEAD_HALF_AXES_MM[::-1], strict=True
        )
    )
    inside = z[:, None, None] + y[None, :, None] + x[None, None, :] <= 1
    return np.where(inside, TISSUE, AIR).astype(np.float32)


def embedded_ear(progress: Progress = Progress()) -> Volume:
    """The embedded phantom's scan, drawn on the spot."""
    return embedded_phantom(progress).scan


def drawn_ears(count: int) -> Iterator[Volume]:
    """Scans of different ears by different scanners, one after the other."""
    for number in range(count):
        scanner = AGREEMENT_SCANNERS[number % len(AGREEMENT_SCANNERS)]
        drawn = draw_phantom(FIRST_SEED + number, PhantomOptions(scanner)).scan
        yield Volume(drawn.voxels, drawn.affine_lps, f"{scanner}, seed {FIRST_SEED + number}")
