"""The panel outside the module's own place: in a window of its own, and as a part of another one's."""

from __future__ import annotations

import pytest
import slicer
import slicer.util

from host.panel_window import PanelWindow
from InnerEarAI import InnerEarAIWidget
from panel.driving import add_scan


@pytest.fixture
def without_parent(panel):
    """The panel as a script makes it."""
    widget = InnerEarAIWidget()
    yield widget
    widget.cleanup()
    widget.ui.inputSelector.setMRMLScene(None)
    widget.parent.close()


@pytest.fixture
def embedded(panel):
    """The panel as a part of another window: nobody enters it."""
    panel.parent.isEntered = False
    return panel


def choose(panel, widget, node):
    selector = widget.ui.inputSelector
    selector.setCurrentNode(node)
    selector.activated.emit(selector.currentIndex)
    panel.settle()


def test_it_can_be_made_without_a_parent_and_used(panel, without_parent):
    node = add_scan(panel, "CT")
    choose(panel, without_parent, node)
    assert without_parent.parent.visible
    assert without_parent.ui.segmentButton.enabled
    assert "PyTorch" in without_parent.ui.deviceHint.text


def test_without_a_parent_it_follows_another_scene(panel, without_parent):
    slicer.mrmlScene.Clear()
    panel.settle()
    node = add_scan(panel, "CT")
    choose(panel, without_parent, node)
    assert without_parent.ui.segmentButton.enabled


def test_embedded_it_can_be_used_with_another_scene(embedded):
    slicer.mrmlScene.Clear()
    embedded.settle()
    assert "Load a CT" in embedded.widget.ui.statusLabel.text
    add_scan(embedded, "CT")
    assert embedded.widget.ui.segmentButton.enabled


def test_a_choice_in_an_embedded_panel_that_was_not_seen_takes_the_scene_up(embedded):
    embedded.parent.hide()
    with_singletons = 1
    slicer.mrmlScene.Clear(with_singletons)
    embedded.parent.show()
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode") is None
    scan = add_scan(embedded, "CT")
    assert embedded.widget.logic.getParameterNode().inputVolume is scan
    assert embedded.widget.ui.segmentButton.enabled


def test_a_choice_in_a_panel_that_nobody_entered_makes_it_look_at_the_computer(host, settings, probe_says, monkeypatch):
    probe_says({"event": "started", "torch": "2.13.0", "seconds": 3.0}, seconds=60)
    monkeypatch.setattr(PanelWindow, "enter", lambda window: window.parent.show())
    window = PanelWindow(host, settings)
    assert not window.widget.panel._computer.is_probing
    add_scan(window, "CT")
    assert window.widget.panel._computer.is_probing
    window.close()
