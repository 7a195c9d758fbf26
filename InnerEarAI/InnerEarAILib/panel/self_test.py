"""A scan and a result made in memory, without a network: what the module's self test looks at where PyTorch is not."""

from __future__ import annotations

import numpy as np

from InnerEarAILib.ear_result import EarResult, LandmarkResult, Quality, ScanResult, Side
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.progress import Progress
from InnerEarAILib.segmenter_options import SegmenterOptions
from InnerEarAILib.volume import Grid, Volume

SCAN_SHAPE_KJI, SCAN_SPACING_MM = (30, 32, 40), 0.9
RESULT_SPACING_MM = 0.5

CENTRES_LPS = {"right": np.array([-8.0, 0.0, 0.0]), "left": np.array([8.0, 0.0, 0.0])}
"""Middles of the ears; the scan's own is at 0."""

RADIUS_MM = 3.0
CONFIDENCE = 0.9


def empty_scan() -> Volume:
    """Voxels of 0, int16, large enough for two ears."""
    corner = -(np.array(SCAN_SHAPE_KJI[::-1]) - 1) / 2 * SCAN_SPACING_MM
    grid = Grid.axis_aligned(SCAN_SHAPE_KJI, SCAN_SPACING_MM, corner)
    return Volume(np.zeros(grid.shape, np.int16), grid.affine_lps, "self test")


def segment_without_network(volume: Volume, options: SegmenterOptions, progress: Progress) -> ScanResult:
    """Two balls for ears, whatever the scan; takes the place of segmenter.segment."""
    del options
    progress.step("Drawing balls", 1.0)
    return ScanResult(
        volume.name, volume.grid, tuple(_ball(side) for side in ("right", "left")), {"model": "none", "views": 10}
    )


def _ball(side: Side) -> EarResult:
    centre_lps = CENTRES_LPS[side]
    grid = Grid.cube_round(centre_lps, RESULT_SPACING_MM, 17)
    k, j, i = np.indices(grid.shape)
    places_lps = grid.to_lps(np.stack([i, j, k], -1))
    ball = np.linalg.norm(places_lps - centre_lps, axis=-1) <= RADIUS_MM
    deviation = Volume(np.full(grid.shape, 0.25, np.float32), grid.affine_lps)
    landmarks = tuple(
        LandmarkResult(name, centre_lps + np.array([0, 0, number]), CONFIDENCE, 0.1)
        for number, name in enumerate(LANDMARK_NAMES)
    )
    quality = Quality(float(np.count_nonzero(ball) * RESULT_SPACING_MM**3), {}, 0.01)
    return EarResult(side, Volume(ball.astype(np.uint8), grid.affine_lps), landmarks, deviation, deviation, quality)
