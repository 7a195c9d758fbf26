"""A volume image in physical space: voxels (k, j, i) and the affine that places them, in LPS millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

AXES_TOLERANCE = 1e-3
"""Largest cosine between two axes that still counts as a right angle (rounded direction cosines in file headers)."""

LEAST_COSINE = 1e-14
"""Direction cosines below it are 0 to SimpleITK: over a metre they are a hundredth of a picometre."""


class InputError(ValueError):
    """What the user gave cannot be used; the message is one clear sentence that says what is wrong and what to do."""


@dataclass(frozen=True)
class Grid:
    """A lattice of voxels in physical space.

    Attributes:
        shape: number of voxels (k, j, i).
        affine_lps: (4, 4) float64, maps (i, j, k, 1) to LPS millimetres.
    """

    shape: tuple[int, int, int]
    affine_lps: np.ndarray

    @staticmethod
    def axis_aligned(shape: Sequence[int], spacing_mm: float | Sequence[float], origin_lps: Sequence[float]) -> Grid:
        """A grid along the patient's axes; `shape` is (k, j, i), `spacing_mm` and `origin_lps` are (x, y, z)."""
        affine = np.eye(4)
        affine[:3, :3] = np.diag(np.broadcast_to(np.asarray(spacing_mm, float), 3))
        affine[:3, 3] = origin_lps
        return Grid(tuple(int(n) for n in shape), affine)

    @staticmethod
    def cube_round(centre_lps: Sequence[float], spacing_mm: float, voxels: int) -> Grid:
        """An axis-aligned cube of that many voxels along each edge, its middle exactly at a point."""
        half_mm = (voxels - 1) / 2 * spacing_mm
        return Grid.axis_aligned((voxels,) * 3, spacing_mm, np.asarray(centre_lps, float) - half_mm)

    def refined(self, factors_ijk: Sequence[int]) -> Grid:
        """The same voxel box, each voxel divided by that many along i, j and k."""
        factors = np.asarray(factors_ijk, int)
        affine = self.affine_lps.copy()
        affine[:3, :3] /= factors
        affine[:3, 3] = self.to_lps((1 / factors - 1) / 2)
        return Grid(tuple(int(n) for n in np.array(self.shape) * factors[::-1]), affine)

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel edge lengths along (i, j, k), (3,)."""
        return np.linalg.norm(self.affine_lps[:3, :3], axis=0)

    @property
    def directions(self) -> np.ndarray:
        """Unit vectors of the axes i, j, k as columns, (3, 3)."""
        return self.affine_lps[:3, :3] / self.spacing_mm

    @property
    def origin_lps(self) -> np.ndarray:
        """Centre of voxel (0, 0, 0), (3,)."""
        return self.affine_lps[:3, 3]

    @property
    def centre_lps(self) -> np.ndarray:
        """Centre of the grid, (3,)."""
        return self.to_lps((np.array(self.shape[::-1]) - 1) / 2)

    def to_lps(self, indices_ijk: np.ndarray) -> np.ndarray:
        """Physical positions (…, 3) of continuous indices (i, j, k), (…, 3)."""
        return np.asarray(indices_ijk, float) @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]

    def to_indices(self, points_lps: np.ndarray) -> np.ndarray:
        """Continuous indices (i, j, k), (…, 3), of physical positions (…, 3)."""
        return (np.asarray(points_lps, float) - self.affine_lps[:3, 3]) @ np.linalg.inv(self.affine_lps[:3, :3]).T

    def corners_lps(self) -> np.ndarray:
        """The eight outer corners of the voxel box (half a voxel beyond the centres), (8, 3)."""
        upper = np.array(self.shape[::-1]) - 0.5
        corners = np.stack(np.meshgrid(*[(-0.5, edge) for edge in upper], indexing="ij"), -1).reshape(8, 3)
        return self.to_lps(corners)


@dataclass(frozen=True)
class Volume:
    """An image: voxels and the grid they lie on.

    Attributes:
        voxels: (k, j, i), any real dtype.
        affine_lps: (4, 4) float64, maps (i, j, k, 1) to LPS millimetres. Axes are perpendicular; either handedness.
        name: what the user calls it; empty where nobody does. Never a patient's name.
    """

    voxels: np.ndarray
    affine_lps: np.ndarray
    name: str = ""

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3:
            raise InputError(
                f"The image has {self.voxels.ndim} dimensions; a CT volume has three. Choose a single 3D series."
            )
        affine = np.asarray(self.affine_lps, float)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InputError("The image has no valid position in space; export it again from the scanner or Slicer.")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if (lengths <= 0).any():
            raise InputError("The image has a voxel spacing of zero; export it again with its true spacing.")
        cosines = (affine[:3, :3] / lengths).T @ (affine[:3, :3] / lengths) - np.eye(3)
        if np.abs(cosines).max() > AXES_TOLERANCE:
            raise InputError(
                "The axes of the image are not perpendicular (a sheared or gantry-tilted scan); "
                "in Slicer, harden a transform above it if there is one, then resample it onto a straight volume "
                "(module Resample Scalar/Vector/DWI Volume)."
            )
        object.__setattr__(self, "affine_lps", affine)

    @property
    def grid(self) -> Grid:
        """The lattice that the voxels lie on."""
        return Grid(self.voxels.shape, self.affine_lps)

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel edge lengths along (i, j, k), (3,)."""
        return self.grid.spacing_mm

    @staticmethod
    def from_sitk(image: sitk.Image, name: str = "") -> Volume:
        """The volume held by a 3D SimpleITK image (copied)."""
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        return Volume(sitk.GetArrayFromImage(image), affine, name)

    def to_sitk(self) -> sitk.Image:
        """A SimpleITK image of the same voxels at the same place.

        SimpleITK has no bool, half precision or foreign byte order: they become uint8, float32 and the native one.
        """
        substitute = {"?": np.uint8, "e": np.float32}.get(self.voxels.dtype.char, self.voxels.dtype.newbyteorder("="))
        image = sitk.GetImageFromArray(self.voxels.astype(substitute, copy=False))
        grid = self.grid
        image.SetSpacing(grid.spacing_mm.tolist())
        image.SetOrigin(grid.origin_lps.tolist())
        # ITK's inverse of the matrix goes astray over cosines whose squares underflow, as of a turn by 1e-300°.
        directions = np.where(np.abs(grid.directions) < LEAST_COSINE, 0.0, grid.directions)
        image.SetDirection(directions.ravel().tolist())
        return image

    def with_voxels(self, voxels: np.ndarray) -> Volume:
        """Other voxels on the same grid.

        Raises:
            ValueError: if the shape differs.
        """
        if voxels.shape != self.voxels.shape:
            raise ValueError(f"voxels {voxels.shape} do not fit the grid {self.voxels.shape}")
        return replace(self, voxels=voxels)

    def crop(self, start_kji: Sequence[int], stop_kji: Sequence[int]) -> Volume:
        """The block of voxels start ≤ index < stop, at its own place; bounds beyond the volume are cut."""
        start = np.clip(start_kji, 0, self.voxels.shape)
        stop = np.clip(stop_kji, start, self.voxels.shape)
        affine = self.affine_lps.copy()
        affine[:3, 3] = self.grid.to_lps(start[::-1])
        block = self.voxels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        return replace(self, voxels=np.ascontiguousarray(block), affine_lps=affine)


def marked_indices(mask: np.ndarray) -> np.ndarray:
    """Where an array is not 0, (n, axes), in the order of the axes: as numpy.argwhere, in a fifth of its time.

    Args:
        mask: any shape and type.
    """
    return np.stack(np.unravel_index(np.flatnonzero(mask != 0), mask.shape), axis=1)
