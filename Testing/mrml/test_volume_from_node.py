"""Volume nodes as Volume: the same voxels at the same place, or one clear sentence."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from host.runtime import Host
from InnerEarAILib.mrml import volume_from_node
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.volume import InputError


def lattices() -> st.SearchStrategy[np.ndarray]:
    """Placements in RAS of every kind that a scanner or a converter makes: oblique, anisotropic, flipped, permuted."""

    def placement(angles, spacing, origin, order, flips):
        affine = np.eye(4)
        axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()[:, list(order)] * flips
        affine[:3, :3] = axes * spacing
        affine[:3, 3] = origin
        return affine

    number = st.floats(-180, 180, allow_nan=False)
    return st.builds(
        placement,
        st.tuples(number, number, number),
        st.tuples(*[st.floats(0.1, 2.0)] * 3),
        st.tuples(*[st.floats(-300, 300)] * 3),
        st.permutations(range(3)),
        st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    )


def warp_transform() -> slicer.vtkMRMLTransformNode:
    spline = vtk.vtkThinPlateSplineTransform()
    here, there = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (10, 0, 0), (0, 10, 0), (0, 0, 10), (10, 10, 10)):
        here.InsertNextPoint(point)
        there.InsertNextPoint(point[0], point[1] + 0.01 * point[0] ** 2, point[2])
    spline.SetSourceLandmarks(here)
    spline.SetTargetLandmarks(there)
    spline.SetBasisToR()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    node.SetAndObserveTransformToParent(spline)
    return node


@settings(max_examples=25, deadline=None)
@given(ijk_to_ras=lattices())
def test_every_voxel_lies_where_slicer_shows_it(add_scan, ijk_to_ras):
    Host()
    node = add_scan((3, 4, 5), ijk_to_ras)
    volume = volume_from_node(node)
    ras_of_corner = ijk_to_ras @ (4, 3, 2, 1)
    np.testing.assert_allclose(volume.grid.to_lps((4, 3, 2)), ras_of_corner[:3] * (-1, -1, 1), atol=1e-9)
    np.testing.assert_array_equal(volume.voxels, slicer.util.arrayFromVolume(node))


@settings(max_examples=10, deadline=None)
@given(ijk_to_ras=lattices(), shift=st.floats(-50, 50), angle=st.floats(-180, 180))
def test_a_linear_transform_above_the_scan_moves_the_volume_along(add_scan, ijk_to_ras, shift, angle):
    Host()
    node = add_scan((3, 4, 5), ijk_to_ras)
    to_world = np.eye(4)
    to_world[:3, :3] = Rotation.from_euler("zx", (angle, 20), degrees=True).as_matrix()
    to_world[:3, 3] = (shift, 3, -4)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(to_world))
    node.SetAndObserveTransformNodeID(transform.GetID())
    corners = np.zeros(6)
    node.GetRASBounds(corners)
    lps = volume_from_node(node).grid.corners_lps() * (-1, -1, 1)
    np.testing.assert_allclose(lps.min(0), corners[::2], atol=1e-6)
    np.testing.assert_allclose(lps.max(0), corners[1::2], atol=1e-6)


@pytest.mark.parametrize("handedness", [1, -1])
@pytest.mark.parametrize("ending", ["nrrd", "nii.gz", "mha"])
def test_a_file_means_the_same_in_slicer_and_in_the_library(host, tmp_path, add_scan, ending, handedness):
    oblique = np.eye(4)
    oblique[:3, :3] = Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix() * (0.5, 0.6, handedness * 0.7)
    written = add_scan((6, 7, 8), oblique)
    path = tmp_path / f"scan.{ending}"
    assert slicer.util.saveNode(written, str(path))
    by_slicer = volume_from_node(slicer.util.loadVolume(str(path)))
    by_library = read_volume(path)
    # Slicer may turn the order of slices round; a value's place is what counts.
    for volume in (by_slicer, by_library):
        k, j, i = np.argwhere(volume.voxels == 6 * 7 * 8 - 10)[0]
        expected_ras = oblique @ (*np.unravel_index(6 * 7 * 8 - 10, (6, 7, 8))[::-1], 1)
        np.testing.assert_allclose(volume.grid.to_lps((i, j, k)), expected_ras[:3] * (-1, -1, 1), atol=1e-4)


def test_the_scan_cannot_be_altered_through_the_volume(host, add_scan):
    with pytest.raises(ValueError, match="read-only"):
        volume_from_node(add_scan()).voxels[0, 0, 0] = 1


def test_what_is_no_ct_is_refused_in_one_sentence(host, add_scan):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    labels = slicer.util.addVolumeFromArray(np.ones((2, 2, 2), np.uint8), nodeClassName="vtkMRMLLabelMapVolumeNode")
    colours = slicer.util.addVolumeFromArray(np.ones((2, 2, 2, 3), np.uint8), nodeClassName="vtkMRMLVectorVolumeNode")
    warped = add_scan()
    warped.SetAndObserveTransformNodeID(warp_transform().GetID())
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    uncertainty = add_scan()
    uncertainty.SetAttribute("InnerEarAI.model", "clinical")
    refused = {None: "No volume", empty: "no image", labels: "label map", colours: "3 values", warped: "warping"}
    refused[uncertainty] = "uncertainty of an earlier run, not a CT"
    for node, reason in {**refused, points: "No volume"}.items():
        with pytest.raises(InputError, match=reason):
            volume_from_node(node)


def test_a_sheared_scan_is_refused(host, add_scan):
    sheared = np.eye(4)
    sheared[0, 2] = 0.2
    with pytest.raises(InputError, match="not perpendicular"):
        volume_from_node(add_scan((3, 4, 5), sheared))


def tilt_transform():
    """As Slicer's DICOM module puts it above a scan of a tilted gantry: a grid of displacements, here y by 0.3 z."""
    displacements = vtk.vtkImageData()
    displacements.SetDimensions(2, 2, 2)
    displacements.SetOrigin(-60, -60, -20)
    displacements.SetSpacing(120, 120, 80)
    displacements.AllocateScalars(vtk.VTK_DOUBLE, 3)
    for i, j, k in np.ndindex(2, 2, 2):
        for axis, value in enumerate((0, 0.3 * (-20 + 80 * k), 0)):
            displacements.SetScalarComponentFromDouble(i, j, k, axis, value)
    grid = slicer.vtkOrientedGridTransform()
    grid.SetDisplacementGridData(displacements)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "CT acquisition transform")
    node.SetAndObserveTransformToParent(grid)
    return node


def bright_place_lps(volume):
    k, j, i = np.argwhere(volume.voxels == volume.voxels.max()).mean(0)
    return volume.grid.to_lps((i, j, k))


def test_a_tilted_scan_is_straight_once_its_transform_is_hardened_and_a_file_of_it_too(host, tmp_path):
    voxels = np.zeros((24, 28, 32), np.int16)
    voxels[19:22, 13:16, 15:18] = 1000
    node = slicer.util.addVolumeFromArray(voxels, np.diag([-1.0, -1.0, 1.0, 1.0]), "CT")
    node.SetAndObserveTransformNodeID(tilt_transform().GetID())
    slicer.util.saveNode(node, str(tmp_path / "too_early.nrrd"))
    with pytest.raises(InputError, match="harden it"):
        volume_from_node(node)
    node.HardenTransform()
    slicer.util.saveNode(node, str(tmp_path / "scan.nrrd"))
    # RAS (-16, -14, 20), moved by 0.3 · 20 mm along y.
    expected_lps = np.array([16, 14 - 6, 20])
    for volume in (volume_from_node(node), read_volume(tmp_path / "scan.nrrd")):
        np.testing.assert_allclose(bright_place_lps(volume), expected_lps, atol=0.6)
    assert np.abs(bright_place_lps(read_volume(tmp_path / "too_early.nrrd")) - expected_lps).max() > 5


def test_a_shearing_transform_stays_one_when_it_is_hardened_so_resampling_is_advised(host, add_scan):
    node = add_scan()
    sheared = np.eye(4)
    sheared[1, 2] = 0.3
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(sheared))
    node.SetAndObserveTransformNodeID(transform.GetID())
    for _ in range(2):
        with pytest.raises(InputError, match="resample it onto a straight volume"):
            volume_from_node(node)
        node.HardenTransform()
