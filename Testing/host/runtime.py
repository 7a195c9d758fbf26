"""A MRML scene with the logics that 3D Slicer would give it."""

from __future__ import annotations

import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import slicer
import slicer.util
import vtk

from host.application import Application
from host.scripted_modules import install_stand_ins

install_stand_ins()

MODULE_LOGICS = {
    "Units": "vtkSlicerUnitsLogic",
    "Colors": "vtkSlicerColorLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
}
"""Logics by their module's name; `slicer.modules` has them in lower case. Segmentations brings the conversion rules."""


class Host:
    """A scene, its logics, and `slicer.mrmlScene`, `slicer.modules`, `slicer.app` set to them.

    One host is current at a time: a new one replaces what the `slicer` module shows of the last.

    Usage::

        host = Host()
        volume_node = slicer.util.loadVolume("scan.nrrd")
    """

    def __init__(self) -> None:
        # Headless, VTK warns of every X server that is not there before it takes another way to draw.
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_ERROR)
        self.scene = slicer.vtkMRMLScene()
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self._set_up_cache()
        self._set_up_views()
        with _missing_share_folder():
            self.module_logics = {name: self._start_logic(name, kind) for name, kind in MODULE_LOGICS.items()}
            self.application_logic.SetColorLogic(self.module_logics["Colors"])
            self.application_logic.GetColorLogic().AddDefaultColorNodes()
        # In the application a Qt plugin keeps a subject-hierarchy item for every node.
        self.scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, self._add_hierarchy_item)
        self.scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._remove_hierarchy_item)
        self._become_current()

    def _set_up_cache(self) -> None:
        # A scene bundle (.mrb) is unpacked here.
        self._cache_folder = tempfile.TemporaryDirectory(prefix="slicer-cache-")
        cache = slicer.vtkCacheManager()
        cache.SetRemoteCacheDirectory(self._cache_folder.name)
        files = slicer.vtkDataIOManager()
        files.SetCacheManager(cache)
        self.scene.SetCacheManager(cache)
        self.scene.SetDataIOManager(files)

    def _set_up_views(self) -> None:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        self.application_logic.SetMRMLScene(self.scene)
        self.application_logic.SetSliceLogics(vtk.vtkCollection())
        self.application_logic.SetViewLogics(vtk.vtkCollection())
        for factory in (
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(self.application_logic)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)

    def _start_logic(self, name: str, kind: str) -> slicer.vtkMRMLAbstractLogic:
        logic = getattr(slicer, kind)()
        logic.SetMRMLApplicationLogic(self.application_logic)
        logic.SetMRMLScene(self.scene)
        self.application_logic.SetModuleLogic(name, logic)
        return logic

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _add_hierarchy_item(self, scene: slicer.vtkMRMLScene, event: int, node: slicer.vtkMRMLNode) -> None:
        del event
        if scene.IsImporting() or node.GetHideFromEditors() or not node.IsA("vtkMRMLDisplayableNode"):
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        if hierarchy and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _remove_hierarchy_item(self, scene: slicer.vtkMRMLScene, event: int, node: slicer.vtkMRMLNode) -> None:
        del event
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        item = hierarchy.GetItemByDataNode(node) if hierarchy and not scene.IsClosing() else 0
        if item:
            hierarchy.RemoveItem(item, False, False)

    def _become_current(self) -> None:
        slicer.mrmlScene = self.scene
        slicer.modules = types.SimpleNamespace(
            **{
                name.lower(): types.SimpleNamespace(logic=lambda logic=logic: logic)
                for name, logic in self.module_logics.items()
            }
        )
        slicer.app = Application(self.scene, self.application_logic)
        # The wheel shows all of slicer.util in `slicer`, where the application does not: code that relies on it
        # must fail here too.
        for name in vars(slicer.util):
            if not name.startswith("_") and getattr(slicer, name, None) is getattr(slicer.util, name):
                delattr(slicer, name)


@contextmanager
def _missing_share_folder() -> Iterator[None]:
    """Silences the logics' start: colour tables and terminologies lie in the application's share folder, not here."""
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(0)
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(shown)


def module_folder() -> Path:
    """The folder of the Slicer module, which the application puts on Python's path."""
    return Path(__file__).resolve().parents[2] / "InnerEarAI"
