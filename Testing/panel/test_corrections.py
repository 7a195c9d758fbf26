"""What the user corrects: what the panel says of it, and how it is saved."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from scipy.spatial.transform import Rotation

from InnerEarAILib.mrml import RAS_FROM_LPS
from InnerEarAILib.panel.corrections import summary_as_corrected
from InnerEarAILib.panel.run_record import SCAN_FRAME, SUMMARY, latest_run
from panel.driving import SCAN_AFFINE_RAS, add_ears, add_scan, button, save_into, shown


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


def corrected_now(side: str) -> list[str]:
    summary = summary_as_corrected(latest_run(slicer.mrmlScene, slicer.util.getNode("CT")))
    return next(ear["corrected"] for ear in summary["ears"] if ear["side"] == side)


def test_exchanged_labels_are_a_correction_and_saved_as_the_points_file_has_them(segmented, tmp_path, monkeypatch):
    left = slicer.util.getNode("CT left landmarks")
    left.SetNthControlPointLabel(1, "round window")
    left.SetNthControlPointLabel(2, "oval window")
    saved = saved_summary(segmented, tmp_path, monkeypatch)["ears"][1]
    in_file = json.loads((tmp_path / "CT_landmarks_left.mrk.json").read_text())["markups"][0]["controlPoints"]
    places = {point["label"]: point["position"] for point in in_file}
    for landmark in saved["landmarks"]:
        np.testing.assert_allclose(landmark["position_lps"], places[landmark["name"]])
    assert saved["corrected"] == ["oval window", "round window"]


def test_points_in_another_order_are_no_correction_and_are_jumped_to_by_name(segmented, views):
    left = slicer.util.getNode("CT left landmarks")
    helicotrema = left.GetNthControlPointPositionWorld(0)
    left.SwapControlPoints(0, 1)
    assert corrected_now("left") == []
    button(segmented, "landmark_left_0").click()
    axial = views["Axial"].node.GetSliceToRAS().GetElement(2, 3)
    assert axial == pytest.approx(helicotrema[2], abs=1e-6)


def test_a_point_that_was_renamed_is_still_the_landmark(segmented):
    slicer.util.getNode("CT left landmarks").SetNthControlPointLabel(0, "Schneckenspitze")
    assert corrected_now("left") == []


def test_a_deleted_point_does_not_give_its_place_to_the_next(segmented):
    left = slicer.util.getNode("CT left landmarks")
    left.SetFixedNumberOfControlPoints(False)
    left.RemoveNthControlPoint(0)
    record = latest_run(slicer.mrmlScene, slicer.util.getNode("CT"))
    points = summary_as_corrected(record)["ears"][1]["landmarks"]
    assert [point["position_lps"] is None for point in points] == [True, False, False]
    assert corrected_now("left") == ["helicotrema"]


def test_voxels_that_moved_without_a_change_of_volume_are_a_correction(segmented):
    voxels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(slicer.util.getNode("CT inner ear"), "left")
    k, j, i = np.argwhere(voxels == 2)[0]
    voxels[k, j, i], voxels[k, j - 1, i] = 0, 2
    assert (corrected_now("right"), corrected_now("left")) == ([], ["labyrinth"])


def test_a_segmentation_hardened_elsewhere_is_corrected(segmented):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.array(
        [[1, 0, 0, 50], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])))  # fmt: skip
    segmentation = slicer.util.getNode("CT inner ear")
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    assert corrected_now("left") == []
    segmentation.HardenTransform()
    assert corrected_now("left") == ["labyrinth"]


REGISTRATION = np.eye(4)
REGISTRATION[:3, :3] = Rotation.from_euler("xyz", (12, -7, 30), degrees=True).as_matrix()
REGISTRATION[:3, 3] = (5, -3, 20)
FLIPPED = np.array([[0.6, 0, 0, -10], [0, -0.9, 0, 20], [0, 0, 0.7, 5], [0, 0, 0, 1]])
"""A left-handed scan: when it is read again, Slicer turns its slices round."""

RESULTS = ("CT inner ear", "CT right landmarks", "CT left landmarks", "CT uncertainty")


def move(names, matrix=REGISTRATION, harden=True) -> None:
    """Puts nodes under a transform, and hardens it."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    for name in names:
        node = slicer.util.getNode(name)
        node.SetAndObserveTransformNodeID(transform.GetID())
        if harden:
            node.HardenTransform()


def test_what_was_moved_with_the_scan_keeps_its_confidences_and_is_saved_where_it_is(segmented, tmp_path, monkeypatch):
    found = segmented.widget.panel._results.record.summary["ears"]
    move(("CT", *RESULTS))
    saved = saved_summary(segmented, tmp_path, monkeypatch)
    assert saved["notes"][-1] == "Moved with the scan after the run; positions are as they are now."
    for ear, before in zip(saved["ears"], found, strict=True):
        assert ear["corrected"] == []
        assert ear["volume_mm3"] == before["volume_mm3"]
        assert ear["distances_mm"] == before["distances_mm"]
        for point, point_before in zip(ear["landmarks"], before["landmarks"], strict=True):
            moved = RAS_FROM_LPS @ REGISTRATION @ RAS_FROM_LPS @ (*point_before["position_lps"], 1)
            np.testing.assert_allclose(point["position_lps"], moved[:3], atol=1e-9)
            assert (point["confidence"], point["scatter_mm"]) == (
                point_before["confidence"], point_before["scatter_mm"])  # fmt: skip
    tag = vtk.reference("")
    slicer.util.getNode("CT inner ear").GetSegmentation().GetSegment("left").GetTag("DICOM.SegmentAlgorithmType", tag)
    assert tag == "AUTOMATIC"
    assert "confidence" in slicer.util.getNode("CT left landmarks").GetNthControlPointDescription(0)


@pytest.mark.parametrize("what_is_hardened", ["results", "scan"])
def test_a_motion_with_the_scan_need_not_be_hardened_on_all(segmented, what_is_hardened):
    move(["CT"], harden=what_is_hardened == "scan")
    move(RESULTS, harden=what_is_hardened == "results")
    assert (corrected_now("right"), corrected_now("left")) == ([], [])


def test_a_registration_on_top_of_a_hardened_one_is_no_correction(segmented):
    move(("CT", *RESULTS))
    move(("CT", *RESULTS), harden=False)
    assert (corrected_now("right"), corrected_now("left")) == ([], [])


def test_a_point_that_was_moved_within_a_moved_scan_is_a_correction(segmented):
    move(("CT", *RESULTS))
    left = slicer.util.getNode("CT left landmarks")
    left.SetNthControlPointPosition(0, *(left.GetNthControlPointPosition(0) + np.array([0.2, 0, 0])))
    voxels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(slicer.util.getNode("CT inner ear"), "right")
    k, j, i = np.argwhere(voxels == 1)[0]
    voxels[k, j, i] = 0
    assert (corrected_now("right"), corrected_now("left")) == (["labyrinth"], ["helicotrema"])


@pytest.mark.parametrize("matrix", [np.diag([-1.0, 1, 1, 1]), np.diag([1.1, 1.1, 1.1, 1])])
def test_what_was_mirrored_or_stretched_with_the_scan_is_not_as_the_run_left_it(segmented, matrix):
    move(("CT", *RESULTS), matrix)
    assert {"labyrinth", "oval window", "round window"} <= set(corrected_now("left"))


@pytest.mark.parametrize("ijk_to_ras", [SCAN_AFFINE_RAS, FLIPPED], ids=["right-handed", "left-handed"])
def test_a_moved_scene_that_was_saved_and_opened_again_counts_as_uncorrected(panel, tmp_path, ijk_to_ras):
    scan = slicer.util.addVolumeFromArray(np.zeros((30, 32, 40), np.int16), ijk_to_ras, "CT")
    add_ears(panel, scan)
    move(("CT", *RESULTS))
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert (corrected_now("right"), corrected_now("left")) == ([], [])


def test_results_of_a_version_that_did_not_note_where_the_scan_lay_go_on_working(segmented):
    segmented.widget.panel._results.record.segmentation.RemoveAttribute(SCAN_FRAME)
    assert (corrected_now("right"), corrected_now("left")) == ([], [])
    move(("CT", *RESULTS))
    assert len(corrected_now("left")) == 4


def test_the_panel_says_at_once_what_was_corrected(segmented):
    left = slicer.util.getNode("CT left landmarks")
    left.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    left.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    segmented.settle()
    assert shown(segmented).count("placed by hand") == 1
    voxels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(slicer.util.getNode("CT inner ear"), "left")
    voxels[voxels == 2] = 0
    segmented.widget.enter()
    segmented.settle()
    assert any("0 mm³ (corrected)" in text for text in shown(segmented))


def test_surfaces_that_the_user_has_made_the_source_are_looked_at_and_left_as_they_are(segmented):
    segmentation = slicer.util.getNode("CT inner ear").GetSegmentation()
    names = slicer.vtkSegmentationConverter
    segmentation.SetSourceRepresentationName(names.GetSegmentationClosedSurfaceRepresentationName())
    volumes = [ear["volume_mm3"] for ear in segmented.widget.panel._results.record.summary["ears"]]
    add_scan(segmented, "another")
    segmented.choose_scan(slicer.util.getNode("CT"))
    ears = segmented.widget.panel._results._ears_now
    assert [ear["volume_mm3"] for ear in ears] == pytest.approx(volumes, rel=0.02)
    assert not segmentation.ContainsRepresentation(names.GetSegmentationBinaryLabelmapRepresentationName())


def test_removing_corrected_results_asks_first(segmented, monkeypatch):
    asked = []
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, **more: asked.append(text) or len(asked) > 1
    )
    slicer.util.getNode("CT left landmarks").SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    segmented.widget.ui.removeButton.click()
    assert slicer.util.getNode("CT inner ear") is not None
    segmented.widget.ui.removeButton.click()
    segmented.settle()
    assert len(asked) == 2
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
