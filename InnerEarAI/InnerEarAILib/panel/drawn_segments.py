"""What a segment's voxels take up, and whether they are still those that a run drew."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

SAME_PLACE_MM = 1e-3
"""What lies less far apart is at the same place: saved scenes round."""


@dataclass(frozen=True)
class DrawnSegment:
    """A segment as it is drawn.

    Attributes:
        volume_mm3: of its voxels; 0 where it is empty or was deleted.
        sha256: of its voxels, cut as close as they allow; "" where there are none.
        first_voxel_ras: 4 x 4, from voxels to RAS, counted from the first voxel of that cut, row by row.
    """

    volume_mm3: float = 0.0
    sha256: str = ""
    first_voxel_ras: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DrawnSegment:
        """From what to_dict gave."""
        return cls(values["volume_mm3"], values["sha256"], tuple(values["first_voxel_ras"]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    def moved(self, motion_ras: np.ndarray) -> DrawnSegment:
        """The same voxels after a rigid motion, (4, 4)."""
        if not self.sha256:
            return self
        first_voxel_ras = motion_ras @ np.reshape(self.first_voxel_ras, (4, 4))
        return DrawnSegment(self.volume_mm3, self.sha256, tuple(first_voxel_ras.ravel().tolist()))

    def is_as(self, other: DrawnSegment) -> bool:
        """Whether both have the same voxels at the same places."""
        return self.sha256 == other.sha256 and np.allclose(
            self.first_voxel_ras, other.first_voxel_ras, rtol=0, atol=SAME_PLACE_MM
        )


def drawn_segment(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> DrawnSegment:
    """A segment as it is now, without the transforms above it."""
    if node.GetSegmentation().GetSegment(segment_id) is None:
        return DrawnSegment()
    labels = slicer.vtkOrientedImageData()
    _with_voxels(node).GetBinaryLabelmapRepresentation(segment_id, labels)
    scalars = labels.GetPointData().GetScalars()
    if scalars is None:
        return DrawnSegment()
    voxels = vtk_to_numpy(scalars).reshape(labels.GetDimensions()[::-1]) > 0
    lines = [np.flatnonzero(voxels.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if len(lines[0]) == 0:
        return DrawnSegment()
    tight = np.ascontiguousarray(voxels[tuple(slice(line[0], line[-1] + 1) for line in lines)])
    to_ras = vtk.vtkMatrix4x4()
    labels.GetImageToWorldMatrix(to_ras)
    affine = slicer.util.arrayFromVTKMatrix(to_ras)
    first_ijk = np.array([line[0] for line in lines[::-1]]) + labels.GetExtent()[::2]
    affine[:3, 3] += affine[:3, :3] @ first_ijk
    digest = hashlib.sha256(repr(tight.shape).encode() + np.packbits(tight).tobytes()).hexdigest()
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    return DrawnSegment(np.count_nonzero(tight) * voxel_mm3, digest, tuple(affine.ravel().tolist()))


def _with_voxels(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationNode:
    """A node itself, or a copy outside the scene where the user has made surfaces of it alone: they stay so."""
    voxels = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if node.GetSegmentation().ContainsRepresentation(voxels):
        return node
    segmentation = slicer.vtkSegmentation()
    segmentation.DeepCopy(node.GetSegmentation())
    copy = slicer.vtkMRMLSegmentationNode()
    copy.SetAndObserveSegmentation(segmentation)
    copy.CreateBinaryLabelmapRepresentation()
    return copy
