"""The section with the results: what it says, what its buttons do, and that a saved scene still has it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util

from host.pictures import SliceView
from InnerEarAI import InnerEarAILogic
from InnerEarAILib.mrml import volume_from_node
from InnerEarAILib.panel.run_record import SUMMARY, latest_run, summary_as_corrected
from library.scans import painted_ear, scan_result
from panel.driving import add_scan, node_ids


@pytest.fixture
def views(panel):
    return {orientation: SliceView(panel.host, orientation) for orientation in ("Axial", "Coronal", "Sagittal")}


def add_ears(panel, node, sides=("right", "left"), **ear):
    """Adds what a run would have found, without a child process."""
    grid = volume_from_node(node).grid
    places = {"right": grid.centre_lps - np.array([8, 0, 0]), "left": grid.centre_lps + np.array([8, 0, 0])}
    ears = [painted_ear(side, places[side], 0.4, **ear) for side in sides]
    panel.widget.logic.addResult(scan_result(ears, "CT", grid), node)
    panel.settle()


@pytest.fixture
def segmented(panel, views, scan):
    add_ears(panel, scan)
    return panel


def shown(panel) -> list[str]:
    """The texts in the results, as they stand."""
    ears = panel.widget.panel._results._ears
    return [child.text for child in ears.children() if hasattr(child, "text")]


def button(panel, name):
    return next(child for child in panel.widget.panel._results._ears.children() if getattr(child, "name", "") == name)


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


def test_uncertainty_that_was_not_computed_cannot_be_shown_and_says_why(panel, scan):
    add_ears(panel, scan, uncertain=False)
    assert not panel.widget.ui.showUncertaintyButton.enabled
    assert "ten views" in panel.widget.ui.showUncertaintyButton.toolTip


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
    ui.inputSelector.setCurrentNode(slicer.util.getNode("CT uncertainty"))
    segmented.settle()
    assert not ui.segmentButton.enabled
    assert "choose the scan itself" in ui.statusLabel.text


def test_results_follow_the_scan_that_is_chosen(panel, scan):
    add_ears(panel, scan)
    add_scan(panel, "second")
    assert not panel.widget.ui.resultsButton.visible
    panel.widget.ui.inputSelector.setCurrentNode(scan)
    panel.settle()
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


def save_into(monkeypatch, folder: Path) -> None:
    import qt

    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *arguments: str(folder) if folder.name else "")


def test_save_all_writes_the_nodes_as_they_are_now(segmented, tmp_path, monkeypatch):
    slicer.util.getNode("CT left landmarks").SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    save_into(monkeypatch, tmp_path)
    segmented.widget.ui.saveButton.click()
    names = {"CT_labyrinth.seg.nrrd", "CT_landmarks_right.mrk.json", "CT_landmarks_left.mrk.json"}
    names |= {"CT_uncertainty.nrrd", "CT_result.json"}
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == names
    assert "Saved 5 files" in segmented.widget.ui.statusLabel.text
    saved = json.loads((tmp_path / "CT_landmarks_left.mrk.json").read_text())
    np.testing.assert_allclose(saved["markups"][0]["controlPoints"][0]["position"], (-1, -2, 3))
    storage = slicer.util.getNode("CT left landmarks").GetStorageNode()
    assert Path(storage.GetFileName()) == tmp_path / "CT_landmarks_left.mrk.json"


def test_saving_twice_asks_before_it_replaces(segmented, tmp_path, monkeypatch):
    save_into(monkeypatch, tmp_path)
    segmented.widget.ui.saveButton.click()
    (tmp_path / "CT_result.json").write_text("mine")
    asked = []
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, **more: asked.append(text) or len(asked) > 1
    )
    segmented.widget.ui.saveButton.click()
    assert (tmp_path / "CT_result.json").read_text() == "mine"
    segmented.widget.ui.saveButton.click()
    assert json.loads((tmp_path / "CT_result.json").read_text())["ears"]
    assert len(asked) == 2


def test_saving_where_nothing_can_be_written_says_so(segmented, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    save_into(monkeypatch, tmp_path / "file")
    segmented.widget.ui.saveButton.click()
    assert "cannot be written" in segmented.widget.ui.statusLabel.text


def test_not_choosing_a_folder_saves_nothing(segmented, monkeypatch):
    save_into(monkeypatch, Path())
    said = segmented.widget.ui.statusLabel.text
    segmented.widget.ui.saveButton.click()
    assert segmented.widget.ui.statusLabel.text == said


def saved_summary(panel, folder, monkeypatch):
    save_into(monkeypatch, folder)
    panel.widget.ui.saveButton.click()
    return json.loads((folder / "CT_result.json").read_text())


def test_what_nobody_has_corrected_is_saved_as_the_run_found_it(segmented, tmp_path, monkeypatch):
    found = segmented.widget.panel._results.record.summary
    saved = saved_summary(segmented, tmp_path, monkeypatch)
    assert [ear.pop("corrected") for ear in saved["ears"]] == [[], []]
    assert saved == json.loads(json.dumps(found))


def test_a_point_that_was_moved_is_saved_where_it_is_and_without_a_confidence(segmented, tmp_path, monkeypatch):
    landmarks = slicer.util.getNode("CT left landmarks")
    landmarks.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    saved = saved_summary(segmented, tmp_path, monkeypatch)
    right, left = saved["ears"]
    moved, *others = left["landmarks"]
    assert moved == {"name": "helicotrema", "position_lps": [-1, -2, 3], "confidence": None, "scatter_mm": None}
    assert [round(point["confidence"], 3) for point in others] == [0.8, 0.7]
    beside = json.loads((tmp_path / "CT_landmarks_left.mrk.json").read_text())["markups"][0]["controlPoints"]
    for point, in_file in zip(left["landmarks"], beside, strict=True):
        np.testing.assert_allclose(point["position_lps"], in_file["position"])
    expected = np.linalg.norm(np.array(others[0]["position_lps"]) - (-1, -2, 3))
    assert left["distances_mm"]["helicotrema–oval window"] == pytest.approx(expected)
    assert (right["corrected"], left["corrected"]) == ([], ["helicotrema"])
    assert "Corrected after the run: helicotrema (left)." in saved["notes"][-1]
    assert "before the corrections" in saved["notes"][-1]


def test_points_that_were_deleted_and_set_are_saved_so(panel, scan, tmp_path, monkeypatch):
    add_ears(panel, scan, unfound=("oval window",))
    right = slicer.util.getNode("CT right landmarks")
    right.SetNthControlPointPosition(1, 4.0, 5.0, 6.0)
    right.UnsetNthControlPointPosition(2)
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("CT left landmarks"))
    panel.settle()
    saved = saved_summary(panel, tmp_path, monkeypatch)
    assert saved["ears"][0]["landmarks"][1]["position_lps"] == [-4, -5, 6]
    assert saved["ears"][0]["landmarks"][2]["position_lps"] is None
    assert list(saved["ears"][0]["distances_mm"]) == ["helicotrema–oval window"]
    assert [point["position_lps"] for point in saved["ears"][1]["landmarks"]] == [None, None, None]
    assert saved["ears"][0]["corrected"] == ["oval window", "round window"]
    # The oval window was not found by the run either.
    assert saved["ears"][1]["corrected"] == ["helicotrema", "round window"]


def test_a_segment_that_was_edited_is_saved_with_its_volume_as_it_is(segmented, tmp_path, monkeypatch):
    segmentation = slicer.util.getNode("CT inner ear")
    before = segmented.widget.panel._results.record.summary["ears"][1]["volume_mm3"]
    voxels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentation, "left")
    places = np.argwhere(voxels == 2)
    for k, j, i in places[: len(places) // 4]:
        voxels[k, j, i] = 0
    slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentation, "left")
    segmentation.GetSegmentation().GetSegment("left").Modified()
    saved = saved_summary(segmented, tmp_path, monkeypatch)
    right, left = saved["ears"]
    assert left["volume_mm3"] == pytest.approx(0.75 * before, rel=1e-3)
    assert (right["corrected"], left["corrected"]) == ([], ["labyrinth"])
    assert "Corrected after the run: labyrinth (left)." in saved["notes"][-1]


def test_a_volume_that_the_segments_voxels_only_come_near_is_no_correction(segmented):
    """As on the scan's own voxels."""
    segmentation = slicer.util.getNode("CT inner ear")
    summary = json.loads(segmentation.GetAttribute(SUMMARY))
    for ear in summary["ears"]:
        ear["volume_mm3"] *= 1.03
    segmentation.SetAttribute(SUMMARY, json.dumps(summary))
    saved = summary_as_corrected(latest_run(slicer.mrmlScene, slicer.util.getNode("CT")))
    assert [ear["corrected"] for ear in saved["ears"]] == [[], []]
    assert [ear["volume_mm3"] for ear in saved["ears"]] == [ear["volume_mm3"] for ear in summary["ears"]]


def test_a_segment_that_was_deleted_has_no_volume(segmented, tmp_path, monkeypatch):
    slicer.util.getNode("CT inner ear").GetSegmentation().RemoveSegment("right")
    right, left = saved_summary(segmented, tmp_path, monkeypatch)["ears"]
    assert (right["volume_mm3"], right["corrected"]) == (0, ["labyrinth"])
    assert left["corrected"] == []


def test_a_scene_that_was_saved_and_opened_again_counts_as_uncorrected(segmented, tmp_path, monkeypatch):
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    segmented.settle()
    saved = saved_summary(segmented, tmp_path, monkeypatch)
    assert [ear["corrected"] for ear in saved["ears"]] == [[], []]
    assert len(saved["notes"]) == 1
