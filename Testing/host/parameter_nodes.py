"""Stand-in for slicer.parameterNodeWrapper, a Python package of the application that the wheel does not bring.

It keeps the types that the module uses in a vtkMRMLScriptedModuleNode, in the form in which Slicer keeps them, so that
scenes are alike; other types it refuses.
"""

from __future__ import annotations

from typing import Any, get_type_hints

import slicer


def parameterNodeWrapper(kind: type) -> type:  # noqa: N802 (Slicer's name for it)
    """Makes a class of annotated fields a view of a parameter node.

    Raises:
        TypeError: for a type that this stand-in does not know.
    """
    hints = get_type_hints(kind)
    defaults = {name: getattr(kind, name, None) for name in hints}
    for name, type_ in hints.items():
        if type_ not in (str, bool) and not issubclass(type_, slicer.vtkMRMLNode):
            raise TypeError(f"the stand-in for parameterNodeWrapper knows no {type_}")
        setattr(kind, name, _property(name, type_))

    def __init__(self: Any, parameter_node: slicer.vtkMRMLScriptedModuleNode) -> None:  # noqa: N807
        self.parameterNode = parameter_node
        for name in hints:
            if not parameter_node.HasParameter(name):
                setattr(self, name, defaults[name])

    kind.__init__ = __init__
    kind.AddObserver = lambda self, event, callback: self.parameterNode.AddObserver(event, callback)
    kind.RemoveObserver = lambda self, tag: self.parameterNode.RemoveObserver(tag)
    return kind


def _property(name: str, type_: type) -> property:
    def read(self: Any) -> Any:
        if issubclass(type_, slicer.vtkMRMLNode):
            return self.parameterNode.GetNodeReference(name)
        text = self.parameterNode.GetParameter(name)
        return text == "True" if type_ is bool else text

    def write(self: Any, value: Any) -> None:
        if value is not None and not isinstance(value, type_):
            raise TypeError(f"{name} must be a {type_.__name__}, got {value!r}")
        if issubclass(type_, slicer.vtkMRMLNode):
            self.parameterNode.SetParameter(name, "")
            self.parameterNode.SetNodeReferenceID(name, None if value is None else value.GetID())
        else:
            self.parameterNode.SetParameter(name, str(value))

    return property(read, write)
