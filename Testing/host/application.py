"""Stand-in for `slicer.app`, as far as slicer.util and the module ask for it: files in and out, and a few answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import slicer
import vtk

FILE_TYPES = {
    ".nrrd": "VolumeFile",
    ".nhdr": "VolumeFile",
    ".nii": "VolumeFile",
    ".nii.gz": "VolumeFile",
    ".mha": "VolumeFile",
    ".mhd": "VolumeFile",
    ".seg.nrrd": "SegmentationFile",
    ".mrk.json": "MarkupsFile",
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
}
"""Slicer's reader by the end of the file's name; the longest end that fits counts."""


class Application:
    """What `slicer.app` is in the application, without windows: there is no layout manager, and tests are on."""

    applicationName = "Slicer libraries under InnerEarAI's host"  # noqa: N815 (Slicer's name for it)
    applicationVersion = "none"  # noqa: N815

    def __init__(self, scene: slicer.vtkMRMLScene, application_logic: slicer.vtkSlicerApplicationLogic) -> None:
        self._application_logic = application_logic
        self._files = FileManager(scene, application_logic)
        self.connections: list[tuple[str, Callable[..., Any]]] = []

    @property
    def temporaryPath(self) -> str:  # noqa: N802
        """Where temporary files go."""
        return tempfile.gettempdir()

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:  # noqa: N802
        """The application logic of the current scene."""
        return self._application_logic

    def coreIOManager(self) -> FileManager:  # noqa: N802
        """What loads and saves files."""
        return self._files

    def ioManager(self) -> FileManager:  # noqa: N802
        """The same, by its other name."""
        return self._files

    def layoutManager(self) -> None:  # noqa: N802
        """No views, hence none, as in Slicer with `--no-main-window`."""

    def mainWindow(self) -> None:  # noqa: N802
        """No window."""

    def testingEnabled(self) -> bool:  # noqa: N802
        """True: message boxes are skipped and logged."""
        return True

    def connect(self, signal: str, slot: Callable[..., Any]) -> None:
        """Keeps what is to happen at "startupCompleted()"; the host never says that it is."""
        self.connections.append((signal, slot))

    def processEvents(self) -> None:  # noqa: N802
        """Nothing waits to be processed."""


class FileManager:
    """Stand-in for qSlicerCoreIOManager: Slicer's own storage nodes read and write, this chooses among them."""

    def __init__(self, scene: slicer.vtkMRMLScene, application_logic: slicer.vtkSlicerApplicationLogic) -> None:
        self._scene = scene
        self._application_logic = application_logic

    def fileType(self, path: str | Path) -> str:  # noqa: N802
        """Slicer's name for the kind of a file, judged by its name; "NoFile" where no reader takes it."""
        name = Path(path).name.lower()
        endings = sorted((ending for ending in FILE_TYPES if name.endswith(ending)), key=len)
        return FILE_TYPES[endings[-1]] if endings else "NoFile"

    def fileWriterFileType(self, node: slicer.vtkMRMLNode) -> str:  # noqa: N802
        """Slicer's name for the kind of file that a node is written to."""
        return "SceneFile" if node is self._scene else f"{node.GetClassName()}File"

    def loadNodes(  # noqa: N802
        self,
        file_type: str,
        properties: Mapping[str, Any],
        loaded: vtk.vtkCollection,
        messages: slicer.vtkMRMLMessageCollection,
    ) -> bool:
        """Reads a file into the scene; False, with the reason in `messages`, where that fails."""
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return self._load_scene(path, messages)
        name = properties.get("name") or Path(path).name.split(".")[0]
        if file_type == "VolumeFile":
            files = vtk.vtkStringArray()
            for file in properties.get("fileNames", ()):
                files.InsertNextValue(str(file))
            # Bit 1 of the options: label map; bit 8: this file alone, not the series that it belongs to.
            options = (1 if properties.get("labelmap") else 0) | (0 if files.GetNumberOfValues() else 8)
            node = self._logic("Volumes").AddArchetypeVolume(path, name, options, files)
        elif file_type == "SegmentationFile":
            node = self._read(self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name), path, messages)
        elif file_type == "MarkupsFile":
            node = self._scene.GetNodeByID(self._logic("Markups").LoadMarkups(path, name) or "")
        else:
            messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"no reader for {path}")
            node = None
        if node is not None:
            loaded.AddItem(node)
        return node is not None

    def saveNodes(  # noqa: N802
        self, file_type: str, properties: Mapping[str, Any], messages: slicer.vtkMRMLMessageCollection
    ) -> bool:
        """Writes a node, or the scene, to a file; False, with the reason in `messages`, where that fails."""
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            if path.endswith(".mrb"):
                return self._scene.WriteToMRB(path, None, messages)
            return bool(self._scene.Commit(path))
        node = self._scene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        return bool(storage.WriteData(node))

    def _load_scene(self, path: str, messages: slicer.vtkMRMLMessageCollection) -> bool:
        if path.endswith(".mrb"):
            return self._scene.ReadFromMRB(path, True, messages)
        self._scene.SetURL(path)
        return bool(self._scene.Connect())

    def _read(
        self, node: slicer.vtkMRMLStorableNode, path: str, messages: slicer.vtkMRMLMessageCollection
    ) -> slicer.vtkMRMLStorableNode | None:
        node.AddDefaultStorageNode(path)
        if node.GetStorageNode().ReadData(node):
            node.CreateDefaultDisplayNodes()
            return node
        messages.AddMessages(node.GetStorageNode().GetUserMessages())
        self._scene.RemoveNode(node)
        return None

    def _logic(self, module: str) -> slicer.vtkMRMLAbstractLogic:
        return self._application_logic.GetModuleLogic(module)
