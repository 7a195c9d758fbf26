"""Result files: they open elsewhere at the right place, and are there as a set or not at all."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from InnerEarAILib import result_files
from InnerEarAILib.labyrinth_files import LABELS, joint_labels
from InnerEarAILib.landmark_files import landmarks_as_markups
from InnerEarAILib.result_files import result_file_names, uncertainty_on, write_results
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.scan_result_files import read_scan_result, write_scan_result
from InnerEarAILib.volume import Grid, InputError, Volume
from library.scans import affine, painted_ear, scan_result

RIGHT_LPS, LEFT_LPS = (-38.0, 4.0, 7.0), (40.0, 6.0, 3.0)


def both_ears(**options):
    return [painted_ear("right", RIGHT_LPS, **options), painted_ear("left", LEFT_LPS, **options)]


def voxels_at(image, label):
    """Physical positions of the voxels of a label, (n, 3)."""
    array = sitk.GetArrayFromImage(image)
    volume = Volume.from_sitk(image)
    return volume.grid.to_lps(np.argwhere(array == label)[:, ::-1])


def in_order(points):
    points = np.round(points, 6)
    return points[np.lexsort(points.T)]


@pytest.fixture
def written(tmp_path):
    files = write_results(scan_result(both_ears()), tmp_path / "out", "scan")
    return {file.name: file for file in files}


def test_every_promised_file_is_there_and_nothing_else(tmp_path, written):
    assert tuple(written) == result_file_names("scan")
    assert sorted(os.listdir(tmp_path / "out")) == sorted(
        [
            "scan_labyrinth.seg.nrrd",
            "scan_landmarks_left.mrk.json",
            "scan_landmarks_right.mrk.json",
            "scan_result.json",
            "scan_uncertainty_left.nrrd",
            "scan_uncertainty_right.nrrd",
        ]
    )


def test_simpleitk_finds_every_labyrinth_voxel_at_its_place(written):
    image = sitk.ReadImage(written["scan_labyrinth.seg.nrrd"])
    for ear in both_ears():
        expected = ear.segmentation.grid.to_lps(np.argwhere(ear.segmentation.voxels)[:, ::-1])
        np.testing.assert_allclose(in_order(voxels_at(image, LABELS[ear.side])), in_order(expected), atol=1e-5)
    assert image.GetMetaData("Segment0_Name") == "Right labyrinth"
    assert image.GetMetaData("Segment1_LabelValue") == "2"


def test_file_of_both_ears_is_small(written):
    assert written["scan_labyrinth.seg.nrrd"].stat().st_size < 100_000


def test_slicer_opens_segments_with_name_place_and_terms(written):
    slicer = pytest.importorskip("slicer")
    vtk = pytest.importorskip("vtk")
    from vtk.util.numpy_support import vtk_to_numpy

    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(written["scan_labyrinth.seg.nrrd"]))
    scene.AddNode(storage)
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    assert list(segmentation.GetSegmentIDs()) == ["right", "left"]
    for ear in both_ears():
        segment = segmentation.GetSegment(ear.side)
        assert segment.GetName() == f"{ear.side.capitalize()} labyrinth"
        tag = vtk.reference("")
        assert segment.GetTag("TerminologyEntry", tag)
        assert "SCT^22945000^Inner ear" in str(tag)
        assert f"^{ear.side.capitalize()}~" in str(tag)
        assert segment.GetTag("DICOM.SegmentAlgorithmName", tag)
        assert str(tag) == "InnerEarAI painted"
        labelmap = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(ear.side, labelmap)
        to_ras = vtk.vtkMatrix4x4()
        labelmap.GetImageToWorldMatrix(to_ras)
        extent = labelmap.GetExtent()
        shape = (extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
        voxels = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(shape)
        matrix = np.array([[to_ras.GetElement(r, c) for c in range(4)] for r in range(4)])
        ijk = np.argwhere(voxels > 0)[:, ::-1] + np.array(extent)[[0, 2, 4]]
        ras = ijk @ matrix[:3, :3].T + matrix[:3, 3]
        expected = ear.segmentation.grid.to_lps(np.argwhere(ear.segmentation.voxels)[:, ::-1]) * (-1, -1, 1)
        np.testing.assert_allclose(in_order(ras), in_order(expected), atol=1e-5)


def test_slicer_opens_landmarks_and_leaves_an_unfound_one_undefined(tmp_path):
    slicer = pytest.importorskip("slicer")
    ear = painted_ear("right", RIGHT_LPS, unfound=("oval window",))
    write_results(scan_result([ear]), tmp_path, "scan")
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    storage = slicer.vtkMRMLMarkupsJsonStorageNode()
    storage.SetFileName(str(tmp_path / "scan_landmarks_right.mrk.json"))
    scene.AddNode(storage)
    assert storage.ReadData(node)
    assert [node.GetNthControlPointLabel(n) for n in range(3)] == ["helicotrema", "oval window", "round window"]
    assert [node.GetNthControlPointDescription(n) for n in range(3)] == [
        "confidence 0.90, scatter 0.07 mm",
        "not found",
        "confidence 0.70, scatter 0.07 mm",
    ]
    assert node.GetNthControlPointPositionStatus(1) == slicer.vtkMRMLMarkupsNode.PositionUndefined
    for n in (0, 2):
        expected = ear.landmarks[n].position_lps * (-1, -1, 1)
        np.testing.assert_allclose(node.GetNthControlPointPosition(n), expected, atol=1e-12)


def test_unfound_landmark_has_no_position_in_the_file():
    ear = painted_ear("right", RIGHT_LPS, unfound=("helicotrema",))
    points = landmarks_as_markups(ear.landmarks)["markups"][0]["controlPoints"]
    assert "position" not in points[0]
    assert [point["positionStatus"] for point in points] == ["undefined", "defined", "defined"]


def test_uncertainty_lies_on_the_scans_own_grid(tmp_path):
    ear = painted_ear("right", RIGHT_LPS)
    matrix = affine((10, 20, 30), (0.4, 0.5, 0.6), axes=(2, 0, 1), flips=(1, -1, 1))
    matrix[:3, 3] = RIGHT_LPS - Grid((60, 70, 80), matrix).centre_lps
    grid = Grid((60, 70, 80), matrix)
    write_results(scan_result([ear], grid=grid), tmp_path, "scan")
    volume = read_volume(tmp_path / "scan_uncertainty_right.nrrd")
    assert volume.voxels.dtype == np.float32
    assert volume.voxels.shape == grid.shape
    np.testing.assert_allclose(volume.affine_lps, grid.affine_lps, atol=1e-9)
    k, j, i = np.indices(grid.shape)
    places = grid.to_lps(np.stack([i, j, k], -1))
    truth = 0.5 * np.exp(-0.1 * (places - RIGHT_LPS) ** 2).prod(-1)
    indices = ear.uncertainty.grid.to_indices(places)
    inside = ((indices > 0) & (indices < 59)).all(-1)
    assert inside.sum() > 1000
    assert np.abs(volume.voxels - truth)[inside].max() < 0.01
    outside = ((indices < -0.6) | (indices > 59.6)).any(-1)
    assert not volume.voxels[outside].any()


def test_uncertainty_of_a_region_off_the_scan_is_nought():
    far = Grid.axis_aligned((5, 5, 5), 1.0, (500, 500, 500))
    assert not uncertainty_on(far, [painted_ear("right", RIGHT_LPS).uncertainty]).voxels.any()


def test_uncertainty_on_another_grid_stays_within_its_range():
    """A standard deviation of probabilities is at most 0.5; a cubic kernel overshoots at an edge."""
    ear = painted_ear("right", RIGHT_LPS)
    sharp = ear.uncertainty.with_voxels(np.where(ear.segmentation.voxels > 0, 0.5, 0).astype(np.float32))
    for edge_mm in (0.13, 0.2, 0.4):
        again = uncertainty_on(Grid.cube_round(RIGHT_LPS, edge_mm, round(8 / edge_mm)), [sharp]).voxels
        assert again.max() == pytest.approx(0.5, abs=1e-6)
        assert again.max() <= 0.5 + 1e-6
        assert again.min() >= -1e-6


def test_without_uncertainty_there_is_no_file_of_it_and_the_summary_says_so(tmp_path):
    files = write_results(scan_result(both_ears(uncertain=False)), tmp_path, "scan")
    assert not [file for file in files if "uncertainty" in file.name]
    ears = json.loads((tmp_path / "scan_result.json").read_text(encoding="utf-8"))["ears"]
    assert [ear["uncertainty"] for ear in ears] == [None] * 2
    assert [ear["mean_standard_deviation"] for ear in ears] == [None, None]


def test_summary_holds_figures_flags_and_provenance(written):
    summary = json.loads(written["scan_result.json"].read_text(encoding="utf-8"))
    assert summary["provenance"] == {"model": "painted", "views": 10, "located": True}
    assert summary["seconds"] == {"predicting": 1.25}
    assert summary["notes"] == ["A note."]
    assert summary["scan"]["voxels_ijk"] == [42, 41, 40]
    right, left = summary["ears"]
    assert (right["side"], left["side"]) == ("right", "left")
    assert right["volume_mm3"] == pytest.approx(4 / 3 * np.pi * 3 * 4 * 5, rel=0.02)
    assert right["flags"] == ["Unusual."]
    assert right["distances_mm"] == {"helicotrema–oval window": 6.5}
    np.testing.assert_allclose(right["landmarks"][1]["position_lps"], np.add(RIGHT_LPS, 1 / 3))


def test_ears_off_each_others_lattice_keep_place_and_volume():
    right, left = both_ears()
    left = painted_ear("left", LEFT_LPS, origin_shift=0.09)
    joint = joint_labels([right, left])
    for ear in (right, left):
        expected = ear.segmentation.grid.to_lps(np.argwhere(ear.segmentation.voxels)[:, ::-1])
        found = joint.grid.to_lps(np.argwhere(joint.voxels == LABELS[ear.side])[:, ::-1])
        assert len(found) == pytest.approx(len(expected), rel=0.01)
        np.testing.assert_allclose(found.mean(0), expected.mean(0), atol=0.05)


def test_ears_off_each_others_lattice_are_interpolated_linearly():
    right, left = both_ears()
    affine_lps = left.segmentation.affine_lps.copy()
    affine_lps[:3, 3] += (0.07, 0.05, 0.03)
    specks = (np.random.default_rng(1).random(left.segmentation.voxels.shape) > 0.6).astype(np.uint8)
    left = replace(left, segmentation=Volume(specks, affine_lps))
    joint = joint_labels([right, left])
    places = joint.grid.to_lps(np.stack(np.indices(joint.voxels.shape)[::-1], -1))
    indices = left.segmentation.grid.to_indices(places)[..., ::-1]
    linear = ndimage.map_coordinates(specks.astype(float), np.moveaxis(indices, -1, 0), order=1)
    inside = ((indices > 1) & (indices < np.array(specks.shape) - 2)).all(-1)
    np.testing.assert_array_equal((joint.voxels == LABELS["left"])[inside], (linear >= 0.5)[inside])


@pytest.mark.parametrize("flips", [(1, 1, -1), (-1, 1, 1), (1, -1, 1), (-1, -1, -1), (1, 1, 1), (-1, -1, 1)])
def test_labels_of_a_left_handed_scan_lie_on_its_voxels_with_right_handed_axes(flips):
    """Slicer draws the surface of a left-handed label map inside out."""
    matrix = affine((10, 20, 30), (0.4, 0.5, 0.6), origin=(3, -4, 5), flips=flips)
    voxels = np.random.default_rng(1).integers(0, 2, (10, 12, 14)).astype(np.uint8)
    ear = replace(painted_ear("left", LEFT_LPS), segmentation=Volume(voxels, matrix))
    joint = joint_labels([ear])
    assert np.linalg.det(joint.affine_lps[:3, :3]) > 0
    expected = ear.segmentation.grid.to_lps(np.argwhere(voxels)[:, ::-1])
    found = joint.grid.to_lps(np.argwhere(joint.voxels == LABELS["left"])[:, ::-1])
    np.testing.assert_allclose(in_order(found), in_order(expected), atol=1e-5)


def test_single_left_ear_keeps_the_label_of_left(tmp_path):
    write_results(scan_result([painted_ear("left", LEFT_LPS)]), tmp_path, "scan")
    image = sitk.ReadImage(tmp_path / "scan_labyrinth.seg.nrrd")
    assert sorted(np.unique(sitk.GetArrayFromImage(image))) == [0, 2]
    assert not (tmp_path / "scan_landmarks_right.mrk.json").exists()


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_earlier_results_are_kept_unless_overwriting_is_allowed(tmp_path):
    write_results(scan_result(both_ears()), tmp_path, "scan")
    before = content(tmp_path)
    with pytest.raises(InputError, match="--overwrite"):
        write_results(scan_result([painted_ear("left", LEFT_LPS)]), tmp_path, "scan")
    assert content(tmp_path) == before


def test_of_two_runs_of_one_name_at_a_time_the_second_to_end_is_refused(tmp_path, monkeypatch):
    write_set, other = result_files._write_set, tmp_path / "out"

    def slowly(scan_result, folder, name):
        monkeypatch.setattr(result_files, "_write_set", write_set)
        write_results(first, other, "scan")
        write_set(scan_result, folder, name)

    first = scan_result([painted_ear("left", LEFT_LPS)])
    monkeypatch.setattr(result_files, "_write_set", slowly)
    with pytest.raises(InputError, match=r"There are results of scan in .*out already .*--overwrite"):
        write_results(scan_result(both_ears()), other, "scan")
    kept = content(other)
    write_results(first, tmp_path / "alone", "scan")
    assert kept == content(tmp_path / "alone")


def test_overwriting_leaves_no_file_of_the_earlier_set(tmp_path):
    write_results(scan_result(both_ears()), tmp_path, "scan")
    write_results(scan_result(both_ears()), tmp_path, "other")
    write_results(scan_result([painted_ear("left", LEFT_LPS, uncertain=False)]), tmp_path, "scan", overwrite=True)
    assert sorted(file for file in os.listdir(tmp_path) if file.startswith("scan")) == [
        "scan_labyrinth.seg.nrrd",
        "scan_landmarks_left.mrk.json",
        "scan_result.json",
    ]
    assert len(os.listdir(tmp_path)) == 3 + 6


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("bug")])
@pytest.mark.parametrize("step", ["write_labyrinths", "write_landmarks", "write_volume", "write_json"])
def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch, step, error):
    def fails(*arguments):
        raise error

    monkeypatch.setattr(result_files, step, fails)
    with pytest.raises(InputError if isinstance(error, OSError) else type(error)):
        write_results(scan_result(both_ears()), tmp_path / "a" / "b", "scan")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("failing_move", [0, 3, 5, 6, 8, 11])
def test_interrupted_exchange_brings_the_earlier_set_back(tmp_path, monkeypatch, failing_move):
    write_results(scan_result(both_ears()), tmp_path, "scan")
    before = content(tmp_path)
    moves = []
    replace_file = os.replace

    def fails_once(source, target):
        # Files of the new set are written by renaming too: only moves out of the folder and into it count.
        if tmp_path in (source.parent, target.parent):
            moves.append(target)
            if len(moves) == failing_move + 1:
                raise KeyboardInterrupt
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(KeyboardInterrupt):
        write_results(
            scan_result([painted_ear("left", LEFT_LPS)]) if failing_move < 8 else scan_result(both_ears()),
            tmp_path,
            "scan",
            True,
        )
    assert content(tmp_path) == before


def test_a_folder_in_use_by_others_survives_a_failure(tmp_path, monkeypatch):
    def fails(path, *arguments):
        (tmp_path / "out" / "other.txt").write_text("someone else's")
        raise RuntimeError("bug")

    monkeypatch.setattr(result_files, "write_landmarks", fails)
    with pytest.raises(RuntimeError):
        write_results(scan_result(both_ears()), tmp_path / "out", "scan")
    assert os.listdir(tmp_path / "out") == ["other.txt"]


def test_a_result_without_ears_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="no ear"):
        write_results(scan_result([]), tmp_path / "out", "scan")
    assert os.listdir(tmp_path) == []


def assert_same(one, other):
    """Equal to the last bit, arrays and their types included."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif hasattr(one, "__dataclass_fields__"):
        for field in one.__dataclass_fields__:
            assert_same(getattr(one, field), getattr(other, field))
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


@pytest.mark.parametrize(
    "ears",
    [
        [],
        both_ears(),
        [painted_ear("left", (1 / 3, 2 / 7, -1e-17), uncertain=False, unfound=("helicotrema", "round window"))],
        [replace(painted_ear("right", RIGHT_LPS), view_deviation=None)],
    ],
    ids=["none", "both", "one without uncertainty", "one view"],
)
def test_result_handed_over_is_the_same_to_the_last_bit(tmp_path, ears):
    grid = Grid((7, 8, 9), affine((12, 34, 56), (1 / 3, 0.1, np.pi)))
    result = replace(scan_result(ears, "ear ß", grid), notes=("Grüße “you”", ""))
    write_scan_result(tmp_path / "result.npz", result)
    assert_same(read_scan_result(tmp_path / "result.npz"), result)
    assert os.listdir(tmp_path) == ["result.npz"]


def test_damaged_or_foreign_result_is_refused(tmp_path):
    path = tmp_path / "result.npz"
    write_scan_result(path, scan_result(both_ears()))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="not a whole"):
        read_scan_result(path)
    np.savez(path, grid=np.eye(4))
    with pytest.raises(ValueError, match="not a whole"):
        read_scan_result(path)
    np.savez(path, grid=np.array([object()]), record=np.frombuffer(b"{}", np.uint8))
    with pytest.raises(ValueError, match=r"."):
        read_scan_result(path)


def test_a_full_disk_is_told_by_the_folder_that_was_asked_for(tmp_path, monkeypatch):
    def fails(path, _):
        raise InputError(f"{path.name} cannot be written to {path.parent} (No space left on device).")

    monkeypatch.setattr(result_files, "write_json", fails)
    with pytest.raises(InputError) as caught:
        write_results(scan_result(both_ears()), tmp_path, "scan")
    assert str(caught.value) == f"scan_result.json cannot be written to {tmp_path} (No space left on device)."
