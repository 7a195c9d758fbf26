"""The section with the results: what it says, what its buttons do, and that a saved scene still has it."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util

from InnerEarAI import InnerEarAILogic
from InnerEarAILib.mrml import volume_from_node
from InnerEarAILib.panel.run_record import latest_run
from library.scans import painted_ear, scan_result
from panel.driving import add_ears, add_scan, button, node_ids, shown


def centre_of(views) -> np.ndarray:
    return np.array([views["Sagittal"].node.GetSliceToRAS().GetElement(0, 3),
                     views["Coronal"].node.GetSliceToRAS().GetElement(1, 3),
                     views["Axial"].node.GetSliceToRAS().GetElement(2, 3)])  # fmt: skip


def test_without_results_there_is_no_section(panel, scan):
    assert not panel.widget.ui.resultsButton.visible


def test_both_ears_are_told_with_volume_points_confidence_and_flags(segmented):
    texts = shown(segmented)
    assert any("Right ear" in text and "mm³" in text for text in texts)
    assert any("Left ear" in text for text in texts)
    assert texts.count("helicotrema") == 2
    assert "confidence 0.90, scatter 0.07 mm" in texts
    assert texts.count("⚠ Unusual.") == 2


def test_a_point_that_was_not_found_cannot_be_jumped_to(panel, scan):
    add_ears(panel, scan, unfound=("oval window",))
    assert "not found" in shown(panel)
    assert not button(panel, "landmark_right_1").enabled
    assert button(panel, "landmark_right_0").enabled


def test_a_click_on_a_point_centres_the_views_there(segmented, views):
    landmarks = slicer.util.getNode("CT left landmarks")
    for number in (0, 2):
        button(segmented, f"landmark_left_{number}").click()
        np.testing.assert_allclose(centre_of(views), landmarks.GetNthControlPointPositionWorld(number), atol=1e-6)


def test_a_point_that_the_user_has_moved_is_found_where_it_is(segmented, views):
    landmarks = slicer.util.getNode("CT left landmarks")
    landmarks.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    button(segmented, "landmark_left_0").click()
    np.testing.assert_allclose(centre_of(views), (1, 2, 3), atol=1e-6)


def test_jump_to_centres_the_views_on_the_ear(segmented, views):
    segmentation = slicer.util.getNode("CT inner ear")
    for side in ("right", "left"):
        button(segmented, f"jumpTo_{side}").click()
        np.testing.assert_allclose(centre_of(views), segmentation.GetSegmentCenterRAS(side), atol=1e-6)


def test_the_3d_button_hides_and_shows_the_surfaces(segmented):
    display = slicer.util.getNode("CT inner ear").GetDisplayNode()
    ui = segmented.widget.ui
    for expected in (False, True):
        assert bool(display.GetVisibility3D()) != expected
        assert ui.show3DButton.text == ("Show in 3D" if expected else "Hide in 3D")
        ui.show3DButton.click()
        assert bool(display.GetVisibility3D()) == expected


def test_the_uncertainty_button_takes_it_off_the_scan_and_puts_it_back(segmented, views):
    uncertainty = slicer.util.getNode("CT uncertainty").GetID()
    composites = [view.composite for view in views.values()]
    assert {composite.GetForegroundVolumeID() for composite in composites} == {uncertainty}
    segmented.widget.ui.showUncertaintyButton.click()
    assert {composite.GetForegroundVolumeID() for composite in composites} == {None}
    assert segmented.widget.ui.showUncertaintyButton.text == "Show uncertainty"
    segmented.widget.ui.showUncertaintyButton.click()
    assert {composite.GetForegroundVolumeID() for composite in composites} == {uncertainty}


def test_uncertainty_that_is_not_there_cannot_be_shown_and_says_why(panel, scan):
    add_ears(panel, scan, uncertain=False)
    assert not panel.widget.ui.showUncertaintyButton.enabled
    assert "not in the scene" in panel.widget.ui.showUncertaintyButton.toolTip


def test_remove_takes_away_exactly_what_the_run_brought(panel, views, scan):
    before = node_ids()
    add_ears(panel, scan)
    of_the_run = node_ids() - before
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "the user's own")
    everything = node_ids()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    panel.widget.ui.removeButton.click()
    panel.settle()
    assert node_ids() == everything - of_the_run
    assert not hierarchy.GetItemByName("CT inner ear")
    assert not panel.widget.ui.resultsButton.visible


def test_removing_one_run_leaves_the_colours_of_the_other(panel, scan):
    add_ears(panel, scan)
    with_one = node_ids()
    add_ears(panel, add_scan(panel, "second"))
    panel.widget.ui.removeButton.click()
    panel.settle()
    assert with_one <= node_ids()
    assert slicer.util.getNode("CT uncertainty").GetDisplayNode().GetColorNode() is not None


def test_an_uncertainty_map_is_not_taken_for_a_scan(segmented):
    ui = segmented.widget.ui
    segmented.choose_scan(slicer.util.getNode("CT uncertainty"))
    assert not ui.segmentButton.enabled
    assert "choose the scan itself" in ui.statusLabel.text


def test_results_follow_the_scan_that_is_chosen(panel, scan):
    add_ears(panel, scan)
    add_scan(panel, "second")
    assert not panel.widget.ui.resultsButton.visible
    panel.choose_scan(scan)
    assert panel.widget.ui.resultsButton.visible


def test_a_saved_scene_still_has_its_results(segmented, tmp_path):
    before = shown(segmented)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    segmented.settle()
    assert not segmented.widget.ui.resultsButton.visible
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    segmented.settle()
    assert shown(segmented) == before
    segmented.widget.ui.removeButton.click()
    segmented.settle()
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")] == []
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")] == []
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode")] == ["CT"]


def test_a_choice_leaves_the_buttons_of_the_results_where_they_are(segmented):
    before = button(segmented, "landmark_left_0")
    segmented.widget.ui.contrastCheckBox.checked = True
    segmented.settle()
    assert button(segmented, "landmark_left_0") is before


def test_results_that_the_user_deletes_leave_the_panel(segmented):
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("CT left landmarks"))
    segmented.settle()
    assert not button(segmented, "landmark_left_0").enabled
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("CT inner ear"))
    segmented.settle()
    assert not segmented.widget.ui.resultsButton.visible


def test_a_run_of_the_console_stands_in_the_panel_too(panel, scan):
    def segment(volume, options, progress):
        return scan_result([painted_ear("left", volume.grid.centre_lps)], volume.name, volume.grid)

    InnerEarAILogic(segment).process(scan)
    panel.settle()
    assert any("Left ear" in text for text in shown(panel))


def test_a_second_run_hides_the_surfaces_and_points_of_the_first(panel, scan):
    add_ears(panel, scan)
    add_ears(panel, scan)
    for name, is_shown in (("CT inner ear", False), ("CT left landmarks", False), ("CT inner ear_1", True)):
        assert bool(slicer.util.getNode(name).GetDisplayNode().GetVisibility()) == is_shown, name


def test_results_whose_scan_was_deleted_can_still_be_removed(segmented, scan):
    slicer.mrmlScene.RemoveNode(scan)
    segmented.settle()
    segmented.widget.enter()
    segmented.settle()
    assert segmented.widget.ui.inputSelector.currentNode() is None
    assert segmented.widget.ui.resultsButton.visible
    segmented.widget.ui.removeButton.click()
    segmented.settle()
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_a_scan_that_moves_while_it_is_looked_at_is_told_of(panel, scan):
    grid = volume_from_node(scan).grid
    result = scan_result([painted_ear("left", grid.centre_lps)], "CT", grid)
    scan.SetOrigin(100.0, 0.0, 0.0)
    nodes = panel.widget.logic.addResult(result, scan)
    assert "results lie where it was" in nodes.result.notes[-1]
    assert "results lie where it was" in nodes.segmentation.GetAttribute("InnerEarAI.notes")


def test_the_first_ct_is_chosen_and_nothing_that_is_none(panel):
    zeros = np.zeros((4, 4, 4), np.int16)
    slicer.util.addVolumeFromArray(zeros, nodeClassName="vtkMRMLLabelMapVolumeNode")
    slicer.util.addVolumeFromArray(np.zeros((4, 4, 4, 3), np.uint8), nodeClassName="vtkMRMLVectorVolumeNode")
    panel.widget.enter()
    hidden = slicer.util.addVolumeFromArray(zeros, name="of another module")
    hidden.SetHideFromEditors(True)
    panel.widget.enter()
    assert panel.widget.logic.getParameterNode().inputVolume is None
    assert "Load a CT" in panel.widget.ui.statusLabel.text
    scan = slicer.util.addVolumeFromArray(zeros, name="CT")
    panel.widget.enter()
    assert panel.widget.ui.inputSelector.currentNode() is scan


def is_visible(name: str) -> bool:
    return bool(slicer.util.getNode(name).GetDisplayNode().GetVisibility())


def test_removing_the_newest_run_shows_the_one_before(segmented, views, scan):
    add_ears(segmented, scan)
    drawn = ("CT inner ear", "CT right landmarks", "CT left landmarks")
    assert not any(is_visible(name) for name in drawn)
    segmented.widget.ui.removeButton.click()
    segmented.settle()
    assert all(is_visible(name) for name in drawn)
    earlier = slicer.util.getNode("CT uncertainty").GetID()
    assert {view.composite.GetForegroundVolumeID() for view in views.values()} == {earlier}
    assert segmented.widget.ui.show3DButton.text == "Hide in 3D"
    assert segmented.widget.ui.showUncertaintyButton.text == "Hide uncertainty"


def test_removing_a_run_whose_uncertainty_was_hidden_brings_no_other_up(segmented, views, scan):
    add_ears(segmented, scan)
    segmented.widget.ui.showUncertaintyButton.click()
    segmented.widget.ui.removeButton.click()
    segmented.settle()
    assert is_visible("CT inner ear")
    assert {view.composite.GetForegroundVolumeID() for view in views.values()} == {None}


def cloned(node):
    """As "Clone" in the module Data does it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    logic = slicer.vtkSlicerSubjectHierarchyModuleLogic
    return hierarchy.GetItemDataNode(logic.CloneSubjectHierarchyItem(hierarchy, hierarchy.GetItemByDataNode(node)))


def copied(node):
    """As a script does it, with the references."""
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    copy.Copy(node)
    return copy


@pytest.mark.parametrize("duplicate", [cloned, copied])
@pytest.mark.parametrize("kept", [True, False], ids=["scan kept", "scan removed"])
def test_a_clone_of_the_segmentation_is_no_run(segmented, scan, duplicate, kept):
    segmentation = slicer.util.getNode("CT inner ear")
    copy = duplicate(segmentation)
    assert copy.GetAttribute("InnerEarAI.summary")
    ui = segmented.widget.ui
    if kept:
        segmented.choose_scan(None)
        assert not ui.resultsButton.visible
        segmented.choose_scan(scan)
    else:
        slicer.mrmlScene.RemoveNode(scan)
    segmented.settle()
    assert segmented.widget.panel._results.record.segmentation is segmentation
    ui.removeButton.click()
    segmented.settle()
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [copy]
    assert not ui.resultsButton.visible


def test_results_that_are_imported_beside_others_are_still_results(segmented, scan, tmp_path):
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    without_clearing = False
    slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), without_clearing)
    segmented.settle()
    scans = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetName() == "CT"]
    records = [latest_run(slicer.mrmlScene, node) for node in scans]
    assert len({record.segmentation.GetID() for record in records}) == 2
    assert len({node.GetID() for record in records for node in record.nodes()}) == 8
