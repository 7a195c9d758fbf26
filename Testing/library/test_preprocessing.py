"""Resampling keeps things where they are, does not alias, and normalisation does what the paper says."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from InnerEarAILib import preprocessing
from InnerEarAILib.preprocessing import lattice_grid, normalise, resample
from InnerEarAILib.volume import Grid, InputError, Volume

ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
SPACINGS = st.tuples(*[st.floats(0.2, 0.7)] * 3)
SIGNS = st.tuples(*[st.sampled_from((-1, 1))] * 3)


def blob_volume(angles_degrees, spacing_mm, signs, centre_lps, sigma_mm=2.0, extent_mm=16.0):
    """A Gaussian blob sampled on an arbitrary grid round it."""
    directions = Rotation.from_euler("xyz", angles_degrees, degrees=True).as_matrix() * np.array(signs)
    counts = np.ceil(extent_mm / np.array(spacing_mm)).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing_mm)
    affine[:3, 3] = np.array(centre_lps) - affine[:3, :3] @ ((counts - 1) / 2)
    grid = Grid(tuple(counts[::-1]), affine)
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in counts], indexing="ij"), -1)
    squared = ((grid.to_lps(indices) - centre_lps) ** 2).sum(-1)
    return Volume(np.exp(-0.5 * squared / sigma_mm**2).transpose(2, 1, 0).astype(np.float32), affine)


@settings(max_examples=20, deadline=None)
@given(ANGLES, SPACINGS, SIGNS, st.tuples(*[st.floats(-300, 300)] * 3))
def test_a_blob_stays_where_it_is_whatever_the_grid_of_the_scan(angles, spacing_mm, signs, centre):
    volume = blob_volume(angles, spacing_mm, signs, centre)
    grid = lattice_grid(np.array(centre) - 5, np.array(centre) + 5, 0.4)
    values = np.nan_to_num(resample(volume, grid))
    centre_of_mass = np.average(np.argwhere(values > 0.4), axis=0, weights=values[values > 0.4])
    np.testing.assert_allclose(grid.to_lps(centre_of_mass[::-1]), centre, atol=0.05)
    assert values.max() == pytest.approx(1, abs=0.06)


def test_flipped_and_permuted_arrays_of_one_scan_give_the_same_values():
    volume = blob_volume((10, 20, 30), (0.3, 0.4, 0.5), (1, 1, 1), (5, -40, 100))
    flipped_affine = volume.affine_lps.copy()
    flipped_affine[:3, 3] = volume.grid.to_lps((volume.voxels.shape[2] - 1, 0, 0))
    flipped_affine[:3, 0] *= -1
    flipped = Volume(np.ascontiguousarray(volume.voxels[:, :, ::-1]), flipped_affine)
    permuted_affine = volume.affine_lps[:, [2, 0, 1, 3]]
    permuted = Volume(np.ascontiguousarray(volume.voxels.transpose(1, 2, 0)), permuted_affine)
    grid = lattice_grid((0, -45, 95), (10, -35, 105), 0.45)
    expected = resample(volume, grid)
    for copy in (flipped, permuted):
        np.testing.assert_allclose(resample(copy, grid), expected, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    axes=st.sampled_from(list(itertools.permutations(range(3)))),
    signs=SIGNS,
    spacing_mm=SPACINGS,
    shape=st.tuples(*[st.integers(16, 24)] * 3),
    shift=st.tuples(*[st.floats(-6, 6)] * 3),
    finer=st.floats(0.3, 0.9),
)
def test_splines_along_parallel_axes_give_what_itk_gives_point_by_point(axes, signs, spacing_mm, shape, shift, finer):
    directions = np.eye(3)[:, axes] * signs
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions * spacing_mm, (5, -3, 40)
    scan = Volume(np.random.default_rng(3).normal(size=shape).astype(np.float32), affine)
    # A hair aside: voxels that lie on the very edge of the scan may count as within or without.
    grid = Grid.cube_round(scan.grid.centre_lps + shift + 0.0123, finer * min(spacing_mm), 30)
    itk = sitk.Resample(
        scan.to_sitk(),
        [int(n) for n in grid.shape[::-1]],
        sitk.Transform(),
        sitk.sitkBSpline,
        grid.origin_lps.tolist(),
        grid.spacing_mm.tolist(),
        grid.directions.ravel().tolist(),
        float("nan"),
        sitk.sitkFloat32,
    )
    wanted = sitk.GetArrayFromImage(itk)
    if np.isfinite(wanted).any():
        np.testing.assert_allclose(resample(scan, grid), wanted, atol=1e-3)  # at the ends of short axes ITK rounds


def test_fine_noise_is_averaged_not_picked_when_voxels_grow():
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(size=(96, 96, 96)).astype(np.float32), np.diag([0.1, 0.1, 0.1, 1]))
    values = resample(volume, lattice_grid((2, 2, 2), (7, 7, 7), 0.5))
    # The mean of 5³ independent voxels has SD 0.09; a Gaussian of the same variance comes near it.
    assert values.std() == pytest.approx(0.09, abs=0.015)


def test_a_very_fine_scan_averaged_in_blocks_first_keeps_places_and_values():
    centre = (3.03, -20.01, 7.02)
    volume = blob_volume((10, 20, 30), (0.1, 0.12, 0.45), (1, -1, 1), centre)
    grid = lattice_grid(np.array(centre) - 5, np.array(centre) + 5, 1.0)
    values = np.nan_to_num(resample(volume, grid, cubic=False))
    np.testing.assert_allclose(values, np.nan_to_num(resample(volume, grid)), atol=0.03)
    centre_of_mass = np.average(np.argwhere(values > 0.1), axis=0, weights=values[values > 0.1])
    np.testing.assert_allclose(grid.to_lps(centre_of_mass[::-1]), centre, atol=0.05)


def test_beyond_the_scan_there_are_no_values():
    volume = Volume(np.ones((20, 20, 20), np.int16), np.eye(4))
    values = resample(volume, lattice_grid((-10, 2, 2), (5, 8, 8), 1.0))
    assert np.isnan(values[..., 0]).all()
    assert np.isfinite(values[..., -1]).all()


def test_a_region_apart_from_the_scan_is_refused():
    volume = Volume(np.ones((20, 20, 20), np.int16), np.eye(4))
    with pytest.raises(InputError, match="does not reach"):
        resample(volume, lattice_grid((100, 100, 100), (110, 110, 110), 1.0))


@given(st.floats(0.01, 50), st.floats(-1000, 1000))
def test_normalisation_does_not_depend_on_how_values_are_stored(scale, offset):
    voxels = np.random.default_rng(1).gamma(2, 400, (12, 12, 12))
    expected = normalise(voxels)
    np.testing.assert_allclose(normalise(voxels * scale + offset), expected, atol=2e-3)


@pytest.mark.parametrize("scale", [1e-25, 1e-9, 1e9, 1e25])
def test_the_unit_of_the_values_does_not_matter(scale):
    voxels = np.random.default_rng(1).gamma(2, 400, (12, 12, 12))
    np.testing.assert_allclose(normalise((voxels * scale).astype(np.float32)), normalise(voxels), atol=1e-4)


def test_normalised_values_have_mean_zero_deviation_one_and_clipped_tails():
    voxels = np.random.default_rng(2).normal(300, 80, (30, 30, 30))
    voxels[0, 0, 0] = 1e6
    result = normalise(voxels)
    assert result.dtype == np.float32
    assert result.mean() == pytest.approx(0, abs=1e-4)
    assert result.std() == pytest.approx(1, abs=1e-4)
    assert result.max() < 3
    low, high = np.quantile(voxels, (0.01, 0.99))  # the paper's
    clipped = voxels.clip(low, high)
    np.testing.assert_allclose(result, (clipped - clipped.mean()) / clipped.std(), atol=1e-4)


def test_a_large_scan_is_normalised_by_an_even_subset_of_its_voxels(monkeypatch):
    voxels = np.random.default_rng(4).gamma(2, 400, (40, 40, 40))
    expected = normalise(voxels)
    monkeypatch.setattr(preprocessing, "QUANTILE_SAMPLE_VOXELS", 20_000)
    seen = normalise(voxels)
    assert seen.shape == voxels.shape
    assert 0 < np.abs(seen - expected).max() < 0.1
    odd = voxels.copy()
    odd.ravel()[1::3] = 1e6  # not of the subset
    np.testing.assert_array_equal(normalise(odd).ravel()[::3], seen.ravel()[::3])


def test_voxels_outside_the_scan_become_the_lowest_value_and_count_for_nothing():
    voxels = np.random.default_rng(3).normal(0, 1, (20, 20, 20))
    padded = np.concatenate([voxels, np.full((5, 20, 20), np.nan)])
    result = normalise(padded)
    np.testing.assert_allclose(result[:20], normalise(voxels), atol=1e-5)
    np.testing.assert_allclose(result[20:], result.min())


@pytest.mark.parametrize("voxels", [np.full((4, 4, 4), 7.0), np.zeros((4, 4, 4)), np.full((4, 4, 4), np.nan)])
def test_a_constant_image_is_refused(voxels):
    with pytest.raises(InputError, match="same value"):
        normalise(voxels)


@given(st.floats(0.1, 2), st.tuples(*[st.floats(-200, 200)] * 3), st.integers(1, 64))
def test_the_lattice_is_one_and_the_same_wherever_the_box_lies(spacing, lower, least):
    upper = np.array(lower) + 7.3
    grid = lattice_grid(lower, upper, spacing, least)
    steps = grid.origin_lps / spacing
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    assert min(grid.shape) >= least
    assert (grid.origin_lps <= np.array(lower) + 1e-6).all()
    assert (grid.to_lps(np.array(grid.shape[::-1]) - 1) >= upper - 1e-6).all()


@given(st.floats(0.1, 2), st.tuples(*[st.floats(-200, 200)] * 3), st.integers(1, 64))
def test_the_lattice_is_no_larger_than_asked_for_and_widened_evenly(spacing, lower, least):
    upper = np.array(lower) + np.array((3.1, 7.3, 9.9))
    tight, wide = lattice_grid(lower, upper, spacing), lattice_grid(lower, upper, spacing, least)
    last = tight.to_lps(np.array(tight.shape[::-1]) - 1)
    assert (tight.origin_lps > np.array(lower) - spacing * (1 + 1e-6)).all()
    assert (last < upper + spacing * (1 + 1e-6)).all()
    assert wide.shape == tuple(max(n, least) for n in tight.shape)
    before = (tight.origin_lps - wide.origin_lps) / spacing
    after = (wide.to_lps(np.array(wide.shape[::-1]) - 1) - last) / spacing
    assert (before > -1e-6).all()
    assert (np.abs(before - after) < 1 + 1e-6).all()
