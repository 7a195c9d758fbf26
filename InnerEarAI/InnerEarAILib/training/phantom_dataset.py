"""Training samples from the phantom: an anatomy in a random pose and scanner, seen as inference sees a scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.pose import Pose, sample_pose
from InnerEarAILib.phantom.rendered_anatomy import RenderedAnatomy
from InnerEarAILib.phantom.scanner import SCANNER_KINDS, Scanner, sample_scanner
from InnerEarAILib.phantom.scanner_acquisition import SAMPLES_PER_FWHM, scan_rendered
from InnerEarAILib.preprocessing import normalise, resample
from InnerEarAILib.training.checked_fields import (
    check_at_least,
    check_positive,
    check_ranges,
    check_shares,
    check_types,
    check_weights,
)
from InnerEarAILib.training.phantom_pool import ANATOMIES_HELD, VALIDATION, AnatomyPool, load_anatomy, picked
from InnerEarAILib.training.samples import TrainingSample
from InnerEarAILib.volume import Grid, InputError, Volume

SAMPLES_PER_ANATOMY = 6
"""Samples taken of an anatomy while it is in memory."""

TRAINING_SAMPLES, VALIDATION_SAMPLES = 3, 4
"""Second number of the seeds of samples; the first three are those of phantom_pool. A sample that shared the seed of an
anatomy would have kind, pose and scanner of the same random numbers."""

PLACES_TRIED = 20
"""Places of an anatomy that are tried before it counts as empty."""

OBLIQUE_DEGREES = 15.0
"""Standard deviation of the tilt of an oblique image grid against the patient's axes."""


@dataclass(frozen=True)
class PhantomSampling:
    """How samples are taken of an anatomy; the numbers are ours.

    Attributes:
        scanners: how often each kind of scanner is drawn, by relative weight.
        finest_mm: scanners with smaller voxels are made this coarse, which costs less and is lost on the model's grid.
        region_mm: smallest and largest edge of the cube whose intensities are normalised together, as inference
            normalises the region round an ear; at least the tile's edge.
        upright_share: share of samples in which the patient lies about straight; the others have any orientation.
        tilt_degrees: standard deviation of the tilt of a patient who lies about straight.
        near_share: share of samples with the labyrinth near the middle of the tile.
        near_mm: standard deviation of its distance from the middle along each axis; about as far off as the locator is.
        far_mm: the other samples lie up to this far off along each axis, partly or wholly outside the tile.
        away_share: share of samples round a place that has nothing to do with an ear.
        size: range of the factor by which an anatomy is made smaller or larger than it was drawn.
        oblique_share: share of scans whose grid is tilted against the patient's axes.
        cut_share: share of scans that do not cover the whole region.
        clipped_share: share of scans whose CT numbers end below dense bone, as exports of a display window do.
        clipped_hounsfield: range of the CT number where they end.
        contrast: factor of the normalised intensities, drawn from 1 ± this.
        rim_mm: the label is the labyrinth widened by this much. At a locator's spacing a labyrinth is 200 voxels
            in a tile of a quarter million, too few to learn from quickly; with a rim it is a thousand.

    Raises:
        ValueError: if a value is not of its type or out of its range.
    """

    scanners: Mapping[str, float]
    finest_mm: float = 0.25
    region_mm: tuple[float, float] = (26.0, 34.0)
    upright_share: float = 0.7
    tilt_degrees: float = 12.0
    near_share: float = 0.7
    near_mm: float = 2.0
    far_mm: float = 12.0
    away_share: float = 0.06
    size: tuple[float, float] = (1.0, 1.0)
    oblique_share: float = 0.2
    cut_share: float = 0.1
    clipped_share: float = 0.0
    clipped_hounsfield: tuple[float, float] = (700.0, 2400.0)
    contrast: float = 0.15
    rim_mm: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        check_weights(self, "scanners", SCANNER_KINDS)
        check_positive(self, "finest_mm")
        check_ranges(self, "region_mm", "size", "clipped_hounsfield")
        check_shares(self, *(entry.name for entry in fields(self) if entry.name.endswith("_share")), "contrast")
        check_at_least(0, self, "tilt_degrees", "near_mm", "far_mm", "rim_mm")


@dataclass(frozen=True)
class PhantomSource:
    """Samples of the anatomies of a pool; a SampleSource.

    While the pool grows, a sample depends on what is there when it is drawn; of a finished pool, sample n is always the
    same.

    Attributes:
        pool: the anatomies.
        sampling: how samples are taken.
        spacing_mm: the model's voxel edge.
        tile_voxels: edge of its tiles.
        seed: of everything but the anatomies.
    """

    pool: AnatomyPool
    sampling: PhantomSampling
    spacing_mm: float
    tile_voxels: int
    seed: int

    def sample(self, index: int) -> TrainingSample:
        """Sample number `index`."""
        group, place = divmod(index, ANATOMIES_HELD * SAMPLES_PER_ANATOMY)
        rendered = self.pool.pick(group, place % ANATOMIES_HELD)
        return self.sample_of(rendered, np.random.default_rng([self.seed, TRAINING_SAMPLES, index]))

    def validation(self, count: int) -> list[TrainingSample]:
        """Fixed samples of the pool's validation anatomies."""
        paths = self.pool.paths(VALIDATION)
        return [
            self.sample_of(
                load_anatomy(paths[number % len(paths)]), np.random.default_rng([self.seed, VALIDATION_SAMPLES, number])
            )
            for number in range(count)
        ]

    def sample_of(self, rendered: RenderedAnatomy, rng: np.random.Generator) -> TrainingSample:
        """A sample of an anatomy.

        Raises:
            InputError: if no place of the anatomy shows anything.
        """
        for attempt in range(PLACES_TRIED):
            scan, pose, tile, region = self._scan(rendered, rng)
            seen = resample(scan, region)
            try:
                image = normalise(seen)
            except InputError:  # nothing but air there; inference passes it over as well
                if attempt == PLACES_TRIED - 1:
                    raise
                continue
            margin = (region.shape[0] - tile.shape[0]) // 2
            middle = (slice(margin, margin + self.tile_voxels),) * 3
            image = image[middle] * np.float32(1 + rng.uniform(-1, 1) * self.sampling.contrast)
            return self._with_truth(rendered, pose, tile, image, np.isfinite(seen[middle]))
        raise AssertionError("unreachable")

    def _scan(self, rendered: RenderedAnatomy, rng: np.random.Generator) -> tuple[Volume, Pose, Grid, Grid]:
        sampling = self.sampling
        # An anatomy that was drawn on a coarser lattice has nothing finer to show.
        finest_mm = max(sampling.finest_mm, rendered.spacing_mm)
        scanner = coarsened(sample_scanner(rng, picked(sampling.scanners, rng)), finest_mm)
        tilt = sampling.tilt_degrees if rng.random() < sampling.upright_share else 180.0
        pose = sample_pose(rng, mirror=bool(rng.random() < 0.5), tilt_degrees=tilt)
        pose = replace(pose, size=float(rng.uniform(*sampling.size)))
        centre = pose.to_lps(self._focus(rendered, rng))
        tile, region = self._grids(centre, rng)
        grid = scanner.native_grid(region.centre_lps, self._covered(region, scanner, rng))
        if rng.random() < sampling.oblique_share:
            grid = tilted(grid, Rotation.from_rotvec(np.radians(rng.normal(0, OBLIQUE_DEGREES, 3))).as_matrix())
        if rng.random() < sampling.cut_share:
            edge = self.tile_voxels * self.spacing_mm
            grid = replace(grid, affine_lps=_moved(grid.affine_lps, rng.uniform(-0.3, 0.3, 3) * edge))
        if rng.random() < sampling.clipped_share:
            highest = float(rng.uniform(*sampling.clipped_hounsfield))
            scanner = replace(scanner, storage=replace(scanner.storage, highest=highest))
        voxels = scan_rendered(rendered, scanner, pose, grid, rng).cpu().numpy()
        return Volume(voxels, grid.affine_lps), pose, tile, region

    def _focus(self, rendered: RenderedAnatomy, rng: np.random.Generator) -> np.ndarray:
        sampling = self.sampling
        if not rendered.ears or rng.random() < sampling.away_share:
            return rendered.centre + rng.uniform(-0.5, 0.5, 3) * rendered.extent_mm
        ear = rendered.ears[int(rng.integers(len(rendered.ears)))]
        # The windows lie near the middle of a labyrinth, the helicotrema at one end: their mean is near its centre.
        centre = np.mean([ear.landmarks[name] for name in LANDMARK_NAMES[1:] if name in ear.landmarks], axis=0)
        if rng.random() < sampling.near_share:
            return centre + rng.normal(0, sampling.near_mm, 3)
        return centre + rng.uniform(-sampling.far_mm, sampling.far_mm, 3)

    def _grids(self, centre_lps: np.ndarray, rng: np.random.Generator) -> tuple[Grid, Grid]:
        """The tile and the region round it, on the patient-aligned lattice that inference uses."""
        edge = self.tile_voxels * self.spacing_mm
        region_mm = rng.uniform(*self.sampling.region_mm)
        margin = max(0, round((region_mm - edge) / 2 / self.spacing_mm))
        first = np.round(centre_lps / self.spacing_mm).astype(int) - self.tile_voxels // 2
        shapes = self.tile_voxels, self.tile_voxels + 2 * margin
        tile = Grid.axis_aligned((shapes[0],) * 3, self.spacing_mm, first * self.spacing_mm)
        return tile, Grid.axis_aligned((shapes[1],) * 3, self.spacing_mm, (first - margin) * self.spacing_mm)

    def _covered(self, region: Grid, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
        """Edge lengths of the scan: a little more than the region, so that its voxels fall anywhere within."""
        edges = region.spacing_mm * region.shape[0]
        return edges + np.array(scanner.spacing_mm) * (2 + rng.uniform(0, 1, 3))

    def _with_truth(
        self, rendered: RenderedAnatomy, pose: Pose, tile: Grid, image: np.ndarray, inside: np.ndarray
    ) -> TrainingSample:
        labyrinth = (
            rendered.truth_on(tile.shape, np.linalg.inv(pose.affine) @ tile.affine_lps)[0].cpu().numpy() * inside
        )
        if self.sampling.rim_mm > 0:
            labyrinth = _widened(labyrinth, self.sampling.rim_mm / self.spacing_mm)
        landmarks = np.full((len(rendered.ears), 3, 3), np.nan)
        for row, ear in zip(landmarks, rendered.ears, strict=True):
            for name, position_lps in pose.landmarks_lps(ear).items():
                index_kji = tile.to_indices(position_lps)[::-1]
                nearest = np.round(index_kji).astype(int)
                in_tile = ((nearest >= 0) & (nearest < self.tile_voxels)).all()
                if not in_tile or inside[tuple(nearest)]:
                    row[LANDMARK_NAMES.index(name)] = index_kji
        return TrainingSample(image.astype(np.float32), labyrinth.astype(np.float32), landmarks, np.ones(3, bool))


def coarsened(scanner: Scanner, finest_mm: float) -> Scanner:
    """The scanner with voxels of at least `finest_mm`: as sharp as those can hold, less noisy as averaging makes it."""
    spacing = np.array(scanner.spacing_mm)
    coarse = np.maximum(spacing, finest_mm)
    if (coarse == spacing).all():
        return scanner
    fwhm = np.where(coarse > spacing, np.maximum(scanner.fwhm_mm, SAMPLES_PER_FWHM * coarse), scanner.fwhm_mm)
    noise = scanner.noise_hounsfield * float(np.sqrt((spacing / coarse).prod()))
    return replace(
        scanner,
        spacing_mm=tuple(float(edge) for edge in coarse),
        fwhm_mm=tuple(float(width) for width in fwhm),
        noise_hounsfield=noise,
    )


def tilted(grid: Grid, rotation: np.ndarray) -> Grid:
    """The grid turned about its centre by a (3, 3) rotation."""
    affine = grid.affine_lps.copy()
    affine[:3, :3] = rotation @ affine[:3, :3]
    affine[:3, 3] = grid.centre_lps + rotation @ (grid.origin_lps - grid.centre_lps)
    return Grid(grid.shape, affine)


def _widened(share: np.ndarray, radius: float) -> np.ndarray:
    reach = np.arange(-int(radius), int(radius) + 1)
    ball = (reach[:, None, None] ** 2 + reach[None, :, None] ** 2 + reach[None, None, :] ** 2) <= radius**2
    return ndimage.grey_dilation(share, footprint=ball)


def _moved(affine_lps: np.ndarray, shift_mm: np.ndarray) -> np.ndarray:
    moved = affine_lps.copy()
    moved[:3, 3] += shift_mm
    return moved
