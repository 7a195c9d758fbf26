"""Training-time augmentation: rotations that move image, labyrinth and landmarks together; contrast and noise.

A real data set is small, so each tile is shown in other orientations and intensities. The paper turns the tile that was
cut out, after contrast and noise; here the tile is cut out turned, so that its corners show anatomy instead of padding,
and contrast and noise come last. Never a mirror.

Source:
    Stebani et al. 2023, "Data processing and augmentation". How often a transformation is applied and how strong the
    intensity transformations are stands in its supplement; those numbers are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from InnerEarAILib.phantom.lattice import interpolate_grid

AXES = 3


@dataclass(frozen=True)
class Augmentation:
    """How tiles are varied. A share is the probability that a tile is treated so.

    Attributes:
        turned_axes: how many of the volume's axes, from the first (k), tiles are turned about by 90°, 180° or 270°.
        turned_share: of the quarter turns.
        free_degrees: free rotations about a random one of the three axes lie within ± this angle.
        free_share: of the free rotations.
        contrast: intensities are multiplied by a factor within 1 ± this.
        contrast_share: of the factor.
        gaussian_deviation: largest standard deviation of additive Gaussian noise, in units of the normalised image.
        poisson_counts: fewest counts that one such unit stands for in Poisson noise; more are less noisy.
        noise_share: of noise; Gaussian or Poisson by even chance.
    """

    turned_axes: int = 0
    turned_share: float = 0.5
    free_degrees: float = 0.0
    free_share: float = 0.5
    contrast: float = 0.0
    contrast_share: float = 0.5
    gaussian_deviation: float = 0.0
    poisson_counts: float = 0.0
    noise_share: float = 0.5

    def rotation(self, rng: np.random.Generator) -> np.ndarray:
        """A random rotation of (k, j, i) indices, (3, 3)."""
        rotation = Rotation.identity()
        if self.turned_axes and rng.random() < self.turned_share:
            axis = np.eye(AXES)[int(rng.integers(self.turned_axes))]
            rotation = Rotation.from_rotvec(np.pi / 2 * int(rng.integers(1, 4)) * axis)
        if self.free_degrees and rng.random() < self.free_share:
            axis = np.eye(AXES)[int(rng.integers(AXES))]
            angle = np.radians(rng.uniform(-self.free_degrees, self.free_degrees))
            rotation = Rotation.from_rotvec(angle * axis) * rotation
        return rotation.as_matrix()

    def change_intensities(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The image (k, j, i), normalised, with another contrast and with noise; float32, the same shape."""
        if self.contrast and rng.random() < self.contrast_share:
            image = image * (1 + rng.uniform(-self.contrast, self.contrast))
        if rng.random() < self.noise_share:
            if rng.random() < 0.5:
                if self.gaussian_deviation:
                    image = image + rng.normal(0, rng.uniform(0, self.gaussian_deviation), image.shape)
            elif self.poisson_counts:
                counts = self.poisson_counts * np.exp(rng.uniform(0, np.log(10)))
                darkest = float(image.min())
                image = rng.poisson((image - darkest) * counts) / counts + darkest
        return np.asarray(image, np.float32)


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": Augmentation(),
    "alpha": Augmentation(
        turned_axes=1, free_degrees=30.0, contrast=0.25, gaussian_deviation=0.15, poisson_counts=40.0
    ),
    "beta": Augmentation(turned_axes=3, free_degrees=45.0, contrast=0.25, gaussian_deviation=0.15, poisson_counts=40.0),
}
"""Protocols α and β of the paper; β is its gold status."""


def turned_tile(
    voxels: np.ndarray, centre_kji: np.ndarray, rotation: np.ndarray, edge: int, outside: float
) -> np.ndarray:
    """A tile cut out of a volume in any orientation, by linear interpolation.

    Args:
        voxels: (k, j, i), any real dtype; a memory-mapped array is read only where the tile lies.
        centre_kji: continuous index that the middle of the tile comes from, (3,).
        rotation: (3, 3), turns directions of the tile into directions of the volume, (k, j, i) both.
        edge: voxels along each side of the tile.
        outside: value beyond the volume.

    Returns:
        (edge, edge, edge) float32.
    """
    middle = (edge - 1) / 2
    reach = middle * np.abs(rotation).sum(axis=1)
    limits = np.array(voxels.shape)
    low = np.clip(np.floor(centre_kji - reach).astype(int), 0, limits - 1)
    high = np.clip(np.ceil(centre_kji + reach).astype(int) + 1, low + 1, limits)
    block = np.array(voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])
    to_block = np.eye(4)
    to_block[:3, :3] = rotation[::-1, ::-1]
    to_block[:3, 3] = (centre_kji - low - rotation @ np.full(3, middle))[::-1]
    return interpolate_grid(torch.from_numpy(block), (edge,) * 3, to_block, outside).numpy()


def turned_points(points_kji: np.ndarray, centre_kji: np.ndarray, rotation: np.ndarray, edge: int) -> np.ndarray:
    """Where points of the volume, (…, 3) continuous indices, lie in the tile of `turned_tile`."""
    return (np.asarray(points_kji, float) - centre_kji) @ rotation + (edge - 1) / 2
