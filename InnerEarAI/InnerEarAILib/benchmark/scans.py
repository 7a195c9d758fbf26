"""Scans to be timed: drawn ears in the fields and voxel sizes that users have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from InnerEarAILib.phantom.head import sample_head
from InnerEarAILib.phantom.phantom import PhantomOptions, draw_phantom, embedded_phantom
from InnerEarAILib.phantom.pose import Pose
from InnerEarAILib.phantom.rendered_anatomy import render_anatomy
from InnerEarAILib.phantom.scanner import GE_BONEPLUS, ScannerKind
from InnerEarAILib.phantom.scanner_acquisition import scan_rendered
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.progress import Progress
from InnerEarAILib.volume import Grid, Volume

TISSUE, AIR, NOISE = 40, -1000, 25
"""Values beyond what is drawn, HU, and the standard deviation of the noise there."""

AGREEMENT_SCANNERS: tuple[ScannerKind, ...] = ("multi_slice", "cone_beam", "flat_panel")
FIRST_SEED = 31_000
"""Ears on which number formats are compared; no training draws from these seeds."""

HEAD_SEED = 31_900
HEAD_CENTRE_MM = (0.0, 8.0, 18.0)
"""Middle of a head scan in the head's frame, whose vestibules lie at y = z = 0."""

HEAD_LATTICE_MM, EAR_LATTICE_MM = 1.4, 0.35
"""Voxels of which a head is drawn, and the cubes round its ears."""

EAR_DRAWN_MM, EAR_SCANNED_MM = 44.0, 38.0
"""Edges of the cube that is drawn round an ear, and of the one that is scanned with the scanner's whole physics."""


@dataclass(frozen=True)
class ScanKind:
    """A size and a field.

    Attributes:
        shape: voxels (k, j, i).
        spacing_mm: voxel edges (x, y, z).
        is_head: a drawn head with both ears instead of one ear in tissue.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    is_head: bool = False

    def grid_round(self, centre_lps: np.ndarray) -> Grid:
        """The voxels, along the patient's axes, round a point (3,) mm."""
        extent = (np.array(self.shape[::-1]) - 1) * self.spacing_mm
        return Grid.axis_aligned(self.shape, self.spacing_mm, centre_lps - extent / 2)


SCAN_KINDS: Mapping[str, ScanKind] = {
    "crop-50mm": ScanKind((167, 167, 167), (0.3, 0.3, 0.3)),
    "cube-190": ScanKind((190, 190, 190), (0.15, 0.15, 0.15)),
    "cube-256": ScanKind((256, 256, 256), (0.2, 0.2, 0.2)),
    "bone-512": ScanKind((405, 512, 512), (0.099, 0.099, 0.099)),
    "head-512": ScanKind((226, 512, 512), (0.45, 0.45, 0.7), is_head=True),
}
"""A crop of a clinical CT, a small volume, those of Hussain et al. 2021 and Stebani et al. 2023, a whole head CT."""


def timed_scan(name: str, progress: Progress = Progress()) -> Volume:
    """A scan of that kind, int16, drawn on the spot.

    Args:
        name: a key of SCAN_KINDS.
        progress: told what is drawn.
    """
    kind = SCAN_KINDS[name]
    if kind.is_head:
        progress.step(f"{name}: drawing the head")
        grid, values = _head(kind)
    else:
        grid, values = _ear_in_tissue(kind, embedded_ear(progress))
    return Volume(np.rint(values).astype(np.int16), grid.affine_lps, name)


def _ear_in_tissue(kind: ScanKind, ear: Volume) -> tuple[Grid, np.ndarray]:
    grid = kind.grid_round(ear.grid.centre_lps)
    values = np.random.default_rng(0).standard_normal(grid.shape, dtype=np.float32)
    values *= NOISE
    values += TISSUE
    seen = resample(ear, grid, cubic=False)
    known = np.isfinite(seen)
    values[known] = seen[known]
    return grid, values


def _head(kind: ScanKind) -> tuple[Grid, np.ndarray]:
    """A head whose skull, brain and face are drawn coarsely, its two ears finely: what is looked at closely."""
    rng = np.random.default_rng(HEAD_SEED)
    head = sample_head(rng, "normal")
    grid = kind.grid_round(np.array(HEAD_CENTRE_MM))
    field_mm = np.array(kind.shape[::-1]) * kind.spacing_mm
    coarse = render_anatomy(head, HEAD_LATTICE_MM, field_mm, HEAD_CENTRE_MM, outside_hounsfield=AIR)
    values = coarse.hounsfield_on(grid.shape, grid.affine_lps).numpy()
    values += NOISE * rng.standard_normal(grid.shape, dtype=np.float32)
    scanner = replace(GE_BONEPLUS, spacing_mm=kind.spacing_mm)
    for ear in head.ears:
        middle = np.mean(list(ear.landmarks.values()), axis=0)
        drawn = render_anatomy(head, EAR_LATTICE_MM, EAR_DRAWN_MM, middle)
        near, window = _cube_within(grid, middle)
        values[window] = scan_rendered(drawn, scanner, Pose(), near, rng).numpy()
    return grid, values


def _cube_within(grid: Grid, centre: np.ndarray) -> tuple[Grid, tuple[slice, slice, slice]]:
    """The voxels of a grid in the cube that is scanned round an ear, and which of the grid's they are."""
    start = np.ceil(grid.to_indices(centre - EAR_SCANNED_MM / 2)).astype(int)
    stop = np.floor(grid.to_indices(centre + EAR_SCANNED_MM / 2)).astype(int) + 1
    start, stop = np.maximum(start, 0), np.minimum(stop, grid.shape[::-1])
    k, j, i = (slice(int(a), int(b)) for a, b in zip(start[::-1], stop[::-1], strict=True))
    near = Grid.axis_aligned((stop - start)[::-1], grid.spacing_mm, grid.to_lps(start))
    return near, (k, j, i)


@lru_cache(maxsize=1)
def embedded_ear(progress: Progress = Progress()) -> Volume:
    """The embedded phantom's scan, drawn on the spot, once."""
    return embedded_phantom(progress).scan


def drawn_ears(count: int) -> Iterator[Volume]:
    """Scans of different ears by different scanners, one after the other."""
    for number in range(count):
        scanner = AGREEMENT_SCANNERS[number % len(AGREEMENT_SCANNERS)]
        drawn = draw_phantom(FIRST_SEED + number, PhantomOptions(scanner)).scan
        yield Volume(drawn.voxels, drawn.affine_lps, f"{scanner}, seed {FIRST_SEED + number}")
