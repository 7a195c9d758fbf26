"""What a run that is over does to the views: they show the ears to who looks at the scan, and stay as they are else."""

from __future__ import annotations

import types

import numpy as np
import pytest
import slicer
import slicer.util

from panel.driving import FINDS_TWO_EARS, add_ears, is_running, wait_until

IN_THE_SCENE = "The results are in the scene; “Jump to” centres the views on them."


@pytest.fixture
def resets(panel, monkeypatch) -> list[list[str]]:
    """What was in the scene each time that the 3D views were reset."""
    seen = []

    def reset():
        seen.append([node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")])

    layout = types.SimpleNamespace(resetThreeDViews=reset)
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: layout)
    return seen


@pytest.fixture
def other(panel, scan):
    """Another volume, ten times as large as the scan; the scan is chosen in the panel."""
    affine = np.diag([-9.0, -9.0, 9.0, 1.0])
    affine[:3, 3] = 100
    node = slicer.util.addVolumeFromArray(np.zeros((30, 32, 40), np.int16), affine, "other")
    panel.settle()
    return node


def backgrounds(views) -> set[str | None]:
    return {view.composite.GetBackgroundVolumeID() for view in views.values()}


def first_ear_ras() -> np.ndarray:
    segmentation = slicer.util.getNode("CT inner ear")
    return np.array(segmentation.GetSegmentCenterRAS(segmentation.GetSegmentation().GetNthSegmentID(0)))


def middle_of(view) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())[:3, 3]


def test_the_first_ear_is_in_the_middle_of_every_slice_view(panel, views, scan):
    slicer.util.setSliceViewerLayers(background=scan)
    for view in views.values():
        view.look_at(np.array([500.0, 500.0, 500.0]), 25)
    add_ears(panel, scan)
    for view in views.values():
        np.testing.assert_allclose(middle_of(view), first_ear_ras(), atol=1e-6)
        assert view.node.GetFieldOfView()[0] == pytest.approx(25)


def test_slices_that_showed_another_volume_are_fitted_to_the_scan(panel, views, scan, other):
    slicer.util.setSliceViewerLayers(background=other)
    for view in views.values():
        view.logic.FitSliceToBackground()
    far = views["Axial"].node.GetFieldOfView()[0]
    slicer.util.setSliceViewerLayers(background=scan)
    views["Axial"].logic.FitSliceToBackground()
    near = views["Axial"].node.GetFieldOfView()[0]
    assert far > 5 * near
    slicer.util.setSliceViewerLayers(background=other)
    views["Axial"].logic.FitSliceToBackground()
    add_ears(panel, scan)
    assert backgrounds(views) == {scan.GetID()}
    assert views["Axial"].node.GetFieldOfView()[0] == pytest.approx(near)
    np.testing.assert_allclose(middle_of(views["Axial"]), first_ear_ras(), atol=1e-6)


def test_the_3d_view_is_framed_at_the_first_run_and_keeps_its_camera_at_the_next(panel, scan, resets):
    add_ears(panel, scan)
    assert resets == [["CT inner ear"]]
    add_ears(panel, scan)
    assert len(resets) == 1


def test_the_3d_view_is_framed_again_where_nothing_of_ours_was_shown_in_it(panel, scan, resets):
    add_ears(panel, scan)
    slicer.util.getNode("CT inner ear").GetDisplayNode().SetVisibility3D(False)
    add_ears(panel, scan)
    assert len(resets) == 2


def finish_in_another_module(panel) -> None:
    panel.widget.ui.segmentButton.click()
    panel.leave()
    wait_until(panel, lambda: not is_running(panel))


def test_who_is_in_another_module_with_another_volume_keeps_the_views(panel, views, scan, other, resets, answers):
    slicer.util.setSliceViewerLayers(background=other)
    places = [middle_of(view) for view in views.values()]
    answers(FINDS_TWO_EARS)
    finish_in_another_module(panel)
    assert slicer.util.getNode("CT inner ear").GetSegmentation().GetNumberOfSegments() == 2
    assert backgrounds(views) == {other.GetID()}
    assert {view.composite.GetForegroundVolumeID() for view in views.values()} == {None}
    np.testing.assert_array_equal([middle_of(view) for view in views.values()], places)
    assert resets == []
    panel.enter()
    assert IN_THE_SCENE in panel.widget.ui.statusLabel.text
    assert panel.widget.ui.resultsButton.visible


def test_who_looks_at_the_scan_in_another_module_sees_the_ears(panel, views, scan, other, resets, answers):
    slicer.util.setSliceViewerLayers(background=other)
    views["Axial"].composite.SetBackgroundVolumeID(scan.GetID())
    answers(FINDS_TWO_EARS)
    finish_in_another_module(panel)
    assert backgrounds(views) == {scan.GetID()}
    assert len(resets) == 1
    assert IN_THE_SCENE not in panel.widget.ui.statusLabel.text


def test_who_waits_in_the_module_sees_the_ears_whatever_was_shown(panel, views, scan, other, resets, answers):
    slicer.util.setSliceViewerLayers(background=other)
    answers(FINDS_TWO_EARS)
    panel.widget.ui.segmentButton.click()
    wait_until(panel, lambda: not is_running(panel))
    assert backgrounds(views) == {scan.GetID()}
    assert len(resets) == 1
    assert IN_THE_SCENE not in panel.widget.ui.statusLabel.text


@pytest.fixture
def pet(panel, views, scan, other):
    """Another volume, which the user has laid over the scan in two of three slice views."""
    slicer.util.setSliceViewerLayers(background=scan, foreground=other, foregroundOpacity=0.3)
    views["Axial"].composite.SetForegroundVolumeID(None)
    return other


def test_a_run_without_uncertainty_leaves_what_the_user_has_laid_over_the_scan(panel, views, scan, pet):
    add_ears(panel, scan, uncertain=False)
    assert [view.composite.GetForegroundVolumeID() for view in views.values()] == [None, pet.GetID(), pet.GetID()]
    assert {view.composite.GetForegroundOpacity() for view in views.values()} == {0.3}


def test_a_run_without_uncertainty_takes_that_of_an_earlier_run_off(panel, views, scan, pet):
    add_ears(panel, scan)
    views["Coronal"].composite.SetForegroundVolumeID(pet.GetID())
    add_ears(panel, scan, uncertain=False)
    assert [view.composite.GetForegroundVolumeID() for view in views.values()] == [None, pet.GetID(), None]


def test_hiding_the_uncertainty_leaves_what_the_user_has_laid_over_another_view(panel, views, scan, pet):
    add_ears(panel, scan)
    views["Coronal"].composite.SetForegroundVolumeID(pet.GetID())
    panel.widget.ui.showUncertaintyButton.click()
    assert [view.composite.GetForegroundVolumeID() for view in views.values()] == [None, pet.GetID(), None]
