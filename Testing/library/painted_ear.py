"""A scan in which the answer is painted in grey values, and a network that reads them: the route without training.

The ear is a body of value 300 in bone of value 1500, with a ball of 600, 900 and 1200 at each landmark and air (0) far
round it, defined in physical space and so exact on any grid.
"""

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import nn
from torch.nn import functional

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.networks.network_output import NetworkOutput
from InnerEarAILib.volume import Grid, Volume

BONE, BODY, BALLS = 1500.0, 300.0, (600.0, 900.0, 1200.0)
BALL_RADIUS_MM = 1.5
EDGE_MM = 0.6
RIGHT_LANDMARKS = np.array([[4.6, -5.6, 0.3], [0.0, 0.0, 0.0], [1.2, 0.0, -2.7]])
BODY_SPHERES = (((3.8, 1.2, 1.8), 3.2), ((3.6, -1.6, 0.8), 2.8), ((4.0, 4.0, 3.4), 2.5))
AIR_BEYOND_MM = 14.0


class PaintedEar:
    """A right ear, or its mirror image, anywhere in space."""

    def __init__(self, side="right", centre_lps=(0.0, 0.0, 0.0), angles_degrees=(0.0, 0.0, 0.0)):
        self.mirror = np.array([1.0 if side == "right" else -1.0, 1, 1])
        self.side = side
        self.rotation = Rotation.from_euler("xyz", angles_degrees, degrees=True)
        self.centre = np.asarray(centre_lps, float)

    def to_lps(self, points):
        return self.rotation.apply(np.asarray(points) * self.mirror) + self.centre

    @property
    def landmarks(self):
        return dict(zip(LANDMARK_NAMES, self.to_lps(RIGHT_LANDMARKS), strict=True))

    def values(self, points_lps):
        """Grey values (n,) at points (n, 3)."""
        own = self.rotation.inv().apply(points_lps - self.centre) * self.mirror
        grey = _blend(
            np.full(len(own), BONE), 0.0, np.linalg.norm(own - (3, 0, 0), axis=1) - AIR_BEYOND_MM, outside=True
        )
        body = np.min([np.linalg.norm(own - c, axis=1) - r for c, r in BODY_SPHERES], axis=0)
        grey = _blend(grey, BODY, body)
        for position, value in zip(RIGHT_LANDMARKS, BALLS, strict=True):
            grey = _blend(grey, value, np.linalg.norm(own - position, axis=1) - BALL_RADIUS_MM)
        return grey

    def near(self, points_lps):
        return np.linalg.norm(points_lps - self.to_lps([(3.0, 0, 0)])[0], axis=1) < AIR_BEYOND_MM + 2


def _blend(grey, value, distance, outside=False):
    share = 1 / (1 + np.exp(np.clip(4 * distance / EDGE_MM, -50, 50)))
    return grey + (value - grey) * (1 - share if outside else share)


def scan(ears, grid: Grid, name="painted") -> Volume:
    """The ears on a grid, air elsewhere, int16."""
    k, j, i = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    points = grid.to_lps(np.stack([i, j, k], -1).reshape(-1, 3))
    grey = np.zeros(len(points))
    for ear in ears:
        near = ear.near(points)
        grey[near] = ear.values(points[near])
    return Volume(grey.reshape(grid.shape).round().astype(np.int16), grid.affine_lps, name)


def grid_round(centre_lps, spacing_mm, extent_mm, angles_degrees=(0, 0, 0), signs=(1, 1, 1)) -> Grid:
    """A grid of any orientation, spacing and handedness, centred on a point."""
    spacing = np.broadcast_to(np.asarray(spacing_mm, float), 3)
    counts = np.ceil(np.asarray(extent_mm) / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles_degrees, degrees=True).as_matrix() * np.array(signs) * spacing
    affine[:3, 3] = np.asarray(centre_lps) - affine[:3, :3] @ ((counts - 1) / 2)
    return Grid(tuple(counts[::-1]), affine)


class ReadingNetwork(nn.Module):
    """Knows nothing of anatomy: marks where the grey value is the body's, and where it is each ball's."""

    def forward(self, image):
        low, high = image.amin((1, 2, 3, 4), keepdim=True), image.amax((1, 2, 3, 4), keepdim=True)
        grey = (image - low) / (high - low).clamp(min=1e-6) * BONE
        # Edges pass through every value, but thinly: the mean over a neighbourhood tells a body from an edge.
        body = functional.avg_pool3d(_band(grey, BODY, 350), 3, 1, 1)
        heatmaps = [_smoothed(_band(grey, value, 130)) for value in BALLS]
        return NetworkOutput(20 * (body - 0.5), torch.cat(heatmaps, 1), (), ())


def _band(grey, value, width):
    return (1 - (grey - value).abs() / width).clamp(min=0)


def _smoothed(response):
    for _ in range(3):
        response = functional.avg_pool3d(response, 5, 1, 2)
    return 4 * response
