"""Stand-ins for the Python files of the application that a scripted module imports and the wheel does not bring.

They do what InnerEarAI.py needs in order to be imported, and its logic and its panel to run: base classes with the same
names and methods, and translation that gives back its text.
"""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path
from typing import Any

import slicer

from host import parameter_nodes


class ScriptedLoadableModule:
    """Stands for the module in the application's list; `parent` takes the texts that describe it."""

    def __init__(self, parent: types.SimpleNamespace) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    """Stands for the panel's base class: without the developer's section.

    Args:
        parent: the widget that the panel is put into; it has a layout. Without one, the panel gets a window of its own
            and is set up at once, as in the application.
    """

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = _window() if parent is None else parent
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()

    def setup(self) -> None:
        """The panel's class builds on this."""

    def cleanup(self) -> None:
        """The panel's class overrides this."""

    def onReload(self) -> None:  # noqa: N802
        """What the button *Reload* of developers does."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def resourcePath(self, name: str) -> str:  # noqa: N802
        """The path of a file in the module's folder Resources."""
        return str(Path(sys.modules[type(self).__module__].__file__).parent / "Resources" / name)


class ScriptedLoadableModuleLogic:
    """Stands for the logic's base class."""

    def __init__(self, parent: object = None) -> None:
        del parent
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:  # noqa: N802
        """The scene's one parameter node of the module; made where there is none."""
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node.SetModuleName(self.moduleName)
            node = scene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Stands for the self test's base class: a unittest case, as in the application."""

    def runTest(self) -> None:  # noqa: N802
        """The application calls this from "Reload and Test"; a self test overrides it."""


def _window() -> Any:
    # Not above: where there is no panel, there is no Qt.
    import qt

    window = slicer.qMRMLWidget()
    window.setLayout(qt.QVBoxLayout())
    window.setMRMLScene(slicer.mrmlScene)
    return window


def install_stand_ins() -> None:
    """Makes `slicer.ScriptedLoadableModule`, `slicer.parameterNodeWrapper` and `slicer.i18n` importable."""
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for stand_in in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(scripted, stand_in.__name__, stand_in)
    translation = types.ModuleType("slicer.i18n")
    translation.tr = lambda text: text
    translation.translate = lambda context, text: text
    wrapper = types.ModuleType("slicer.parameterNodeWrapper")
    wrapper.parameterNodeWrapper = parameter_nodes.parameterNodeWrapper
    for module in (scripted, translation, wrapper):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.rsplit(".", 1)[1], module)
