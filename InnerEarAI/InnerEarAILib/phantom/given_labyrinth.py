"""The anatomy of a given labyrinth alone: a closed surface, or a label map of its parts, put into bone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

from InnerEarAILib.ear_result import Side
from InnerEarAILib.phantom.anatomy import NO_PART, Anatomy, PhantomEar, Rendering
from InnerEarAILib.phantom.given_anatomy import (
    CAPSULE_HOUNSFIELD,
    CAPSULE_THICKNESS_MM,
    FLUID_HOUNSFIELD,
    LABYRINTH_FADE_MM,
    SMOOTHING_VOXELS,
    check_landmarks,
    check_volume,
    frame_to_lps,
    right_ear,
)
from InnerEarAILib.phantom.given_surface import (
    DISTANCE_STEP_MM,
    SurfaceDistances,
    centre_of_volume,
    check_surface,
    enclosed_volume,
    read_surface,
    surface_distances,
)
from InnerEarAILib.phantom.lattice import affine_points
from InnerEarAILib.phantom.temporal_bone import TemporalBone
from InnerEarAILib.volume import InputError, Volume

BONE_HOUNSFIELD = 1350.0
"""CT number of the petrous bone round the otic capsule."""

WALL_MM, WINDOW_RADIUS_MM = 0.9, 1.4
"""A given labyrinth gets at least this much bone round it in another ear's temporal bone, except at its windows."""


@dataclass(frozen=True)
class GivenLabyrinthAnatomy:
    """A given labyrinth in bone: a plain block of it, or the temporal bone of a host anatomy.

    Attributes:
        ears: the one labyrinth, as a right ear.
        distances: to its surface.
        parts: (1, k, j, i) uint8 on the lattice of the distances, part of each point; None where parts are not known.
        host: temporal bone that gives everything else, its own labyrinth filled in; None for a plain block of bone.
        fluid_hounsfield: CT number of the lumen.
    """

    ears: tuple[PhantomEar, ...]
    distances: SurfaceDistances
    parts: Tensor | None = None
    host: Anatomy | None = None
    fluid_hounsfield: float = FLUID_HOUNSFIELD

    def render(self, points: Tensor, edge_mm: float) -> Rendering:
        """Samples the labyrinth and what lies round it; see Anatomy.render."""
        distance = self.distances.at(points)
        lumen = (0.5 - distance / edge_mm).clamp(0, 1)
        bone = BONE_HOUNSFIELD + (CAPSULE_HOUNSFIELD - BONE_HOUNSFIELD) * (
            (CAPSULE_THICKNESS_MM + LABYRINTH_FADE_MM - distance) / LABYRINTH_FADE_MM
        ).clamp(0, 1)
        if self.host is not None:
            bone = self._in_host(points, edge_mm, distance, bone)
        return Rendering(lumen * self.fluid_hounsfield + (1 - lumen) * bone, lumen, self._part(points, distance))

    def _part(self, points: Tensor, distance: Tensor) -> Tensor:
        part = torch.full(distance.shape, NO_PART, dtype=torch.uint8, device=points.device)
        if self.parts is not None:
            inside = distance < 0
            nearest = self.distances.indices(points[inside]).round().long()
            part[inside] = self.parts.to(points.device)[0][nearest[:, 2], nearest[:, 1], nearest[:, 0]]
        return part

    def _in_host(self, points: Tensor, edge_mm: float, distance: Tensor, bone: Tensor) -> Tensor:
        drawn = self.host.render(points, edge_mm)
        # The host's own lumen becomes bone: what it shows there is lumen to the share that it says.
        share = drawn.labyrinth
        filled = drawn.hounsfield + share * (CAPSULE_HOUNSFIELD - self.fluid_hounsfield)
        # Within the lumen's label the host may show bone already: its spiral lamina.
        around = torch.where(share > 0, filled.clamp(max=CAPSULE_HOUNSFIELD), filled)
        wall = ((WALL_MM - distance) / 0.3).clamp(0, 1)
        for name in ("oval window", "round window"):
            if name in self.ears[0].landmarks:
                place = torch.as_tensor(self.ears[0].landmarks[name], dtype=torch.float32, device=points.device)
                wall = wall * (((points - place).norm(dim=1) - WINDOW_RADIUS_MM) / 0.3).clamp(0, 1)
        return torch.where(around < bone, around + wall * (bone - around), around)


def anatomy_from_mesh(
    path: Path, landmarks_lps: Mapping[str, np.ndarray], side: Side, host: Anatomy | None = None
) -> GivenLabyrinthAnatomy:
    """The anatomy of a labyrinth surface.

    Args:
        path: PLY, STL or VTK file of a closed surface, LPS mm.
        landmarks_lps: (3,) LPS mm by name of landmarks.LANDMARK_NAMES; may be empty.
        side: side of the ear.
        host: temporal bone (a right ear) to put it into; the labyrinths are laid upon each other by their landmarks.
            None gives a plain block of bone.

    Raises:
        InputError: if the file cannot be read, the surface is open, crosses itself, or has an impossible size, or a
            landmark lies far from it.
    """
    vertices, triangles = read_surface(path)
    check_surface(vertices, triangles, path.name)
    check_landmarks(landmarks_lps, vertices)
    return _placed(vertices, triangles, landmarks_lps, side, host, None)


def anatomy_from_labyrinth_labels(
    labels: Volume, landmarks_lps: Mapping[str, np.ndarray], side: Side, host: Anatomy | None = None
) -> GivenLabyrinthAnatomy:
    """The anatomy of a label map that holds a labyrinth and nothing else.

    Args:
        labels: 0 background, and the values of anatomy.COCHLEA, VESTIBULE and CANALS; or a single other value for the
            whole labyrinth, whose parts are then not known.
        landmarks_lps, side, host: as for `anatomy_from_mesh`.

    Raises:
        InputError: if there is no labyrinth, it has an impossible size, or a landmark lies far from it.
    """
    is_labyrinth = labels.voxels > 0
    if not is_labyrinth.any():
        raise InputError("The label map is empty: all of its voxels are 0. Give the labyrinth a label.")
    values = np.unique(labels.voxels[is_labyrinth]).tolist()
    if len(values) > 1 and max(values) > 3:
        raise InputError(
            f"The label map holds the labels {values}; a labyrinth has 1 cochlea, 2 vestibule, 3 canals. "
            "For a whole temporal bone, say which tissue each label is (--tissues)."
        )
    check_volume(is_labyrinth.sum() * float(labels.spacing_mm.prod()))
    padded = np.pad(is_labyrinth.astype(np.float32), 2)
    smoothed = ndimage.gaussian_filter(padded, SMOOTHING_VOXELS)
    image, contour = vtkImageData(), vtkFlyingEdges3D()
    image.SetDimensions(smoothed.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(smoothed.ravel(), deep=True))
    contour.SetInputData(image)
    contour.SetValue(0, 0.5)
    contour.ComputeNormalsOff()
    contour.Update()
    found = contour.GetOutput()
    vertices = labels.grid.to_lps(vtk_to_numpy(found.GetPoints().GetData()).astype(float) - 2)
    triangles = vtk_to_numpy(found.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int64)
    if enclosed_volume(vertices, triangles) < 0:
        triangles = triangles[:, ::-1]
    check_landmarks(landmarks_lps, vertices)
    return _placed(vertices, triangles, landmarks_lps, side, host, labels if len(values) > 1 else None)


def _placed(
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmarks_lps: Mapping[str, np.ndarray],
    side: Side,
    host: Anatomy | None,
    labels: Volume | None,
) -> GivenLabyrinthAnatomy:
    to_frame = np.linalg.inv(frame_to_lps(centre_of_volume(vertices, triangles), side))
    ear = right_ear(landmarks_lps, np.linalg.inv(to_frame))
    if side == "left":
        triangles = triangles[:, ::-1]
    if host is not None:
        onto_host = _onto(ear, host.ears[0], _moved(vertices, to_frame).mean(0))
        to_frame = onto_host @ to_frame
        ear = PhantomEar("right", {name: _moved(p, onto_host) for name, p in ear.landmarks.items()}, {})
    distances = surface_distances(_moved(vertices, to_frame), triangles)
    parts = None if labels is None else _parts_on(distances, labels, np.linalg.inv(to_frame))
    # A host's lumen holds what its state says: air in a dry specimen.
    fluid = host.parameters.tissue.fluid if isinstance(host, TemporalBone) else FLUID_HOUNSFIELD
    return GivenLabyrinthAnatomy((ear,), distances, parts, host, fluid)


def _parts_on(distances: SurfaceDistances, labels: Volume, to_lps: np.ndarray) -> Tensor:
    """Part of each point of the distances' lattice: that of the nearest labelled voxel."""
    nearest = ndimage.distance_transform_edt(
        labels.voxels == 0, sampling=labels.spacing_mm[::-1], return_distances=False, return_indices=True
    )
    filled = labels.voxels[tuple(nearest)]
    shape = tuple(distances.lattice.shape[1:])
    affine = np.diag([DISTANCE_STEP_MM] * 3 + [1.0])
    affine[:3, 3] = distances.origin
    indices = labels.grid.to_indices(affine_points(shape, to_lps @ affine).numpy())
    i, j, k = np.clip(np.rint(indices).astype(int), 0, np.array(labels.voxels.shape[::-1]) - 1).T
    return torch.from_numpy(filled[k, j, i].astype(np.uint8).reshape(1, *shape))


def _moved(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return points @ affine[:3, :3].T + affine[:3, 3]


def _onto(ear: PhantomEar, host: PhantomEar, centre: np.ndarray) -> np.ndarray:
    """(4, 4) motion that lays an ear's landmarks upon the host's; without landmarks, the centres."""
    names = [name for name in host.landmarks if name in ear.landmarks]
    if len(names) < 3:
        affine = np.eye(4)
        affine[:3, 3] = np.mean(list(host.landmarks.values()), 0) - centre
        return affine
    own, wanted = (np.array([one.landmarks[name] for name in names]) for one in (ear, host))
    # Kabsch 1976: the rotation of least squares from the singular vectors of the covariance.
    left, _, right = np.linalg.svd((own - own.mean(0)).T @ (wanted - wanted.mean(0)))
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(right.T @ left.T))])
    affine = np.eye(4)
    affine[:3, :3] = right.T @ proper @ left.T
    affine[:3, 3] = wanted.mean(0) - affine[:3, :3] @ own.mean(0)
    return affine
