"""A window with the log of a run, to be read and copied."""

from __future__ import annotations

import platform

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from InnerEarAILib import __version__
from InnerEarAILib.panel.installation import installed_version
from InnerEarAILib.panel.run import Run


def log_header(run: Run) -> str:
    """What a report of a fault has to say of a run: versions and choices, but nothing of the patient."""
    return (
        f"InnerEarAI {__version__}, Slicer {slicer.app.applicationVersion}, torch {installed_version('torch')}, "
        f"{platform.platform()}\noptions: {run.options}\nlast step: {run.step}, after {run.seconds:.1f} s\n\n"
    )


def show_log(text: str) -> None:
    """Shows a text in a window of its own, which leaves the rest of Slicer at hand."""
    window = qt.QDialog(slicer.util.mainWindow())
    window.windowTitle = _("Inner Ear AI: log")
    window.setAttribute(qt.Qt.WA_DeleteOnClose)
    shown = qt.QPlainTextEdit(window)
    shown.name = "logText"
    shown.plainText = text
    shown.readOnly = True
    shown.lineWrapMode = qt.QPlainTextEdit.NoWrap
    copy = qt.QPushButton(_("Copy all"))
    copy.connect("clicked()", lambda: (shown.selectAll(), shown.copy()))
    close = qt.QPushButton(_("Close"))
    close.connect("clicked()", window.close)
    buttons = qt.QHBoxLayout()
    buttons.addStretch(1)
    buttons.addWidget(copy)
    buttons.addWidget(close)
    layout = qt.QVBoxLayout(window)
    layout.addWidget(shown)
    layout.addLayout(buttons)
    window.resize(640, 400)
    window.show()
