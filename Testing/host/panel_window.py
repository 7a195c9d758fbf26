"""The panel in a window of its own, off-screen, on the stand-ins for PythonQt and Slicer's widgets."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer

try:
    from PySide6 import QtCore, QtGui, QtWidgets
except ImportError as error:
    raise ImportError(
        f"Qt, which draws the panel, lacks a library of the system: {error}. "
        "Debian and Ubuntu: apt install libgl1 libegl1 libxkbcommon0 libdbus-1-3 libfontconfig1"
    ) from error

from host import pythonqt, slicer_widgets
from host.runtime import Host, module_folder

PANEL_PIXELS = 400
"""Width of Slicer's module panel on a laptop."""


slicer.qMRMLNodeComboBox = slicer_widgets.qMRMLNodeComboBox
slicer.qMRMLWidget = slicer_widgets.qMRMLWidget
pythonqt.install(
    custom_widgets={name: getattr(slicer_widgets, name) for name in slicer_widgets.__all__},
    ctk_widgets={"ctkCollapsibleButton": slicer_widgets.ctkCollapsibleButton},
)


class PanelWindow:
    """The module's panel over a host's scene, as Slicer opens it.

    Args:
        host: its scene is worked on.
        settings: file of the application's settings; an empty one for a first start.

    Attributes:
        widget: InnerEarAIWidget.
        parent: the window.
    """

    def __init__(self, host: Host, settings: Path) -> None:
        self.host = host
        self.application = _application(settings)
        self.parent = slicer_widgets.qMRMLWidget()
        self.parent.isEntered = False
        QtWidgets.QVBoxLayout(self.parent)
        self.parent.resize(PANEL_PIXELS, 900)
        self.make()
        self.enter()
        self.settle()

    def make(self) -> None:
        """Makes the panel; again when it is reloaded, where Slicer does not enter the module once more."""
        from InnerEarAI import InnerEarAIWidget

        self.widget = InnerEarAIWidget(self.parent)
        self.widget.setup()

    def enter(self) -> None:
        """Opens the module, as its name in Slicer's list does."""
        self.parent.show()
        self.parent.isEntered = True
        self.widget.enter()

    def leave(self) -> None:
        """Opens another module."""
        self.parent.isEntered = False
        self.widget.exit()
        self.parent.hide()

    def choose_scan(self, node: slicer.vtkMRMLNode | None) -> None:
        """Chooses the scan in its selector, as the user does."""
        selector = self.widget.ui.inputSelector
        selector.setCurrentNode(node)
        selector.activated.emit(selector.currentIndex)
        self.settle()

    def settle(self) -> None:
        """Lets everything happen that waits to happen."""
        for _ in range(3):
            self.application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
            self.application.processEvents()

    def picture(self, path: Path) -> None:
        """Writes what the panel shows, as high as it needs, as PNG."""
        layout = self.parent.layout()
        self.settle()
        self.parent.resize(PANEL_PIXELS, layout.totalHeightForWidth(PANEL_PIXELS))
        self.settle()
        self.parent.grab().save(str(path))

    def close(self) -> None:
        """Closes the panel and every other window, as Slicer does when it ends."""
        self.widget.cleanup()
        self.widget.ui.inputSelector.setMRMLScene(None)
        for window in self.application.topLevelWidgets():
            window.close()
        self.parent.deleteLater()
        self.settle()


def set_dark(dark: bool) -> None:
    """Slicer's dark style, or its light one."""
    roles = QtGui.QPalette.ColorRole
    palette = QtWidgets.QApplication.style().standardPalette()
    if dark:
        for role, colour in {
            roles.Window: "#353535", roles.WindowText: "#ffffff", roles.Base: "#232323", roles.AlternateBase: "#353535",
            roles.Text: "#ffffff", roles.Button: "#353535", roles.ButtonText: "#ffffff", roles.ToolTipBase: "#232323",
            roles.ToolTipText: "#ffffff", roles.PlaceholderText: "#9a9a9a", roles.Light: "#4f4f4f",
            roles.Midlight: "#424242", roles.Dark: "#232323", roles.Mid: "#2c2c2c", roles.Highlight: "#2a82da",
        }.items():  # fmt: skip
            palette.setColor(role, QtGui.QColor(colour))
        for role in (roles.WindowText, roles.Text, roles.ButtonText):
            palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor("#808080"))
    QtWidgets.QApplication.setPalette(palette)


def _application(settings: Path) -> QtWidgets.QApplication:
    application = QtWidgets.QApplication.instance()
    if application is None:
        application = QtWidgets.QApplication([sys.argv[0]])
        application.setStyle("Fusion")
        application.setOrganizationName("InnerEarAI")
        application.setApplicationName("tests")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(settings))
    slicer.app.processEvents = application.processEvents
    slicer.app.topLevelWidgets = application.topLevelWidgets
    slicer.modules.innerearai = types.SimpleNamespace(path=str(module_folder() / "InnerEarAI.py"))
    return application
