"""How a scan was moved since a run, as by a registration: results that were moved along keep their place in it."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import slicer
import slicer.util
import vtk

from InnerEarAILib.mrml import RAS_FROM_LPS, volume_from_node
from InnerEarAILib.volume import Grid, InputError

RIGID_WITHIN = 1e-5
"""How far from perpendicular a motion's axes may be, and from length 1: saved scenes round."""


def frame_of(grid: Grid) -> np.ndarray:
    """A scan's own axes, from the middle of its grid: (4, 4), to RAS, right-handed.

    When a scene is read again, Slicer may turn the slices of a left-handed scan round; this frame stays.
    """
    frame = RAS_FROM_LPS @ grid.affine_lps
    frame[:3, 3] = RAS_FROM_LPS[:3, :3] @ grid.centre_lps
    if np.linalg.det(frame[:3, :3]) < 0:
        frame[:3, 2] *= -1
    return frame


def motions_since(frame: np.ndarray, scan: slicer.vtkMRMLScalarVolumeNode | None) -> list[np.ndarray]:
    """The rigid motions (4, 4), in RAS, that a scan has made since it had a frame.

    In the world and, since what is moved along may be hardened where the scan is not yet, without the transforms above
    it. A scan that was deformed or deleted has made none.
    """
    if scan is None or scan.GetImageData() is None:
        return []
    grids = [_grid_below_transforms(scan)]
    with suppress(InputError):
        grids.append(volume_from_node(scan).grid)
    motions = [frame_of(grid) @ np.linalg.inv(frame) for grid in grids]
    return [motion for motion in motions if _is_rigid(motion)]


def _grid_below_transforms(scan: slicer.vtkMRMLScalarVolumeNode) -> Grid:
    to_ras = vtk.vtkMatrix4x4()
    scan.GetIJKToRASMatrix(to_ras)
    return Grid(scan.GetImageData().GetDimensions()[::-1], RAS_FROM_LPS @ slicer.util.arrayFromVTKMatrix(to_ras))


def _is_rigid(motion: np.ndarray) -> bool:
    return np.allclose(motion[:3, :3].T @ motion[:3, :3], np.eye(3), rtol=0, atol=RIGID_WITHIN)
