"""Stand-in for PythonQt: the modules `qt` and `ctk` over PySide6, as far as the panel and slicer.util use them.

It follows PythonQt: a property of Qt is read and set as an attribute (`label.text`, not `label.text()`), and
`widget.connect("clicked(bool)", f)` connects by a signal's signature. What has run on it has not run in 3D Slicer.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from functools import cache
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

LEFT_AS_METHODS = ("sizeHint", "minimumSizeHint", "singleShot")
"""Properties that PySide asks a Python class for as methods, or whose name a static function has as well."""


def connect(self: QtCore.QObject, signal: str, slot: Callable[..., Any]) -> bool:
    """PythonQt's way of connecting; `signal` is a signature such as "clicked(bool)".

    Raises:
        AttributeError: if there is no signal of that name.
    """
    name, _, arguments = signal.partition("(")
    if arguments == ")":
        getattr(self, name).connect(lambda *ignored: slot())
    else:
        getattr(self, name).connect(slot)
    return True


@cache
def as_in_pythonqt(kind: type) -> type:
    """A class of PySide with its properties as attributes."""
    meta = kind.staticMetaObject
    attributes: dict[str, Any] = {
        name: _attribute(name)
        for name in (meta.property(number).name() for number in range(meta.propertyCount()))
        if name not in LEFT_AS_METHODS and not isinstance(getattr(kind, name, None), QtCore.Property)
    }
    attributes["name"] = _attribute("objectName")
    attributes["connect"] = connect
    return type(kind.__name__, (kind,), attributes)


def install(custom_widgets: dict[str, type], ctk_widgets: dict[str, type]) -> None:
    """Makes `qt` and `ctk` importable.

    Args:
        custom_widgets: further classes that a .ui file may name.
        ctk_widgets: those of them that the module `ctk` has.
    """
    QtLoader.custom_widgets = custom_widgets
    sys.modules["qt"] = _Qt("qt")
    ctk = types.ModuleType("ctk")
    vars(ctk).update(ctk_widgets)
    sys.modules["ctk"] = ctk


class QtLoader(QtUiTools.QUiLoader):
    """Stands for qt.QUiLoader, which makes the widgets of a .ui file."""

    custom_widgets: dict[str, type] = {}  # noqa: RUF012 (set once, by install)

    def createWidget(  # noqa: N802
        self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = ""
    ) -> QtWidgets.QWidget:
        """A widget of a class of ours where there is one of that name."""
        kind = self.custom_widgets.get(class_name) or getattr(sys.modules["qt"], class_name)
        widget = kind(parent)
        widget.setObjectName(name)
        return widget

    def load(self, file: QtCore.QFile) -> QtWidgets.QWidget:
        """The widget of an open file."""
        return super().load(file, None)


class _Qt(types.ModuleType):
    """The module `qt`: all of Qt under one name."""

    def __getattr__(self, name: str) -> Any:
        if name == "QUiLoader":
            return QtLoader
        for module in (QtCore, QtGui, QtWidgets):
            found = getattr(module, name, None)
            if found is not None:
                break
        else:
            raise AttributeError(f"the stand-in for qt has no {name}")
        is_object = isinstance(found, type) and issubclass(found, QtCore.QObject)
        return as_in_pythonqt(found) if is_object and not issubclass(found, QtCore.QCoreApplication) else found


def _attribute(name: str) -> property:
    return property(
        lambda self: QtCore.QObject.property(self, name),
        lambda self, value: QtCore.QObject.setProperty(self, name, value),
    )
