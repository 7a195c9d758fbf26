"""The panel while the user is in another module: it does what has to be done, and the rest when they come back."""

from __future__ import annotations

import slicer
import slicer.util

from InnerEarAILib.panel import results_view
from panel.driving import HEARS_NOTHING, add_scan, shown, start


def test_it_does_not_look_at_the_results_before_the_user_is_back(segmented, monkeypatch):
    looked_at = []
    summary = results_view.summary_as_corrected
    monkeypatch.setattr(
        results_view, "summary_as_corrected", lambda record: looked_at.append(record) or summary(record)
    )
    segmented.leave()
    left = slicer.util.getNode("CT left landmarks")
    left.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    left.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode"))
    segmented.widget.logic.getParameterNode().preset = "fast"
    segmented.settle()
    assert looked_at == []
    segmented.enter()
    assert shown(segmented).count("placed by hand") == 1
    ui = segmented.widget.ui
    assert ui.presetSelector.itemData(ui.presetSelector.currentIndex) == "fast"


def test_a_scan_that_is_removed_ends_its_run_at_once(panel, scan, answers):
    answers(HEARS_NOTHING)
    start(panel)
    process = panel.widget.panel._run._child._process
    panel.leave()
    slicer.mrmlScene.RemoveNode(scan)
    assert process.poll() is not None
    panel.enter()
    assert panel.widget.ui.statusLabel.text == "Cancelled, as the scan was removed from the scene."


def test_results_that_are_removed_are_forgotten_at_once(segmented):
    segmented.leave()
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("CT inner ear"))
    segmented.settle()
    assert segmented.widget.panel._results.record is None
    segmented.enter()
    assert not segmented.widget.ui.resultsButton.visible


def test_a_scan_that_was_loaded_meanwhile_can_be_chosen(panel):
    panel.leave()
    slicer.mrmlScene.Clear()
    panel.settle()
    panel.enter()
    add_scan(panel, "CT")
    assert panel.widget.ui.segmentButton.enabled
