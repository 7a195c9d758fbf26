"""The panel's results: for each ear its volume, its three points with their confidences, and what is unusual."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from InnerEarAILib.labyrinth_files import SEGMENT_COLOURS
from InnerEarAILib.mrml import UNCERTAINTY_OPACITY, refresh_legend, take_uncertainties_off
from InnerEarAILib.panel.corrections import LABYRINTH, control_point, summary_as_corrected
from InnerEarAILib.panel.run_record import RunRecord


class ResultsView:
    """The section "Results" of the panel.

    Args:
        ui: the widgets by name.
        on_moved: called when the user has moved a point.
    """

    def __init__(self, ui: Any, on_moved: Callable[[], None]) -> None:
        self._ui, self._on_moved = ui, on_moved
        self._observations: list[tuple[Any, int]] = []
        self._ears: Any = None
        self._ears_now: list[dict[str, Any]] | None = None
        self._shown: tuple | None = None
        self.record: RunRecord | None = None
        ui.show3DButton.connect("clicked()", self._switch_3d)
        ui.showUncertaintyButton.connect("clicked()", self._switch_uncertainty)

    def show(self, record: RunRecord | None) -> None:
        """Shows a run's results, or hides the section where there are none."""
        self.record = record
        self._follow_points()
        self._ears_now = None if record is None else summary_as_corrected(record)["ears"]
        self._ui.resultsButton.visible = record is not None
        shown = self._what_is_shown()
        if shown == self._shown:
            # New widgets would take a click that has begun on the old ones.
            if record is not None:
                self._follow_display()
            return
        self._shown = shown
        if self._ears is not None:
            self._ears.hide()
            self._ears.deleteLater()
            self._ears = None
        if record is None:
            return
        provenance = record.summary.get("provenance", {})
        self._ui.resultsCaption.text = _("{name}: preset {preset}, model {model} {version}").format(
            name=record.segmentation.GetName(),
            preset=provenance.get("preset", _("unknown")),
            model=provenance.get("model", _("unknown")),
            version=provenance.get("model.version", ""),
        )
        self._ears = qt.QWidget()
        layout = qt.QVBoxLayout(self._ears)
        layout.setContentsMargins(0, 0, 0, 0)
        for ear in self._ears_now:
            self._add_ear(layout, ear)
        self._ui.earsWidget.layout().addWidget(self._ears)
        self._follow_display()

    def _what_is_shown(self) -> tuple | None:
        if self.record is None:
            return None
        names = tuple((node.GetID(), node.GetName()) for node in self.record.nodes())
        # Where a corrected point lies is not shown, that it was corrected is.
        told = [
            (ear["volume_mm3"], ear["corrected"], [_certainty(one) for one in ear["landmarks"]])
            for ear in self._ears_now
        ]
        return names, told

    def _follow_points(self) -> None:
        """Hears of every point of the present run that the user lets go, removes or sets."""
        for node, tag in self._observations:
            node.RemoveObserver(tag)
        nodes = [] if self.record is None else self.record.landmarks.values()
        markups = slicer.vtkMRMLMarkupsNode
        events = (
            markups.PointEndInteractionEvent,
            markups.PointPositionDefinedEvent,
            markups.PointPositionUndefinedEvent,
        )
        self._observations = [
            (node, node.AddObserver(event, lambda caller, event: self._on_moved()))
            for node in nodes
            for event in events
        ]

    def _add_ear(self, layout: Any, ear: Mapping[str, Any]) -> None:
        side = ear["side"]
        red, green, blue = (round(255 * part) for part in SEGMENT_COLOURS[side])
        title = qt.QLabel()
        said = _("<b>{ear}</b>, labyrinth {volume:.0f} mm³")
        if LABYRINTH in ear["corrected"]:
            said = _("<b>{ear}</b>, labyrinth {volume:.0f} mm³ (corrected)")
        title.text = said.format(ear=_("Right ear") if side == "right" else _("Left ear"), volume=ear["volume_mm3"])
        title.text = f'<span style="color: rgb({red}, {green}, {blue})">■</span> {title.text}'
        jump = qt.QPushButton(_("Jump to"))
        jump.name = f"jumpTo_{side}"
        jump.toolTip = _("Centres the views on this labyrinth")
        jump.connect("clicked()", lambda: self._jump_to_ear(side))
        header = qt.QHBoxLayout()
        header.addWidget(title, 1)
        header.addWidget(jump)
        layout.addLayout(header)
        grid = qt.QGridLayout()
        grid.setColumnStretch(1, 1)
        for number, landmark in enumerate(ear["landmarks"]):
            point = qt.QPushButton(landmark["name"])
            point.name = f"landmark_{side}_{number}"
            point.toolTip = _("Centres the views on this point")
            name = landmark["name"]
            point.enabled = control_point(self.record, side, name) is not None
            point.connect("clicked()", lambda name=name: self._jump_to_landmark(side, name))
            grid.addWidget(point, number, 0)
            certainty = qt.QLabel(_certainty(landmark))
            certainty.toolTip = _(
                "Scatter: how far the views disagree. The confidence (0 to 1) falls with it and with a faint mark; "
                "neither is the error in millimetres."
            )
            grid.addWidget(certainty, number, 1)
        layout.addLayout(grid)
        flags = ear["flags"] or [_("Nothing unusual was noticed; check the outline against the scan all the same.")]
        for flag in flags:
            text = qt.QLabel(f"⚠ {flag}" if ear["flags"] else flag)
            text.wordWrap = True
            text.textFormat = qt.Qt.PlainText
            layout.addWidget(text)

    def _follow_display(self) -> None:
        """The buttons say what they would do now."""
        ui, record = self._ui, self.record
        ui.show3DButton.text = _("Hide in 3D") if record.is_shown_in_3d() else _("Show in 3D")
        ui.showUncertaintyButton.enabled = record.uncertainty is not None
        ui.showUncertaintyButton.toolTip = (
            _("How unsure the network is of each voxel, as a colour over the scan")
            if record.uncertainty is not None
            else _("It is not in the scene: it was deleted, or not computed")
        )
        ui.showUncertaintyButton.text = _("Hide uncertainty") if self._uncertainty_is_shown() else _("Show uncertainty")

    def _uncertainty_is_shown(self) -> bool:
        return self.record.uncertainty is not None and any(
            composite.GetForegroundVolumeID() == self.record.uncertainty.GetID()
            for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        )

    def _jump_to_ear(self, side: str) -> None:
        centre_ras = self.record.segmentation.GetSegmentCenterRAS(side)
        if centre_ras is not None:
            slice_node = slicer.vtkMRMLSliceNode
            slice_node.JumpAllSlices(slicer.mrmlScene, *centre_ras, slice_node.CenteredJumpSlice)

    def _jump_to_landmark(self, side: str, name: str) -> None:
        number = control_point(self.record, side, name)
        if number is not None:
            node_id = self.record.landmarks[side].GetID()
            logic = slicer.modules.markups.logic()
            logic.JumpSlicesToNthPointInMarkup(node_id, number, True)
            logic.FocusCamerasOnNthPointInMarkup(node_id, number)

    def _switch_3d(self) -> None:
        on = not self.record.is_shown_in_3d()
        self.record.segmentation.CreateClosedSurfaceRepresentation()
        self.record.segmentation.CreateDefaultDisplayNodes()
        display = self.record.segmentation.GetDisplayNode()
        if on:
            display.SetVisibility(True)
        display.SetVisibility3D(on)
        if on and slicer.app.layoutManager() is not None:
            slicer.util.resetThreeDViews()
        self._follow_display()

    def _switch_uncertainty(self) -> None:
        if self._uncertainty_is_shown():
            take_uncertainties_off(slicer.mrmlScene)
        else:
            slicer.util.setSliceViewerLayers(foreground=self.record.uncertainty, foregroundOpacity=UNCERTAINTY_OPACITY)
        refresh_legend(self.record.uncertainty)
        self._follow_display()


def _certainty(landmark: Mapping[str, Any]) -> str:
    if landmark["position_lps"] is None:
        return _("not found")
    if landmark["confidence"] is None:
        return _("placed by hand")
    text = _("confidence {confidence:.2f}").format(confidence=landmark["confidence"])
    if landmark["scatter_mm"] is None:
        return text
    return _("{confidence}, scatter {scatter:.2f} mm").format(confidence=text, scatter=landmark["scatter_mm"])
