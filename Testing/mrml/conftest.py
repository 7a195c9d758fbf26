"""A host for each test, and results made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import slicer
import slicer.util

from host.runtime import Host
from InnerEarAILib.ear_result import EarResult, LandmarkResult, Quality, ScanResult, Side
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.volume import Grid, Volume

FINE_SPACING_MM = 0.5
UNCERTAINTY_LEVEL = 0.25


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture(scope="session")
def add_scan() -> Callable[..., slicer.vtkMRMLScalarVolumeNode]:
    """Adds a volume node of distinct values to the current scene: (shape_kji, ijk_to_ras, name) -> node."""

    def add(
        shape_kji: Sequence[int] = (24, 28, 32), ijk_to_ras: np.ndarray | None = None, name: str = "CT"
    ) -> slicer.vtkMRMLScalarVolumeNode:
        voxels = np.arange(np.prod(shape_kji), dtype=np.int16).reshape(shape_kji)
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) if ijk_to_ras is None else ijk_to_ras
        return slicer.util.addVolumeFromArray(voxels, affine, name)

    return add


@pytest.fixture(scope="session")
def result_for() -> Callable[..., ScanResult]:
    """Makes a result in the middle of a grid: (grid, sides, missing) -> ScanResult."""

    def make(
        grid: Grid, sides: Sequence[Side] = ("right",), missing: Sequence[str] = (), with_uncertainty: bool = True
    ) -> ScanResult:
        ears = tuple(
            _ear(side, grid.centre_lps + np.array([index * 8.0, 0, 0]), missing, with_uncertainty)
            for index, side in enumerate(sides)
        )
        provenance = {"model": "clinical", "model.version": "1.0", "seconds.predicting": 1.5, "views": 10}
        return ScanResult("CT", grid, ears, provenance, ("The GPU had too little memory; the CPU was used: slower.",))

    return make


def _ear(side: Side, centre_lps: np.ndarray, missing: Sequence[str], with_uncertainty: bool) -> EarResult:
    # On one lattice for both ears, as the segmenter has it; and of a shape that no flip leaves as it is.
    corner = np.floor(centre_lps / FINE_SPACING_MM) * FINE_SPACING_MM - 3.0
    grid = Grid.axis_aligned((11, 12, 13), FINE_SPACING_MM, corner)
    voxels = np.zeros(grid.shape, np.uint8)
    voxels[3:8, 3:6, 3:10] = 1
    voxels[3:5, 6:9, 3:5] = 1
    segmentation = Volume(voxels, grid.affine_lps)
    uncertainty = Volume(np.full(grid.shape, UNCERTAINTY_LEVEL, np.float32), grid.affine_lps)
    landmarks = tuple(
        LandmarkResult(name, None if name in missing else centre_lps + index * np.array([1, -1, 0.5]), 0.9, 0.1)
        for index, name in enumerate(LANDMARK_NAMES)
    )
    volume_mm3 = float(voxels.sum() * FINE_SPACING_MM**3)
    quality = Quality(volume_mm3, {}, 0.01, ("The labyrinth is small: 14 mm³.",))
    deviations = (uncertainty, uncertainty.with_voxels(uncertainty.voxels / 2)) if with_uncertainty else (None, None)
    return EarResult(side, segmentation, landmarks, *deviations, quality)
