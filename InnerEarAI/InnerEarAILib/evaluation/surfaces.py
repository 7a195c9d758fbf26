"""A result against the truth as surfaces, like Fig. 4 of Stebani et al. 2023; drawn off-screen with VTK."""

from __future__ import annotations

import base64
import subprocess
import sys
from functools import cache
from html import escape

import numpy as np

from InnerEarAILib.ear_result import EarResult
from InnerEarAILib.evaluation.cases import EvaluationCase
from InnerEarAILib.evaluation.comparison import comparison_masks
from InnerEarAILib.preprocessing import PAPER_VOXEL_MM

TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE = (0.25, 0.68, 0.32), (0.98, 0.82, 0.15), (0.86, 0.16, 0.16)
TRUE_LANDMARK, FOUND_LANDMARK = (0.20, 0.42, 0.90), (0.10, 0.10, 0.12)

SPHERE_VOXELS = 10
"""Radius of the spheres round the true landmarks, in voxels of 0.099 mm: the paper's yardstick."""

FOUND_RADIUS_MM = 0.25
PIXELS = (640, 560)


@cache
def can_draw() -> bool:
    """Whether VTK is here and finds an OpenGL to draw with; asked in a process of its own, which may crash."""
    probe = "import vtk; w = vtk.vtkRenderWindow(); w.OffScreenRenderingOn(); w.Render(); assert w.SupportsOpenGL()"
    return subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0


def surface_picture(case: EvaluationCase, found: EarResult) -> bytes:
    """The picture of a case's only ear as PNG.

    Green is labyrinth that was found, yellow labyrinth that was missed, red what is none. Blue spheres of SPHERE_VOXELS
    mark the true landmarks, dark ones those found. Needs `can_draw`.
    """
    import vtk

    (true_ear,) = case.ears
    grid, here, truth = comparison_masks(true_ear, found)
    renderer = vtk.vtkRenderer()
    renderer.SetBackground(1, 1, 1)
    parts = ((here & truth, TRUE_POSITIVE), (truth & ~here, FALSE_NEGATIVE), (here & ~truth, FALSE_POSITIVE))
    for mask, colour in parts:
        if mask.any():
            renderer.AddActor(_surface(mask, grid.affine_lps, colour))
    for place in true_ear.landmarks.values():
        renderer.AddActor(_sphere(place, SPHERE_VOXELS * PAPER_VOXEL_MM, TRUE_LANDMARK, 0.55))
    for landmark in found.landmarks:
        if landmark.position_lps is not None:
            renderer.AddActor(_sphere(landmark.position_lps, FOUND_RADIUS_MM, FOUND_LANDMARK, 1.0))
    middle = grid.to_lps(np.argwhere(truth).mean(0)[::-1])
    return _rendered(renderer, middle, -1.0 if true_ear.side == "right" else 1.0)


def embedded(png: bytes, caption: str, width: int = PIXELS[0] // 2) -> str:
    """A PNG picture as HTML that needs no file beside it, `width` pixels wide on the page."""
    data, said = base64.b64encode(png).decode(), escape(caption)
    return f'<img src="data:image/png;base64,{data}" alt="{said}" width="{width}"><p class=note>{said}</p>'


def _surface(mask: np.ndarray, affine_lps: np.ndarray, colour: tuple[float, float, float]):
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    padded = np.pad(mask, 1).astype(np.uint8)  # a surface must not end at the border
    image = vtk.vtkImageData()
    image.SetDimensions(*padded.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(padded.ravel(), deep=True))
    edges = vtk.vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    smoothed = vtk.vtkWindowedSincPolyDataFilter()
    smoothed.SetInputConnection(edges.GetOutputPort())
    smoothed.SetNumberOfIterations(12)
    smoothed.SetPassBand(0.12)
    placed = vtk.vtkTransform()
    matrix = affine_lps.copy()
    matrix[:3, 3] -= affine_lps[:3, :3].sum(axis=1)  # of the padding
    placed.SetMatrix(matrix.ravel().tolist())
    moved = vtk.vtkTransformPolyDataFilter()
    moved.SetTransform(placed)
    moved.SetInputConnection(smoothed.GetOutputPort())
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(moved.GetOutputPort())
    normals.AutoOrientNormalsOn()
    return _actor(normals, colour, 1.0)


def _sphere(centre: np.ndarray, radius_mm: float, colour: tuple[float, float, float], opacity: float):
    import vtk

    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(*centre)
    sphere.SetRadius(radius_mm)
    sphere.SetThetaResolution(32)
    sphere.SetPhiResolution(32)
    return _actor(sphere, colour, opacity)


def _actor(source, colour: tuple[float, float, float], opacity: float):
    import vtk

    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputConnection(source.GetOutputPort())
    mapper.ScalarVisibilityOff()
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*colour)
    actor.GetProperty().SetOpacity(opacity)
    return actor


def _rendered(renderer, middle: np.ndarray, lateral: float) -> bytes:
    """The scene seen from the side of the head, a little from the front and above."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    # Without a window system VTK warns, and draws all the same.
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    window = vtk.vtkRenderWindow()
    window.OffScreenRenderingOn()
    window.SetSize(*PIXELS)
    window.SetMultiSamples(8)
    window.AddRenderer(renderer)
    camera = renderer.GetActiveCamera()
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle + np.array([lateral, -0.6, 0.5])))
    camera.SetViewUp(0, 0, 1)
    renderer.ResetCamera()
    camera.Zoom(1.35)
    renderer.ResetCameraClippingRange()
    window.Render()
    capture = vtk.vtkWindowToImageFilter()
    capture.SetInput(window)
    capture.ReadFrontBufferOff()
    writer = vtk.vtkPNGWriter()
    writer.SetInputConnection(capture.GetOutputPort())
    writer.WriteToMemoryOn()
    writer.Write()
    png = vtk_to_numpy(writer.GetResult()).tobytes()
    window.Finalize()
    return png
