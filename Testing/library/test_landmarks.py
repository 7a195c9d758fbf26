"""Heatmaps: what is written is read back below the voxel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from InnerEarAILib.landmarks import (
    LANDMARK_NAMES,
    LARGEST_SHIFT,
    REFINEMENT_RADIUS,
    decode_heatmap,
    gaussian_profiles,
)
from library.heatmaps import encode_heatmap

SHAPE = (16, 18, 20)
inner_positions = st.tuples(*[st.floats(3, n - 4) for n in SHAPE])
spreads = st.floats(0.8, 6)


def test_landmarks_are_the_papers_three_in_its_order():
    assert LANDMARK_NAMES == ("helicotrema", "oval window", "round window")


@given(inner_positions, spreads, st.floats(0.1, 200))
def test_a_written_heatmap_is_read_back_below_the_voxel(position, spread, amplitude):
    peak = decode_heatmap(encode_heatmap(np.array(position), SHAPE, amplitude, spread))
    np.testing.assert_allclose(peak.index_kji, position, atol=2e-2)


@given(spreads, st.floats(0.1, 200))
def test_the_amplitude_stands_at_a_centre_on_a_voxel(spread, amplitude):
    heatmap = encode_heatmap(np.array([5, 6, 7]), SHAPE, amplitude, spread)
    assert heatmap.dtype == np.float32
    assert heatmap[5, 6, 7] == pytest.approx(amplitude, rel=1e-6)
    assert decode_heatmap(heatmap).height == pytest.approx(amplitude, rel=1e-6)


@given(st.tuples(*[st.floats(-5, n + 5) for n in SHAPE]), spreads)
def test_a_heatmap_falls_to_the_known_height_at_one_spread(position, spread):
    heatmap = encode_heatmap(np.array(position), SHAPE, 1.0, spread)
    k, j, i = np.indices(SHAPE)
    squared = (k - position[0]) ** 2 + (j - position[1]) ** 2 + (i - position[2]) ** 2
    np.testing.assert_allclose(heatmap, np.exp(-0.5 * squared / spread**2), atol=1e-5)


@given(inner_positions, spreads, st.floats(0.01, 100), st.permutations([0, 1, 2]))
def test_reading_does_not_depend_on_scale_or_order_of_axes(position, spread, scale, axes):
    heatmap = encode_heatmap(np.array(position), SHAPE, 1.0, spread)
    plain = decode_heatmap(heatmap).index_kji
    turned = decode_heatmap(scale * heatmap.transpose(axes)).index_kji
    np.testing.assert_allclose(turned, plain[list(axes)], atol=1e-3)


@given(st.integers(0, 2**31 - 1))
def test_the_peak_of_any_map_lies_near_its_highest_voxel(seed):
    heatmap = np.random.default_rng(seed).normal(size=(6, 7, 8))
    peak = decode_heatmap(heatmap)
    top = np.unravel_index(np.argmax(heatmap), heatmap.shape)
    assert np.abs(peak.index_kji - top).max() <= LARGEST_SHIFT
    assert peak.height == heatmap.max()


@given(inner_positions, st.integers(0, 2**31 - 1))
def test_noise_that_decides_which_voxel_is_highest_hardly_moves_the_peak(position, seed):
    heatmap = encode_heatmap(np.array(position), SHAPE, 1.0, 5.0)
    noisy = heatmap + np.random.default_rng(seed).normal(scale=0.02, size=SHAPE)
    assert np.linalg.norm(decode_heatmap(noisy).index_kji - position) < 0.5


@pytest.mark.parametrize("corner", [(0, 0, 0), (15, 17, 19), (0, 17, 9)])
def test_a_peak_on_the_border_stays_on_its_voxel(corner):
    heatmap = encode_heatmap(np.array(corner), SHAPE, 1.0, 2.0)
    np.testing.assert_allclose(decode_heatmap(heatmap).index_kji, corner, atol=1e-3)


@pytest.mark.parametrize("background", [-1.0, 0.0])
def test_a_map_without_a_gaussian_keeps_whole_voxels(background):
    heatmap = np.full(SHAPE, background)
    heatmap[4, 5, 6] = 1.0
    np.testing.assert_array_equal(decode_heatmap(heatmap).index_kji, [4, 5, 6])


def test_a_comb_has_no_peak_below_the_voxel():
    heatmap = np.full(SHAPE, -1.0)
    heatmap[4, 5, 4:9] = 0.9, 0.01, 1.0, 0.02, 0.99  # its parabola is open upwards
    np.testing.assert_array_equal(decode_heatmap(heatmap).index_kji, [4, 5, 6])


@given(st.integers(0, 2), st.sampled_from((-1, 1)))
def test_the_fit_looks_at_high_voxels_within_its_radius(axis, side):
    centre = np.array([8, 9, 10])
    # Four voxels away a heatmap of this first spread is below half its height.
    for spread, farthest in ((3.0, 3), (9.0, REFINEMENT_RADIUS)):
        heatmap = encode_heatmap(centre, SHAPE, 1.0, spread)
        for away in range(1, 7):
            disturbed = heatmap.copy()
            place = centre.copy()
            place[axis] += away * side
            disturbed[tuple(place)] *= 0.9
            assert np.allclose(decode_heatmap(disturbed).index_kji, centre, atol=1e-5) == (away > farthest)


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_a_second_lower_peak_close_by_does_not_draw_the_first(share):
    first = encode_heatmap(np.array([8.0, 9.0, 6.0]), SHAPE, 1.0, 2.0)
    second = encode_heatmap(np.array([8.0, 9.0, 12.0]), SHAPE, share, 2.0)
    assert np.linalg.norm(decode_heatmap(first + second).index_kji - [8, 9, 6]) < 0.2


@pytest.mark.parametrize("spread", [0, -1])
def test_a_spread_must_be_positive(spread):
    with pytest.raises(ValueError, match="spread"):
        gaussian_profiles(np.zeros(3), SHAPE, spread)
