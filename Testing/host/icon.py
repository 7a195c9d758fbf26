"""Draws the module's icon: the phantom's mean labyrinth with its three landmarks.

python -m host.icon InnerEarAI/Resources/Icons/InnerEarAI.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import vtk
from PIL import Image, ImageDraw
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from InnerEarAILib.labyrinth_files import SEGMENT_COLOURS
from InnerEarAILib.mrml import LANDMARK_COLOUR
from InnerEarAILib.phantom.labyrinth import Labyrinth
from InnerEarAILib.phantom.labyrinth_parameters import LabyrinthParameters

ICON_PIXELS = 128
OVERSAMPLING = 8
STEP_MM = 0.18
HALF_EXTENT_MM = 11.0
VIEW_FROM = (-1.0, -0.75, 0.45)
"""From lateral, a little from in front and above, in the phantom's frame."""


def labyrinth_surface(labyrinth: Labyrinth) -> vtk.vtkPolyData:
    """The wall of the lumen as a smooth surface, mm."""
    axis = torch.arange(-HALF_EXTENT_MM, HALF_EXTENT_MM, STEP_MM)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")[::-1], -1).reshape(-1, 3)
    distances = torch.cat([labyrinth.distances(block).union for block in points.split(200_000)])
    image = vtk.vtkImageData()
    image.SetDimensions(len(axis), len(axis), len(axis))
    image.SetSpacing(STEP_MM, STEP_MM, STEP_MM)
    image.SetOrigin(-HALF_EXTENT_MM, -HALF_EXTENT_MM, -HALF_EXTENT_MM)
    image.GetPointData().SetScalars(numpy_to_vtk(distances.numpy(), deep=True))
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.0)
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(contour.GetOutputPort())
    normals.SplittingOff()
    normals.Update()
    return normals.GetOutput()


def draw_icon(path: Path) -> None:
    """Writes the icon as PNG, 128 × 128, with a clear background."""
    labyrinth = Labyrinth(LabyrinthParameters())
    renderer = vtk.vtkRenderer()
    renderer.AddViewProp(_body(labyrinth_surface(labyrinth), SEGMENT_COLOURS["right"], opacity=1.0))
    for position in labyrinth.landmarks.values():
        ball = vtk.vtkSphereSource()
        ball.SetCenter(*position)
        ball.SetRadius(0.75)
        ball.SetThetaResolution(32)
        ball.SetPhiResolution(32)
        ball.Update()
        renderer.AddViewProp(_body(ball.GetOutput(), LANDMARK_COLOUR, opacity=1.0))
    size = ICON_PIXELS * OVERSAMPLING
    window = vtk.vtkRenderWindow()
    window.OffScreenRenderingOn()
    window.SetMultiSamples(0)
    window.SetSize(size, size)
    window.SetAlphaBitPlanes(1)
    window.AddRenderer(renderer)
    renderer.SetBackgroundAlpha(0.0)
    camera = renderer.GetActiveCamera()
    camera.SetPosition(*(100 * np.array(VIEW_FROM)))
    camera.SetViewUp(0, 0, 1)
    camera.ParallelProjectionOn()
    renderer.ResetCamera()
    camera.SetParallelScale(0.74 * camera.GetParallelScale())
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGBA()
    grab.ReadFrontBufferOff()
    window.Render()
    grab.Update()
    pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(size, size, 4)[::-1]
    icon = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    ImageDraw.Draw(icon).rounded_rectangle((0, 0, size - 1, size - 1), radius=size // 5, fill=(22, 30, 42, 255))
    icon.alpha_composite(Image.fromarray(np.ascontiguousarray(pixels), "RGBA"))
    icon.resize((ICON_PIXELS, ICON_PIXELS), Image.Resampling.LANCZOS).save(path, optimize=True)


def _body(surface: vtk.vtkPolyData, colour: tuple[float, float, float], opacity: float) -> vtk.vtkActor:
    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputData(surface)
    mapper.ScalarVisibilityOff()
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*colour)
    actor.GetProperty().SetOpacity(opacity)
    actor.GetProperty().SetSpecular(0.35)
    actor.GetProperty().SetSpecularPower(20)
    return actor


if __name__ == "__main__":
    draw_icon(Path(sys.argv[1]))
