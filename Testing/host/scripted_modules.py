"""Stand-ins for the Python files of the application that a scripted module imports and the wheel does not bring.

They do what InnerEarAI.py needs in order to be imported and its logic to run: base classes with the same names, and
translation that gives back its text.
"""

from __future__ import annotations

import sys
import types
import unittest

import slicer


class ScriptedLoadableModule:
    """Stands for the module in the application's list; `parent` takes the texts that describe it."""

    def __init__(self, parent: types.SimpleNamespace) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    """Stands for the panel's base class."""

    def __init__(self, parent: object = None) -> None:
        self.parent = parent


class ScriptedLoadableModuleLogic:
    """Stands for the logic's base class."""

    def __init__(self, parent: object = None) -> None:
        del parent


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Stands for the self test's base class: a unittest case, as in the application."""

    def runTest(self) -> None:  # noqa: N802
        """The application calls this from "Reload and Test"; a self test overrides it."""


def install_stand_ins() -> None:
    """Makes `slicer.ScriptedLoadableModule` and `slicer.i18n` importable."""
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
    for module in (scripted, translation):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.rsplit(".", 1)[1], module)
