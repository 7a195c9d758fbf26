"""Results in a MRML scene: at the right place, labelled, whole or absent, and still there after saving."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from host.runtime import Host
from InnerEarAILib import mrml
from InnerEarAILib.evaluation.calibration import wrong_share
from InnerEarAILib.labyrinth_files import EDITABLE_MARGIN_MM
from InnerEarAILib.mrml import add_results, volume_from_node
from InnerEarAILib.result_files import write_results as write_files
from InnerEarAILib.volume import Volume

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", (12, -7, 30), degrees=True).as_matrix() * (-0.6, 0.5, 0.8)
OBLIQUE[:3, 3] = (-40, 20, 5)


def hierarchy() -> slicer.vtkMRMLSubjectHierarchyNode:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def scene_content() -> tuple[list[str], int]:
    ids = [slicer.mrmlScene.GetNthNode(i).GetID() for i in range(slicer.mrmlScene.GetNumberOfNodes())]
    return ids, hierarchy().GetNumberOfItems()


def labelled_places(volume: Volume, label: int = 1) -> np.ndarray:
    """LPS of every voxel of a label, in a fixed order."""
    places = volume.grid.to_lps(np.argwhere(volume.voxels == label)[:, ::-1])
    return places[np.lexsort(places.round(3).T)]


def as_volume(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """A volume of our own as Slicer shows it; volume_from_node takes scans alone."""
    to_ras = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(to_ras)
    affine_lps = mrml.RAS_FROM_LPS @ slicer.util.arrayFromVTKMatrix(to_ras)
    return Volume(slicer.util.arrayFromVolume(node), affine_lps)


@pytest.fixture
def written(host, add_scan, result_for):
    node = add_scan(ijk_to_ras=OBLIQUE)
    result = result_for(volume_from_node(node).grid, ("right", "left"))
    return node, result, add_results(result, node)


@settings(max_examples=8, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-90, 90)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 1.2)] * 3),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
)
def test_segments_points_and_uncertainty_lie_where_the_result_says(
    tmp_path_factory, add_scan, result_for, angles, spacing, flips
):
    Host()
    ijk_to_ras = np.eye(4)
    ijk_to_ras[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing * flips
    node = add_scan(ijk_to_ras=ijk_to_ras)
    result = result_for(volume_from_node(node).grid)
    nodes = add_results(result, node)
    ear = result.ears[0]

    path = tmp_path_factory.mktemp("saved") / "labyrinth.seg.nrrd"
    assert slicer.util.saveNode(nodes.segmentation, str(path))
    saved = Volume.from_sitk(sitk.ReadImage(str(path)))
    np.testing.assert_allclose(labelled_places(saved), labelled_places(ear.segmentation), atol=1e-6)

    positions_ras = slicer.util.arrayFromMarkupsControlPoints(nodes.landmarks["right"], world=True)
    expected = np.array([mark.position_lps for mark in ear.landmarks]) * (-1, -1, 1)
    np.testing.assert_allclose(positions_ras, expected, atol=1e-9)

    shown = as_volume(nodes.uncertainty)
    np.testing.assert_allclose(shown.affine_lps, result.grid.affine_lps, atol=1e-9)
    inside = shown.grid.to_indices(ear.uncertainty.grid.centre_lps).round().astype(int)
    assert shown.voxels[tuple(inside[::-1])] == pytest.approx(0.25, abs=0.01)
    assert shown.voxels.dtype == np.float32


def test_the_surface_encloses_the_labyrinth(written):
    _, result, nodes = written
    for ear in result.ears:
        surface = nodes.segmentation.GetClosedSurfaceInternalRepresentation(ear.side)
        bounds = np.array(surface.GetBounds()).reshape(3, 2)
        places_ras = labelled_places(ear.segmentation) * (-1, -1, 1)
        np.testing.assert_allclose(bounds[:, 0], places_ras.min(0), atol=0.5)
        np.testing.assert_allclose(bounds[:, 1], places_ras.max(0), atol=0.5)


def test_two_ears_are_one_label_map_on_the_fine_grid(written, tmp_path):
    _, result, nodes = written
    path = tmp_path / "both.seg.nrrd"
    slicer.util.saveNode(nodes.segmentation, str(path))
    image = sitk.ReadImage(str(path))
    assert image.GetNumberOfComponentsPerPixel() == 1
    assert image.GetSpacing() == pytest.approx(result.ears[0].segmentation.spacing_mm)
    saved = Volume.from_sitk(image)
    for label, ear in enumerate(result.ears, start=1):
        np.testing.assert_allclose(labelled_places(saved, label), labelled_places(ear.segmentation), atol=1e-6)


def test_scripts_get_the_segments_on_the_grid_of_the_scan(written):
    _, result, nodes = written
    on_scan = slicer.util.arrayFromSegmentBinaryLabelmap(nodes.segmentation, "left")
    assert on_scan.shape == result.grid.shape
    centre = result.grid.to_lps(np.argwhere(on_scan)[:, ::-1]).mean(0)
    np.testing.assert_allclose(centre, labelled_places(result.ears[1].segmentation).mean(0), atol=0.3)


def test_segments_carry_name_terminology_and_algorithm(written):
    _, result, nodes = written
    for ear, code in zip(result.ears, ("SCT^24028007^Right", "SCT^7771000^Left"), strict=True):
        segment = nodes.segmentation.GetSegmentation().GetSegment(ear.side)
        assert segment.GetName() == f"{ear.side.capitalize()} labyrinth"
        assert f"SCT^123037004^Anatomical Structure~SCT^22945000^Inner ear~{code}" in tag(segment, "TerminologyEntry")
        assert tag(segment, "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
        assert tag(segment, "DICOM.SegmentAlgorithmName") == "InnerEarAI clinical"
        assert tag(segment, "InnerEarAI.flags") == ear.quality.flags[0]


def test_landmarks_are_three_named_points_with_confidence_tied_to_the_scan(written):
    node, _, nodes = written
    for landmarks in nodes.landmarks.values():
        assert [landmarks.GetNthControlPointLabel(i) for i in range(3)] == [
            "helicotrema",
            "oval window",
            "round window",
        ]
        assert landmarks.GetNthControlPointDescription(0) == "confidence 0.90, scatter 0.10 mm"
        assert landmarks.GetNthControlPointAssociatedNodeID(2) == node.GetID()
        landmarks.AddControlPoint(0, 0, 0)
        assert landmarks.GetNumberOfControlPoints() == 3


def test_a_landmark_that_was_not_found_has_no_position(host, add_scan, result_for, tmp_path):
    node = add_scan()
    result = result_for(volume_from_node(node).grid, missing=("oval window",))
    landmarks = add_results(result, node).landmarks["right"]
    unset = slicer.vtkMRMLMarkupsNode.PositionUndefined
    assert [landmarks.GetNthControlPointPositionStatus(i) == unset for i in range(3)] == [False, True, False]
    slicer.util.saveNode(landmarks, str(tmp_path / "points.mrk.json"))
    points = json.loads((tmp_path / "points.mrk.json").read_text(encoding="utf-8"))["markups"][0]["controlPoints"]
    assert [point["positionStatus"] for point in points] == ["defined", "undefined", "defined"]
    assert points[1]["description"] == "not found"


def test_saved_landmarks_are_in_lps(written, tmp_path):
    _, result, nodes = written
    slicer.util.saveNode(nodes.landmarks["left"], str(tmp_path / "points.mrk.json"))
    markups = json.loads((tmp_path / "points.mrk.json").read_text(encoding="utf-8"))["markups"][0]
    assert markups["coordinateSystem"] == "LPS"
    positions = [point["position"] for point in markups["controlPoints"]]
    np.testing.assert_allclose(positions, [mark.position_lps for mark in result.ears[1].landmarks], atol=1e-9)


def test_uncertainty_is_shown_by_its_own_colours_in_a_fixed_window(written):
    _, _, nodes = written
    display = nodes.uncertainty.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 0.5)
    assert not display.GetAutoWindowLevel()
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == mrml.UNCERTAINTY_VISIBLE
    assert wrong_share(mrml.UNCERTAINTY_VISIBLE) == pytest.approx(1 / 24, abs=1e-4)
    assert display.GetUpperThreshold() >= 0.5
    colours = display.GetColorNode().GetColorTransferFunction()
    brightness = [
        colours.GetRedValue(level) + colours.GetGreenValue(level) + colours.GetBlueValue(level)
        for level in np.linspace(0, 0.5, 6)
    ]
    assert brightness == sorted(brightness)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes.uncertainty)
    assert legend.GetVisibility()


def test_a_result_without_uncertainty_adds_no_volume(host, add_scan, result_for):
    node = add_scan()
    nodes = add_results(result_for(volume_from_node(node).grid, with_uncertainty=False), node)
    assert nodes.uncertainty is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert len(nodes.all()) == 2


def test_results_lie_beside_the_scan_in_its_study(host, add_scan, result_for):
    node = add_scan()
    study = hierarchy().CreateStudyItem(hierarchy().GetSceneItemID(), "study")
    hierarchy().SetItemParent(hierarchy().GetItemByDataNode(node), study)
    nodes = add_results(result_for(volume_from_node(node).grid), node)
    for one in nodes.all():
        assert hierarchy().GetItemParent(hierarchy().GetItemByDataNode(one)) == study


def test_every_result_node_says_how_it_came_about(written):
    node, _, nodes = written
    for one in nodes.all():
        assert one.GetAttribute("InnerEarAI.model") == "clinical"
        assert one.GetAttribute("InnerEarAI.seconds.predicting") == "1.5"
        assert one.GetAttribute("InnerEarAI.notes") == "The GPU had too little memory; the CPU was used: slower."
        assert one.GetNodeReferenceID("InnerEarAI.input") == node.GetID()
        assert all(name.startswith("InnerEarAI.") for name in one.GetAttributeNames())


def test_where_nothing_is_to_be_noted_there_are_no_notes(host, add_scan, result_for):
    node = add_scan()
    nodes = add_results(replace(result_for(volume_from_node(node).grid), notes=()), node)
    assert [one.GetAttribute("InnerEarAI.notes") for one in nodes.all()] == [None] * 3


def test_a_scene_bundle_restores_everything(written, tmp_path):
    _, result, nodes = written
    names = [one.GetName() for one in nodes.all()]
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    Host()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    segmentation, right, left, uncertainty = (slicer.util.getNode(name) for name in names)
    assert segmentation.GetAttribute("InnerEarAI.notes") == result.notes[0]
    assert segmentation.GetNodeReference("InnerEarAI.input").GetName() == "CT"
    for ear, landmarks in zip(result.ears, (right, left), strict=True):
        positions = slicer.util.arrayFromMarkupsControlPoints(landmarks) * (-1, -1, 1)
        np.testing.assert_allclose(positions, [mark.position_lps for mark in ear.landmarks], atol=1e-9)
        assert landmarks.GetFixedNumberOfControlPoints()
    # Slicer turns the slices of a left-handed file round; each voxel keeps its place.
    restored = as_volume(uncertainty)
    outer = [grid.corners_lps()[np.lexsort(grid.corners_lps().T)] for grid in (restored.grid, result.grid)]
    np.testing.assert_allclose(*outer, atol=1e-6)
    middle = restored.grid.to_indices(result.ears[1].segmentation.grid.centre_lps).round().astype(int)
    assert restored.voxels[tuple(middle[::-1])] == pytest.approx(0.25, abs=0.01)
    assert uncertainty.GetDisplayNode().GetColorNode().GetSingletonTag() == mrml.UNCERTAINTY_COLOUR_TAG
    # Saved once more, it is still on its own grid and not on the scan's, oversampled.
    slicer.util.saveNode(segmentation, str(tmp_path / "again.seg.nrrd"))
    again = Volume.from_sitk(sitk.ReadImage(str(tmp_path / "again.seg.nrrd")))
    np.testing.assert_allclose(labelled_places(again), labelled_places(result.ears[0].segmentation), atol=1e-6)
    assert again.spacing_mm == pytest.approx(result.ears[0].segmentation.spacing_mm)
    assert tag(segmentation.GetSegmentation().GetSegment("left"), "DICOM.SegmentAlgorithmType") == "AUTOMATIC"


def test_files_of_the_shell_open_in_slicer_as_the_same_nodes(written, tmp_path):
    _, result, nodes = written
    write_files(result, tmp_path, "CT")
    from_file = slicer.util.loadSegmentation(str(tmp_path / "CT_labyrinth.seg.nrrd"))
    for side in ("right", "left"):
        shown, loaded = (node.GetSegmentation().GetSegment(side) for node in (nodes.segmentation, from_file))
        assert shown.GetName() == loaded.GetName()
        assert shown.GetColor() == pytest.approx(loaded.GetColor())
        assert tag(shown, "TerminologyEntry") == tag(loaded, "TerminologyEntry")
        np.testing.assert_allclose(
            nodes.segmentation.GetSegmentCenterRAS(side), from_file.GetSegmentCenterRAS(side), atol=1e-6
        )
    points = slicer.util.loadMarkups(str(tmp_path / "CT_landmarks_right.mrk.json"))
    np.testing.assert_allclose(
        slicer.util.arrayFromMarkupsControlPoints(points),
        slicer.util.arrayFromMarkupsControlPoints(nodes.landmarks["right"]),
        atol=1e-9,
    )
    assert points.GetNthControlPointDescription(1) == nodes.landmarks["right"].GetNthControlPointDescription(1)


@pytest.mark.parametrize("error", [RuntimeError("no memory"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["_add_landmarks", "_add_uncertainty", "_place_beside"])
def test_a_failure_leaves_the_scene_as_it_was(host, add_scan, result_for, monkeypatch, step, error):
    node = add_scan()
    before = scene_content()

    def fail(*arguments):
        raise error

    monkeypatch.setattr(mrml, step, fail)
    with pytest.raises(type(error)):
        add_results(result_for(volume_from_node(node).grid, ("right", "left")), node)
    assert scene_content() == before


def test_a_second_run_adds_its_own_nodes_and_shares_the_colours(written):
    node, result, first = written
    second = add_results(result, node)
    assert not {one.GetID() for one in first.all()} & {one.GetID() for one in second.all()}
    assert len({one.GetName() for one in (*first.all(), *second.all())}) == 8
    assert first.uncertainty.GetDisplayNode().GetColorNodeID() == second.uncertainty.GetDisplayNode().GetColorNodeID()


def test_a_result_without_an_ear_is_not_written(host, add_scan, result_for):
    node = add_scan()
    with pytest.raises(ValueError, match="without an ear"):
        add_results(result_for(volume_from_node(node).grid, ()), node)


def test_results_show_over_the_scan_in_every_slice_view(written):
    node, result, nodes = written
    for name in ("Red", "Green"):
        composite = slicer.vtkMRMLSliceCompositeNode()
        composite.SetLayoutName(name)
        slicer.mrmlScene.AddNode(composite)
        view = slicer.vtkMRMLSliceNode()
        view.SetLayoutName(name)
        slicer.mrmlScene.AddNode(view)
    mrml.show_results(nodes, node)
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert composite.GetBackgroundVolumeID() == node.GetID()
        assert composite.GetForegroundVolumeID() == nodes.uncertainty.GetID()
        assert 0 < composite.GetForegroundOpacity() < 1
    middle_ras = labelled_places(result.ears[0].segmentation).mean(0) * (-1, -1, 1)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        assert abs(view.GetSliceOffset() - middle_ras[2]) < 1.0


def tag(segment: slicer.vtkSegment, name: str) -> str:
    value = vtk.reference("")
    assert segment.GetTag(name, value), f"no tag {name}"
    return str(value)


def editable_box_ras(segmentation: slicer.vtkMRMLSegmentationNode) -> np.ndarray:
    """First and last place (2, 3) that Slicer's Segment Editor lets a user draw at."""
    geometry = slicer.vtkSegmentationConverter
    text = segmentation.GetSegmentation().GetConversionParameter(geometry.GetReferenceImageGeometryParameterName())
    image = slicer.vtkOrientedImageData()
    assert geometry.DeserializeImageGeometry(text, image, False)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    corners = np.array(image.GetExtent()).reshape(3, 2).T
    ends = np.c_[corners, [1, 1]] @ slicer.util.arrayFromVTKMatrix(matrix).T
    return np.sort(ends[:, :3], axis=0)


@pytest.mark.parametrize("way", ["written", "saved and loaded", "the shell's file"])
def test_a_missing_canal_can_be_drawn_in_the_segment_editor(add_scan, result_for, tmp_path, way):
    scan = add_scan(ijk_to_ras=np.diag([-0.5, -0.5, 0.5, 1.0]))
    result = result_for(volume_from_node(scan).grid, ("right",))
    if way == "the shell's file":
        files = write_files(result, tmp_path, "CT")
        segmentation = slicer.util.loadSegmentation(str(files[0]))
    else:
        segmentation = add_results(result, scan).segmentation
    if way == "saved and loaded":
        slicer.util.saveNode(segmentation, str(tmp_path / "one.seg.nrrd"))
        segmentation = slicer.util.loadSegmentation(str(tmp_path / "one.seg.nrrd"))
    found = labelled_places(result.ears[0].segmentation) * (-1, -1, 1)
    low, high = editable_box_ras(segmentation)
    assert (found.min(0) - low >= EDITABLE_MARGIN_MM - 1e-6).all()
    assert (high - found.max(0) >= EDITABLE_MARGIN_MM - 1e-6).all()
    editor = slicer.vtkMRMLSegmentEditorNode()
    slicer.mrmlScene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(segmentation)
    editor.SetAndObserveSourceVolumeNode(scan)
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.SetSegmentEditorNode(editor)
    text = logic.GetReferenceImageGeometryStringFromSegmentation(segmentation.GetSegmentation())
    image = slicer.vtkOrientedImageData()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False)
    edges = np.array(image.GetDimensions()) * image.GetSpacing()
    assert (edges >= np.ptp(found, axis=0) + 2 * EDITABLE_MARGIN_MM - 1e-6).all()
