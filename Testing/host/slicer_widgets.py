"""Stand-ins for the widgets of Slicer and CTK that the panel uses, over the real MRML scene."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from host.pythonqt import as_in_pythonqt

__all__ = ["ctkCollapsibleButton", "qMRMLNodeComboBox", "qMRMLWidget"]


class _NodeComboBox(QtWidgets.QComboBox):
    """qMRMLNodeComboBox: the nodes of some classes, by name; follows the scene.

    As Slicer's own, it does not keep its choice: when a scene has been added, all rows are made anew and it stands on
    the first; when the chosen node is removed, it goes to the one after. Both are told by currentNodeChanged;
    nodeActivated tells what a user chooses, and nothing else.
    """

    currentNodeChanged = QtCore.Signal(object)  # noqa: N815
    nodeActivated = QtCore.Signal(object)  # noqa: N815

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: slicer.vtkMRMLScene | None = None
        self._observations: list[tuple[vtk.vtkObject, int]] = []
        self._node_types: list[str] = []
        self._hidden_types: list[str] = []
        self._none = False
        QtWidgets.QComboBox.setSizeAdjustPolicy(
            self, QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        QtWidgets.QComboBox.setMinimumContentsLength(self, 12)
        self.currentIndexChanged.connect(lambda index: self.currentNodeChanged.emit(self.currentNode()))
        self.activated.connect(lambda index: self.nodeActivated.emit(self.currentNode()))

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:  # noqa: N802
        """Follows a scene."""
        for observed, tag in self._observations:
            observed.RemoveObserver(tag)
        self._observations, self._scene = [], scene
        if scene is not None:
            for event, follow in (
                (scene.NodeAddedEvent, lambda caller, event: self._refill()),
                (scene.NodeAboutToBeRemovedEvent, self._remove),
                (scene.EndCloseEvent, lambda caller, event: self._refill()),
                (scene.EndImportEvent, lambda caller, event: self._refill(keeps_choice=False)),
            ):
                self._observations.append((scene, scene.AddObserver(event, follow)))
        self._refill()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _remove(self, caller: vtk.vtkObject, event: str, node: slicer.vtkMRMLNode) -> None:
        index = self.findData(node.GetID())
        if index >= 0:
            self.removeItem(index)

    def currentNode(self) -> slicer.vtkMRMLNode | None:  # noqa: N802
        """The node that is chosen."""
        node_id = QtWidgets.QComboBox.currentData(self)
        return self._scene.GetNodeByID(node_id) if self._scene and node_id else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:  # noqa: N802
        """Chooses a node; as in Slicer, an open list in which another row is under the mouse is closed."""
        index = self.findData(node.GetID() if node is not None else None)
        if self.view().currentIndex().row() != index:
            self.hidePopup()
        self.setCurrentIndex(index)

    def _refill(self, keeps_choice: bool = True) -> None:
        chosen = QtWidgets.QComboBox.currentData(self)
        blocked = self.blockSignals(True)
        self.clear()
        if self._none:
            self.addItem("None", None)
        for number in range(self._scene.GetNumberOfNodes() if self._scene else 0):
            node = self._scene.GetNthNode(number)
            wanted = any(node.IsA(kind) for kind in self._node_types)
            if wanted and not any(node.IsA(kind) for kind in self._hidden_types) and not node.GetHideFromEditors():
                self.addItem(node.GetName(), node.GetID())
        index = self.findData(chosen) if keeps_choice else -1
        self.setCurrentIndex(index if index >= 0 else (0 if self._none else -1))
        self.blockSignals(blocked)
        if index < 0 and chosen is not None:
            self.currentNodeChanged.emit(self.currentNode())

    def _get_node_types(self) -> list[str]:
        return self._node_types

    def _set_node_types(self, types: list[str]) -> None:
        self._node_types = list(types)

    def _get_hidden(self) -> list[str]:
        return self._hidden_types

    def _set_hidden(self, types: list[str]) -> None:
        self._hidden_types = list(types)

    def _get_none(self) -> bool:
        return self._none

    def _set_none(self, enabled: bool) -> None:
        self._none = enabled

    nodeTypes = QtCore.Property("QStringList", _get_node_types, _set_node_types)  # noqa: N815
    hideChildNodeTypes = QtCore.Property("QStringList", _get_hidden, _set_hidden)  # noqa: N815
    noneEnabled = QtCore.Property(bool, _get_none, _set_none)  # noqa: N815


class _SceneWidget(QtWidgets.QWidget):
    """qMRMLWidget: a widget that knows the scene."""

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:  # noqa: N802
        """Takes the scene."""
        self._scene = scene


class _CollapsibleButton(QtWidgets.QAbstractButton):
    """ctkCollapsibleButton: a heading that shows and hides what is under it."""

    HEADING_PIXELS = 24

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self.HEADING_PIXELS, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.toggled.connect(lambda checked: self._collapse(not checked))

    def sizeHint(self) -> QtCore.QSize:  # noqa: N802
        """The heading, and what is under it where that is shown."""
        inner = self.layout().sizeHint() if self.layout() is not None and not self._collapsed else QtCore.QSize(0, 0)
        heading = QtWidgets.QWidget.fontMetrics(self).horizontalAdvance(QtWidgets.QAbstractButton.text(self)) + 40
        return QtCore.QSize(max(heading, inner.width()), self.HEADING_PIXELS if self._collapsed else inner.height())

    def minimumSizeHint(self) -> QtCore.QSize:  # noqa: N802
        """As high as it wants to be: nothing under the heading is cut off."""
        inner = QtCore.QSize(0, self.HEADING_PIXELS)
        if self.layout() is not None and not self._collapsed:
            inner = self.layout().minimumSize()
        return QtCore.QSize(min(inner.width(), self.sizeHint().width()), inner.height())

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802
        """Draws the heading."""
        del event
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, QtWidgets.QWidget.width(self), self.HEADING_PIXELS)
        option.state |= QtWidgets.QStyle.StateFlag.State_Raised
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 6, 12, 12)
        shape = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(shape.PE_IndicatorArrowRight if self._collapsed else shape.PE_IndicatorArrowDown, arrow)
        painter.setPen(QtWidgets.QWidget.palette(self).color(QtGui.QPalette.ColorRole.ButtonText))
        place = QtCore.QRect(24, 0, QtWidgets.QWidget.width(self) - 24, self.HEADING_PIXELS)
        painter.drawText(place, QtCore.Qt.AlignmentFlag.AlignVCenter, QtWidgets.QAbstractButton.text(self))

    def hitButton(self, position: QtCore.QPoint) -> bool:  # noqa: N802
        """Only the heading is a button."""
        return position.y() < self.HEADING_PIXELS

    def childEvent(self, event: QtCore.QChildEvent) -> None:  # noqa: N802
        """What is put under a collapsed heading is hidden too."""
        super().childEvent(event)
        if self._collapsed and event.added() and event.child().isWidgetType():
            event.child().hide()

    def _collapse(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindChildOption.FindDirectChildrenOnly):
            child.setVisible(not collapsed)
        self.updateGeometry()

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        QtWidgets.QAbstractButton.setChecked(self, not collapsed)

    collapsed = QtCore.Property(bool, _get_collapsed, _set_collapsed)


qMRMLNodeComboBox = as_in_pythonqt(_NodeComboBox)  # noqa: N816 (Slicer's names)
qMRMLWidget = as_in_pythonqt(_SceneWidget)  # noqa: N816
ctkCollapsibleButton = as_in_pythonqt(_CollapsibleButton)  # noqa: N816
