"""Slice and 3D views of a scene, drawn off-screen by Slicer's own displayable managers.

VTK draws through EGL or OSMesa, whichever the machine has; no window and no X server is needed.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from host.runtime import Host

SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
)

SLICE_VIEWS = {
    "Axial": ("Red", (0.96, 0.31, 0.29)),
    "Sagittal": ("Yellow", (0.93, 0.84, 0.30)),
    "Coronal": ("Green", (0.43, 0.69, 0.29)),
}
"""Name and colour of Slicer's own slice views, so that a saved scene opens in them."""


@cache
def can_draw() -> bool:
    """Whether this machine has an OpenGL to draw with; asked in a process of its own, which may crash without one."""
    probe = "import vtk; w = vtk.vtkRenderWindow(); w.OffScreenRenderingOn(); w.Render(); assert w.SupportsOpenGL()"
    return subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0


class SliceView:
    """One slice view, as a Red, Yellow or Green view of the application.

    Args:
        host: its scene is shown.
        orientation: "Axial", "Coronal" or "Sagittal".
        size: pixels (width, height).
    """

    def __init__(self, host: Host, orientation: str, size: tuple[int, int] = (500, 500)) -> None:
        self._interactor, renderer = _off_screen_window(size)
        # Made by the scene, it has the scene's orientation presets.
        self.node = host.scene.CreateNodeByClass("vtkMRMLSliceNode")
        self.node.UnRegister(None)
        name, colour = SLICE_VIEWS[orientation]
        self.node.SetName(name)
        self.node.SetLayoutName(name)
        self.node = host.scene.AddNode(self.node)
        self.node.SetOrientation(orientation)
        self.node.SetLayoutColor(*colour)
        self.node.SetDimensions(*size, 1)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(host.application_logic)
        self.logic.SetMRMLScene(host.scene)
        self.logic.SetSliceNode(self.node)
        host.application_logic.GetSliceLogics().AddItem(self.logic)
        self.composite = self.logic.GetSliceCompositeNode()

        # The application's slice widget shows the blended layers through an image mapper; this is the same.
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        picture = vtk.vtkActor2D()
        picture.SetMapper(self._mapper)
        picture.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(picture)
        self._managers = _displayable_managers(SLICE_MANAGERS, renderer, self.node)

    def look_at(self, centre_ras: np.ndarray, field_of_view_mm: float) -> None:
        """Centres the view on a point and shows so many millimetres across its shorter side."""
        width, height = self.node.GetDimensions()[:2]
        scale = field_of_view_mm / min(width, height)
        self.node.SetFieldOfView(width * scale, height * scale, self.node.GetFieldOfView()[2])
        self.node.JumpSliceByCentering(*centre_ras)

    def picture(self) -> np.ndarray:
        """What the view shows, (height, width, 3) uint8, top row first."""
        self.logic.UpdatePipeline()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        return _pixels(self._interactor.GetRenderWindow())


class ThreeDView:
    """A 3D view of the scene.

    Args:
        host: its scene is shown.
        size: pixels (width, height).
    """

    def __init__(self, host: Host, size: tuple[int, int] = (500, 500)) -> None:
        self._interactor, self.renderer = _off_screen_window(size)
        # Depth peeling sorts translucent surfaces; it loses them when several samples a pixel are taken.
        self.renderer.UseDepthPeelingOn()
        self.renderer.GetRenderWindow().AlphaBitPlanesOn()
        self.node = slicer.vtkMRMLViewNode()
        self.node.SetName("View1")
        self.node.SetLayoutName("1")
        self.node = host.scene.AddNode(self.node)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self._managers = _displayable_managers(THREE_D_MANAGERS, self.renderer, self.node)

    def look_at(
        self, centre_ras: np.ndarray, from_ras: np.ndarray, up_ras: np.ndarray, field_of_view_mm: float
    ) -> None:
        """Looks at a point from a direction, with so many millimetres in the picture's height (parallel projection)."""
        camera = self.renderer.GetActiveCamera()
        direction = np.asarray(from_ras, float) / np.linalg.norm(from_ras)
        camera.SetFocalPoint(*centre_ras)
        camera.SetPosition(*(np.asarray(centre_ras) + 4 * field_of_view_mm * direction))
        camera.SetViewUp(*up_ras)
        camera.ParallelProjectionOn()
        camera.SetParallelScale(field_of_view_mm / 2)
        self.renderer.ResetCameraClippingRange()

    def picture(self) -> np.ndarray:
        """What the view shows, (height, width, 3) uint8, top row first."""
        return _pixels(self._interactor.GetRenderWindow())


def _off_screen_window(size: tuple[int, int]) -> tuple[vtk.vtkRenderWindowInteractor, vtk.vtkRenderer]:
    window = vtk.vtkRenderWindow()
    window.OffScreenRenderingOn()
    window.SetMultiSamples(0)
    window.SetDPI(72)
    window.SetSize(*size)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    # Markups are not drawn in a window without an interactor, and the window does not keep its own alive.
    interactor = vtk.vtkGenericRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    return interactor, renderer


def _displayable_managers(
    names: tuple[str, ...], renderer: vtk.vtkRenderer, node: slicer.vtkMRMLAbstractViewNode
) -> slicer.vtkMRMLDisplayableManagerGroup:
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(renderer)
    for name in names:
        manager = getattr(slicer, name)()
        manager.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        group.AddDisplayableManager(manager)
    group.SetMRMLDisplayableNode(node)
    return group


def _pixels(window: vtk.vtkRenderWindow) -> np.ndarray:
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return np.ascontiguousarray(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3])
