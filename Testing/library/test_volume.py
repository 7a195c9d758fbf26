"""Volume and Grid: positions are exact, whatever the orientation."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from InnerEarAILib.volume import Grid, InputError, Volume, marked_indices
from library.scans import SHAPE, affine, affines, noisy_scan

indices = st.tuples(*[st.integers(0, n - 1) for n in SHAPE])


@given(affines(), st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=5))
def test_indices_and_positions_are_inverse(matrix, points):
    grid = Grid(SHAPE, matrix)
    np.testing.assert_allclose(grid.to_indices(grid.to_lps(np.array(points))), points, atol=1e-9)


@given(affines())
def test_spacing_and_directions_make_up_the_affine(matrix):
    grid = Grid(SHAPE, matrix)
    np.testing.assert_allclose(grid.directions * grid.spacing_mm, matrix[:3, :3], atol=1e-12)
    np.testing.assert_allclose(grid.directions.T @ grid.directions, np.eye(3), atol=1e-9)


@given(affines())
def test_centre_lies_amid_the_corners_half_a_voxel_beyond_the_centres(matrix):
    grid = Grid(SHAPE, matrix)
    np.testing.assert_allclose(grid.corners_lps().mean(0), grid.centre_lps, atol=1e-9)
    inside = grid.to_indices(grid.corners_lps())
    np.testing.assert_allclose(inside.min(0), [-0.5] * 3, atol=1e-9)
    np.testing.assert_allclose(inside.max(0), np.array(SHAPE[::-1]) - 0.5, atol=1e-9)


@given(affines(), st.tuples(*[st.integers(1, 4)] * 3))
def test_a_refined_grid_fills_the_same_box_and_divides_every_voxel(matrix, factors):
    grid = Grid(SHAPE, matrix)
    fine = grid.refined(factors)
    np.testing.assert_allclose(fine.corners_lps(), grid.corners_lps(), atol=1e-9)
    np.testing.assert_allclose(fine.spacing_mm * factors, grid.spacing_mm, atol=1e-12)


@given(affines(), indices)
def test_simpleitk_places_every_voxel_where_the_volume_does(matrix, kji):
    volume = noisy_scan(matrix)
    ijk = [int(n) for n in kji[::-1]]
    image = volume.to_sitk()
    assert image[ijk] == volume.voxels[kji]
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(ijk), volume.grid.to_lps(ijk), atol=1e-9)


@given(affines())
def test_round_trip_through_simpleitk_changes_nothing(matrix):
    volume = noisy_scan(matrix)
    again = Volume.from_sitk(volume.to_sitk(), volume.name)
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    np.testing.assert_allclose(again.affine_lps, volume.affine_lps, atol=1e-9)
    assert again.name == volume.name


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint16", "int32", "int64", "float16", "float32", "float64", ">i2", ">f4"]
)
def test_every_real_voxel_type_passes_through_simpleitk(dtype):
    voxels = np.random.default_rng(0).integers(0, 2, SHAPE).astype(dtype)
    again = Volume.from_sitk(Volume(voxels, affine()).to_sitk())
    np.testing.assert_array_equal(again.voxels, voxels)


@given(affines(), indices, indices)
def test_crop_keeps_every_voxel_at_its_place(matrix, one, other):
    volume = noisy_scan(matrix)
    start, stop = np.minimum(one, other), np.maximum(one, other) + 1
    cropped = volume.crop(start, stop)
    assert cropped.voxels.shape == tuple(stop - start)
    np.testing.assert_allclose(cropped.grid.to_lps([0, 0, 0]), volume.grid.to_lps(start[::-1]), atol=1e-9)
    np.testing.assert_allclose(cropped.affine_lps[:3, :3], volume.affine_lps[:3, :3])
    np.testing.assert_array_equal(cropped.voxels[0, 0, 0], volume.voxels[tuple(start)])
    np.testing.assert_array_equal(cropped.voxels[-1, -1, -1], volume.voxels[tuple(stop - 1)])


@given(st.tuples(*[st.integers(-40, 60)] * 3), st.tuples(*[st.integers(-40, 60)] * 3))
def test_crop_beyond_the_volume_is_cut_at_its_border(start, stop):
    volume = noisy_scan()
    cropped = volume.crop(start, stop)
    first_inside, end_inside = np.clip(start, 0, SHAPE), np.clip(stop, 0, SHAPE)
    assert cropped.voxels.shape == tuple(np.maximum(end_inside - first_inside, 0))
    if cropped.voxels.size:
        first = np.rint(volume.grid.to_indices(cropped.grid.origin_lps)).astype(int)[::-1]
        np.testing.assert_array_equal(
            cropped.voxels,
            volume.voxels[tuple(slice(f, f + n) for f, n in zip(first, cropped.voxels.shape, strict=True))],
        )


def test_other_voxels_must_fit_the_grid():
    with pytest.raises(ValueError, match="do not fit"):
        noisy_scan().with_voxels(np.zeros((2, 2, 2)))


@pytest.mark.parametrize("shape", [(5, 5), (2, 5, 5, 5)])
def test_only_three_dimensions_make_a_volume(shape):
    with pytest.raises(InputError, match=f"{len(shape)} dimensions"):
        Volume(np.zeros(shape), np.eye(4))


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.diag([0.5, 0, 0.5, 1]), "spacing of zero"),
        (np.diag([0.5, np.nan, 0.5, 1]), "no valid position"),
        (np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "not perpendicular"),
        (np.eye(3), "no valid position"),
    ],
)
def test_impossible_positions_are_refused(matrix, words):
    with pytest.raises(InputError, match=words):
        Volume(np.zeros((4, 4, 4)), matrix)


def test_rounded_direction_cosines_are_taken_as_right_angles():
    matrix = affine((10, 20, 30)).round(4)
    volume = noisy_scan(matrix)
    sitk_volume = Volume.from_sitk(volume.to_sitk())
    np.testing.assert_allclose(sitk_volume.affine_lps, matrix, atol=1e-9)


def test_axis_aligned_grid_takes_shape_in_kji_and_spacing_in_xyz():
    grid = Grid.axis_aligned((2, 3, 4), (0.1, 0.2, 0.3), (1, 2, 3))
    np.testing.assert_allclose(grid.to_lps([3, 2, 1]), [1.3, 2.4, 3.3])
    assert sitk.Image(4, 3, 2, sitk.sitkUInt8).GetSize() == grid.shape[::-1]


@pytest.mark.parametrize("degrees", [1e-300, 5e-310, 1e-160])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_turn_that_underflows_is_none_to_simpleitk(degrees, axis):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix() @ np.diag([0.3, 0.4, 0.5])
    image = Volume(np.zeros(SHAPE, np.uint8), matrix).to_sitk()
    np.testing.assert_array_equal(image.GetDirection(), np.eye(3).ravel())
    np.testing.assert_allclose(image.TransformPhysicalPointToContinuousIndex((0.3, 0.8, 1.5)), (1, 2, 3))


@given(st.integers(0, 2**31 - 1), st.sampled_from([bool, np.uint8, np.float32]), st.booleans())
def test_marked_indices_are_those_of_argwhere(seed, kind, is_transposed):
    mask = (np.random.default_rng(seed).integers(-2, 3, (3, 5, 4)).clip(0)).astype(kind)
    mask = mask.T if is_transposed else mask
    np.testing.assert_array_equal(marked_indices(mask), np.argwhere(mask))
    assert marked_indices(np.zeros_like(mask)).shape == (0, 3)
