"""Labyrinth surfaces from files: reading, checking, and signed distances to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkCleanPolyData, vtkFeatureEdges, vtkImplicitPolyDataDistance, vtkTriangleFilter
from vtkmodules.vtkIOGeometry import vtkSTLReader
from vtkmodules.vtkIOLegacy import vtkPolyDataReader
from vtkmodules.vtkIOPLY import vtkPLYReader

from InnerEarAILib.file_names import check_name
from InnerEarAILib.phantom.given_anatomy import PLAUSIBLE_LABYRINTH_MM3
from InnerEarAILib.phantom.lattice import affine_points, interpolate
from InnerEarAILib.volume import InputError

READERS = {".ply": vtkPLYReader, ".stl": vtkSTLReader, ".vtk": vtkPolyDataReader}

DISTANCE_STEP_MM, DISTANCE_BAND_MM = 0.2, 0.7
"""Lattice of signed distances, and how far from the surface they are exact; beyond, they only tell near from far."""

DISTANCE_MARGIN_MM = 4.0
"""The lattice of distances reaches this far beyond the surface."""

PLAUSIBLE_LENGTH_MM = (10.0, 40.0)
"""Longest edge of a labyrinth's bounding box: about 20 mm; beyond this range the file is not in millimetres."""

TOLERATED_CROSSINGS = 0.002
"""Share of edges that may pierce another triangle: meshes smoothed after extraction have a few such slivers."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Signed distances to a closed surface, negative inside, on a lattice.

    Attributes:
        lattice: (1, k, j, i) float32 mm.
        origin: (3,) mm, centre of the first voxel, in the anatomy's frame.
    """

    lattice: Tensor
    origin: np.ndarray

    def at(self, points: Tensor) -> Tensor:
        """Distances (n,) mm at points (n, 3) of the anatomy's frame; far away, the distance to the lattice's edge."""
        far = torch.tensor([DISTANCE_MARGIN_MM], device=points.device)
        return interpolate(self.lattice.to(points.device), self.indices(points), far)[0]

    def indices(self, points: Tensor) -> Tensor:
        """Continuous indices (i, j, k), (n, 3), of the lattice at points (n, 3)."""
        return (points - torch.as_tensor(self.origin, dtype=torch.float32, device=points.device)) / DISTANCE_STEP_MM


def read_surface(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3) float64 and triangles (m, 3) of a mesh file, in LPS; a file that Slicer marked as RAS is turned.

    Raises:
        InputError: if the format is unknown or the file holds no surface.
    """
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path.name} is no surface file; give a PLY, STL or VTK file.")
    check_name(path)
    if not path.is_file():
        raise InputError(f"{path.name} does not exist.")
    reader = READERS[path.suffix.lower()]()
    reader.SetFileName(str(path))
    # VTK's readers would write their complaints to the terminal; the empty result says it all.
    reader.AddObserver("ErrorEvent", lambda *_: None)
    triangulate, clean = vtkTriangleFilter(), vtkCleanPolyData()
    triangulate.PassLinesOff()
    triangulate.PassVertsOff()
    triangulate.SetInputConnection(reader.GetOutputPort())
    clean.SetInputConnection(triangulate.GetOutputPort())
    clean.PointMergingOn()
    clean.Update()
    surface = clean.GetOutput()
    if surface.GetNumberOfPolys() == 0:
        raise InputError(f"{path.name} holds no surface that can be read; export the labyrinth's mesh again.")
    vertices = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    triangles = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int64)
    if not np.isfinite(vertices).all():
        raise InputError(f"{path.name} has vertices that are not numbers; export the labyrinth's mesh again.")
    with path.open("rb") as file:
        if b"SPACE=RAS" in file.read(500):
            vertices = vertices * [-1.0, -1.0, 1.0]
    if enclosed_volume(vertices, triangles) < 0:
        triangles = triangles[:, ::-1]
    return vertices, triangles


def check_surface(vertices: np.ndarray, triangles: np.ndarray, name: str) -> None:
    """Refuses a surface that bounds no labyrinth.

    Args:
        vertices: (n, 3) mm.
        triangles: (m, 3) vertex numbers.
        name: what the message calls it.

    Raises:
        InputError: with what is wrong and what to do.
    """
    length = float(np.ptp(vertices, axis=0).max())
    low, high = PLAUSIBLE_LENGTH_MM
    if not low <= length <= high:
        factors = {"metres": 1e3, "centimetres": 10.0, "microns": 1e-3}
        unit = next((u for u, factor in factors.items() if low <= length * factor <= high), None)
        advice = f"it seems to be in {unit}; scale it to millimetres" if unit else "check its unit and what it shows"
        raise InputError(f"{name} is {length:.3g} mm long where a labyrinth is about 20 mm: {advice}.")
    surface = poly_data(vertices, triangles)
    if open_edges := _count_edges(surface, boundary=True):
        raise InputError(f"{name} is not closed ({open_edges} open edges); fill its holes first.")
    if bad_edges := _count_edges(surface, boundary=False):
        raise InputError(
            f"{name} is no simple surface ({bad_edges} edges belong to more than two triangles); remesh it first."
        )
    if (crossings := crossing_edges(vertices, triangles)) > TOLERATED_CROSSINGS * 1.5 * len(triangles):
        raise InputError(f"{name} crosses itself ({crossings} edges pierce another triangle); remesh it first.")
    volume = enclosed_volume(vertices, triangles)
    low, high = PLAUSIBLE_LABYRINTH_MM3
    if not low <= volume <= high:
        raise InputError(
            f"{name} encloses {volume:.3g} mm³; a labyrinth has {low:.0f} to {high:.0f} mm³. "
            "Give the whole labyrinth's surface in millimetres."
        )


def crossing_edges(vertices: np.ndarray, triangles: np.ndarray) -> int:
    """How many edges of a mesh pierce a triangle that they share no vertex with."""
    edges = np.unique(np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    corners = vertices[triangles]
    centres = corners.mean(1)
    reach = np.linalg.norm(corners - centres[:, None], axis=2).max(1)
    middles = vertices[edges].mean(1)
    half_lengths = np.linalg.norm(np.diff(vertices[edges], axis=1)[:, 0], axis=1) / 2
    # Few triangles are much larger than the rest; the search radius of the rest is bounded without them.
    near = cKDTree(centres).query_ball_point(middles, half_lengths + np.quantile(reach, 0.999))
    counts = np.array([len(found) for found in near])
    edge_of = np.repeat(np.arange(len(edges)), counts)
    triangle_of = np.concatenate([np.asarray(found, np.int64) for found in near])
    shared = (triangles[triangle_of][:, :, None] == edges[edge_of][:, None, :]).any((1, 2))
    edge_of, triangle_of = edge_of[~shared], triangle_of[~shared]
    start, end = vertices[edges[edge_of, 0]], vertices[edges[edge_of, 1]]
    a, b, c = corners[triangle_of].swapaxes(0, 1)
    # Möller and Trumbore 1997: the segment start + t (end − start) meets a + u (b − a) + v (c − a).
    along, side_b, side_c = end - start, b - a, c - a
    across = np.cross(along, side_c)
    determinant = (side_b * across).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = ((start - a) * across).sum(1) / determinant
        second = np.cross(start - a, side_b)
        v = (along * second).sum(1) / determinant
        t = (side_c * second).sum(1) / determinant
        pierced = (u > 0) & (v > 0) & (u + v < 1) & (t > 0) & (t < 1)
    return len(np.unique(edge_of[pierced]))


def surface_distances(vertices: np.ndarray, triangles: np.ndarray) -> SurfaceDistances:
    """Signed distances to a closed surface whose triangles face outwards; exact near it, approximate far from it."""
    origin = vertices.min(0) - DISTANCE_MARGIN_MM
    counts = np.ceil((np.ptp(vertices, axis=0) + 2 * DISTANCE_MARGIN_MM) / DISTANCE_STEP_MM).astype(int) + 1
    shape = tuple(int(n) for n in counts[::-1])
    affine = np.diag([DISTANCE_STEP_MM] * 3 + [1.0])
    affine[:3, 3] = origin
    points = affine_points(shape, affine).numpy().astype(float)
    # Points on the triangles, closer together than the lattice, find what lies near the surface.
    weights = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [1 / 3] * 3])
    samples = np.einsum("wc,tcx->wtx", weights, vertices[triangles]).reshape(-1, 3)
    rough, _ = cKDTree(samples).query(points, distance_upper_bound=DISTANCE_BAND_MM, workers=2)
    near = np.isfinite(rough)
    exact = np.empty(int(near.sum()))
    implicit = vtkImplicitPolyDataDistance()
    implicit.SetInput(poly_data(vertices, triangles))
    result = numpy_to_vtk(exact)
    implicit.FunctionValue(numpy_to_vtk(np.ascontiguousarray(points[near])), result)
    distances = np.full(len(points), np.nan)
    distances[near] = vtk_to_numpy(result)
    distances = distances.reshape(shape)
    # What no band separates from the corner of the lattice is outside; the rest of the far points is inside.
    wall = np.nan_to_num(distances, nan=1.0) <= 0
    hollow, _ = ndimage.label(~wall & ~near.reshape(shape) | (distances > 0))
    outside = hollow == hollow[0, 0, 0]
    beyond = ndimage.distance_transform_edt(~near.reshape(shape), sampling=DISTANCE_STEP_MM) + DISTANCE_BAND_MM
    distances = np.where(np.isnan(distances), np.where(outside, beyond, -beyond), distances)
    return SurfaceDistances(torch.from_numpy(distances.astype(np.float32))[None], origin)


def enclosed_volume(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Volume that a closed surface encloses, mm³; negative where its triangles face inwards."""
    a, b, c = vertices[triangles].swapaxes(0, 1)
    return float((a * np.cross(b, c)).sum() / 6)


def centre_of_volume(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Centre of mass of what a closed surface encloses, (3,) mm."""
    middle = vertices.mean(0)
    a, b, c = (vertices[triangles] - middle).swapaxes(0, 1)
    volumes = (a * np.cross(b, c)).sum(1)
    return middle + ((a + b + c) * volumes[:, None]).sum(0) / (4 * volumes.sum())


def poly_data(vertices: np.ndarray, triangles: np.ndarray) -> vtkPolyData:
    """A VTK surface of vertices (n, 3) and triangles (m, 3)."""
    points, cells, surface = vtkPoints(), vtkCellArray(), vtkPolyData()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(vertices, float), deep=True))
    offsets = np.arange(0, 3 * len(triangles) + 1, 3, dtype=np.int64)
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True),
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(triangles, np.int64).ravel(), deep=True),
    )
    surface.SetPoints(points)
    surface.SetPolys(cells)
    return surface


def _count_edges(surface: vtkPolyData, boundary: bool) -> int:
    edges = vtkFeatureEdges()
    edges.SetInputData(surface)
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.SetBoundaryEdges(boundary)
    edges.SetNonManifoldEdges(not boundary)
    edges.Update()
    return edges.GetOutput().GetNumberOfCells()
