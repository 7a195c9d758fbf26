"""Probability to labyrinth, heatmaps to landmarks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.inference.postprocessing import (
    FINE_SPACING_MM,
    fine_probability,
    labyrinth_mask,
    landmark_results,
    on_fine_lattice,
    on_voxels_of,
)
from InnerEarAILib.landmarks import LANDMARK_NAMES, HeatmapPeak
from InnerEarAILib.volume import Grid, Volume
from library.heatmaps import encode_heatmap
from library.painted_ear import grid_round

GRID = Grid.axis_aligned((30, 32, 34), 0.5, (-10.0, 20.0, 300.0))
AMPLITUDE = 4.0


def heatmaps_at(indices_kji, height=AMPLITUDE):
    return np.stack([encode_heatmap(index, GRID.shape, height, 3.0) for index in indices_kji])


def peaks_at(indices_kji):
    return [HeatmapPeak(tuple(index), AMPLITUDE) for index in indices_kji]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.tuples(*[st.floats(8, 20)] * 3), st.tuples(*[st.floats(-1, 1)] * 3))
def test_a_blob_keeps_its_place_on_the_fine_lattice_wherever_its_own_grid_lies(factor, index_kji, shift_mm):
    blob = encode_heatmap(np.array(index_kji), GRID.shape, 1.0, 3.0)
    affine = GRID.affine_lps.copy()
    affine[:3, 3] += shift_mm
    spacing = 0.5 / factor
    fine = on_fine_lattice(Volume(blob, affine), spacing)
    np.testing.assert_allclose(fine.spacing_mm, spacing)
    np.testing.assert_allclose(np.rint(fine.grid.origin_lps / spacing), fine.grid.origin_lps / spacing, atol=1e-9)
    centre = np.average(np.argwhere(fine.voxels > 0.5), axis=0, weights=fine.voxels[fine.voxels > 0.5])
    truth = GRID.to_lps(np.array(index_kji)[::-1]) + shift_mm
    np.testing.assert_allclose(fine.grid.to_lps(centre[::-1]), truth, atol=0.07)


def test_beyond_the_centres_of_its_outer_voxels_a_probability_is_nothing():
    sure = Volume(np.ones((6, 7, 8), np.float32), Grid.axis_aligned((6, 7, 8), 0.5, (1.03, -2.02, 3.01)).affine_lps)
    fine = on_fine_lattice(sure, 0.1)
    places = sure.grid.to_indices(fine.grid.to_lps(np.stack(np.indices(fine.grid.shape)[::-1], -1)))
    within = ((places >= 0) & (places <= np.array(sure.grid.shape[::-1]) - 1)).all(-1)
    assert 0 < within.mean() < 1
    np.testing.assert_allclose(fine.voxels, within, atol=1e-5)


@pytest.mark.parametrize(("spacing_mm", "parts"), [(0.099, 1), (0.198, 2), (0.35, 3), (0.5, 5)])
def test_a_probability_is_interpolated_to_a_whole_part_of_its_spacing(spacing_mm, parts):
    grid = Grid.axis_aligned((30, 32, 34), spacing_mm, (-10.0, 20.0, 300.0))
    blob = Volume(encode_heatmap(np.array([14.0, 15.0, 16.0]), grid.shape, 1.0, 1.5), grid.affine_lps)
    fine = fine_probability(blob)
    np.testing.assert_allclose(fine.spacing_mm, spacing_mm / parts)
    assert spacing_mm / parts <= FINE_SPACING_MM
    full = on_fine_lattice(blob, spacing_mm / parts)
    assert (fine.voxels >= 0.5).sum() == (full.voxels >= 0.5).sum() > 0
    assert fine.voxels.size < full.voxels.size


def test_where_nothing_may_be_labyrinth_nothing_is_interpolated():
    nothing = Volume(np.full(GRID.shape, 0.2, np.float32), GRID.affine_lps)
    assert fine_probability(nothing) is nothing


def test_the_largest_region_and_its_torn_off_parts_stay_the_rest_goes():
    probability = np.zeros(GRID.shape, np.float32)
    probability[5:15, 5:15, 5:15] = 0.9
    probability[16:20, 5:10, 5:10] = 0.9  # one voxel (0.5 mm) off and a tenth of its size: torn off
    probability[26:29, 26:29, 26:29] = 0.9  # far away
    probability[5, 17, 5] = 0.9  # close, but a speck
    volume = Volume(probability, GRID.affine_lps)
    cleaned = labyrinth_mask(volume, largest_region=True).voxels
    assert cleaned.sum() == 10**3 + 4 * 5 * 5
    assert labyrinth_mask(volume, largest_region=False).voxels.sum() == (probability > 0.5).sum()


def two_halves(gap_voxels):
    probability = np.zeros(GRID.shape, np.float32)
    probability[4:16, 8:20, 8:20] = 0.9
    probability[16 + gap_voxels : 22 + gap_voxels, 8:18, 8:18] = 0.9  # a third of its size
    return Volume(probability, GRID.affine_lps)


@pytest.mark.parametrize(
    ("index_kji", "confidence", "stays"),
    [
        ((21.0, 12.0, 12.0), 0.8, True),  # within the far half
        ((26.9, 12.0, 12.0), 0.8, True),  # on its surface
        ((21.0, 12.0, 12.0), 0.1, False),  # a guess
        ((10.0, 12.0, 12.0), 0.8, False),  # in the near half
    ],
)
def test_a_half_apart_from_the_other_stays_where_a_sure_landmark_lies_in_it(index_kji, confidence, stays):
    volume = two_halves(gap_voxels=4)  # 2 mm
    landmark = LandmarkResult("helicotrema", GRID.to_lps(np.array(index_kji)[::-1]), confidence)
    lost = LandmarkResult("round window", None, 0.0)
    mask = labyrinth_mask(volume, largest_region=True, landmarks=(lost, landmark)).voxels
    assert mask[19:26].any() == stays
    assert mask[4:16].sum() == 12**3


def test_a_landmark_does_not_make_a_cavity_far_off_a_part_of_the_ear():
    probability = np.zeros(GRID.shape, np.float32)
    probability[1:10, 8:20, 8:20] = 0.9
    probability[24:30, 8:18, 8:18] = 0.9  # 7.5 mm off
    landmark = LandmarkResult("helicotrema", GRID.to_lps(np.array([12.0, 12.0, 27.0])), 0.9)
    mask = labyrinth_mask(Volume(probability, GRID.affine_lps), largest_region=True, landmarks=(landmark,)).voxels
    assert mask[:10].any()
    assert not mask[24:].any()


def test_a_toss_up_is_labyrinth():
    probability = np.linspace(0, 1, 5, dtype=np.float32).reshape(1, 1, 5)
    mask = labyrinth_mask(Volume(probability, GRID.affine_lps), largest_region=False).voxels
    np.testing.assert_array_equal(mask.ravel(), [0, 0, 1, 1, 1])


def test_an_empty_map_gives_an_empty_mask():
    empty = Volume(np.zeros(GRID.shape, np.float32), GRID.affine_lps)
    assert labyrinth_mask(empty, largest_region=True).voxels.sum() == 0


@given(st.lists(st.tuples(*[st.floats(6, 22)] * 3), min_size=3, max_size=3))
@settings(max_examples=15, deadline=None)
def test_landmarks_are_found_below_the_voxel(indices):
    indices = np.array(indices)
    results = landmark_results(heatmaps_at(indices), [], GRID, AMPLITUDE)
    assert tuple(r.name for r in results) == LANDMARK_NAMES
    for result, index in zip(results, indices, strict=True):
        np.testing.assert_allclose(result.position_lps, GRID.to_lps(index[::-1]), atol=0.02)
        assert result.confidence > 0.85
        assert result.scatter_mm is None


def test_views_that_disagree_cost_confidence():
    indices = np.full((3, 3), 12.0)
    agreeing = [peaks_at(indices) for _ in range(10)]
    scattered = [peaks_at(indices + shift) for shift in (-4, 4)]
    sure = landmark_results(heatmaps_at(indices), agreeing, GRID, AMPLITUDE)[0]
    unsure = landmark_results(heatmaps_at(indices), scattered, GRID, AMPLITUDE)[0]
    assert sure.scatter_mm == pytest.approx(0)
    assert unsure.scatter_mm == pytest.approx(4 * 0.5 * 3**0.5)
    assert unsure.confidence < 0.2 < 0.9 < sure.confidence


def test_a_scatter_of_one_millimetre_halves_the_confidence():
    indices = np.full((3, 3), 12.0)
    two_voxels = np.array([2.0, 0, 0])
    views = [peaks_at(indices + shift) for shift in (two_voxels, -two_voxels)]
    landmark = landmark_results(heatmaps_at(indices, 0.8 * AMPLITUDE), views, GRID, AMPLITUDE)[0]
    assert landmark.scatter_mm == pytest.approx(1.0)
    assert landmark.confidence == pytest.approx(0.8 / 2, rel=1e-5)


def test_a_peak_above_the_trained_amplitude_is_no_more_than_sure():
    indices = np.full((3, 3), 12.0)
    landmark = landmark_results(heatmaps_at(indices, 2 * AMPLITUDE), [peaks_at(indices)], GRID, AMPLITUDE)[0]
    assert landmark.confidence == 1.0
    assert landmark.scatter_mm is None  # a single view


def test_one_view_that_is_lost_costs_no_confidence():
    indices = np.full((3, 3), 12.0)
    agreeing = [peaks_at(indices) for _ in range(9)]
    sure = landmark_results(heatmaps_at(indices), agreeing, GRID, AMPLITUDE)[0]
    ten_mm_off = peaks_at(indices + np.array([20, 0, 0]))
    lost = landmark_results(heatmaps_at(indices), [*agreeing, ten_mm_off], GRID, AMPLITUDE)[0]
    assert lost.scatter_mm == pytest.approx(0)
    assert lost.confidence == pytest.approx(sure.confidence)


@pytest.mark.parametrize(("off_mm", "taken"), [(1.4, True), (1.6, False)])
def test_the_view_that_is_not_turned_draws_the_landmark_to_itself_unless_it_is_lost(off_mm, taken):
    indices = np.full((3, 3), 12.0)
    off = indices + np.array([0, off_mm / GRID.spacing_mm[1], 0])
    views = [peaks_at(off), *[peaks_at(indices) for _ in range(9)]]
    mean = landmark_results(heatmaps_at(indices), views, GRID, AMPLITUDE)
    upright = landmark_results(heatmaps_at(indices), views, GRID, AMPLITUDE, upright=True)
    for one, other in zip(mean, upright, strict=True):
        np.testing.assert_allclose(one.position_lps, GRID.to_lps(indices[0][::-1]), atol=0.02)
        drawn_mm = np.linalg.norm(other.position_lps - one.position_lps)
        assert drawn_mm == pytest.approx(0.75 * off_mm if taken else 0, abs=0.02)
        assert np.linalg.norm(other.position_lps - GRID.to_lps(off[0][::-1])) == pytest.approx(
            off_mm - drawn_mm, abs=0.03
        )
        assert (one.confidence, one.scatter_mm) == (other.confidence, other.scatter_mm)


def test_a_network_without_heatmaps_finds_no_landmark():
    results = landmark_results(None, [], GRID, AMPLITUDE)
    assert [(r.name, r.position_lps, r.confidence) for r in results] == [(name, None, 0.0) for name in LANDMARK_NAMES]


def test_a_flat_heatmap_gives_no_position_rather_than_a_wrong_one():
    heatmaps = heatmaps_at(np.full((3, 3), 12.0))
    heatmaps[1] *= 0.04
    heatmaps[2] *= -1
    results = landmark_results(heatmaps, [], GRID, AMPLITUDE)
    assert tuple(r.name for r in results) == LANDMARK_NAMES
    for flat in results[1:]:
        assert flat.position_lps is None
        assert flat.confidence == 0
    assert results[0].position_lps is not None


@settings(max_examples=12, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing_mm=st.tuples(*[st.sampled_from((0.3, 0.5, 1.0, 1.8))] * 3),
    signs=st.tuples(*[st.sampled_from((-1, 1))] * 3),
)
def test_a_thin_canal_on_other_voxels_is_those_at_least_half_inside(angles, spacing_mm, signs):
    def inside(points_lps):
        """A bar as thick as a canal and as long as one, 1.2 mm × 1 mm × 7 mm."""
        return (np.abs(points_lps) <= (0.6, 0.5, 3.5)).all(-1)

    fine = Grid.cube_round((0, 0, 0), 0.1, 84)
    places = fine.to_lps(np.stack(np.indices(fine.shape)[::-1], -1))
    mask = Volume(inside(places).astype(np.uint8), fine.affine_lps)
    scan = grid_round((0.07, -0.05, 0.11), spacing_mm, (14, 14, 14), angles, signs)
    own = on_voxels_of(scan, mask)

    start = scan.to_indices(own.grid.origin_lps)
    np.testing.assert_allclose(start, np.rint(start), atol=1e-6)
    parts = (np.stack(np.meshgrid(*[np.arange(8)] * 3), -1).reshape(-1, 3) + 0.5) / 8 - 0.5
    voxels = np.argwhere(np.ones(own.voxels.shape))
    share = np.mean([inside(own.grid.to_lps(voxels[:, ::-1] + part)) for part in parts], axis=0)
    # Where a voxel is half inside to within what the mask's own voxels can tell, either answer is right.
    clear = np.abs(share - 0.5) > 0.12
    np.testing.assert_array_equal(own.voxels[tuple(voxels.T)][clear], share[clear] > 0.5)


def on_all_voxels_of(grid, mask):
    """As on_voxels_of, on the whole grid."""
    own = on_voxels_of(grid, mask)
    first = np.rint(grid.to_indices(own.grid.origin_lps)).astype(int)[::-1]
    voxels = np.zeros(grid.shape, np.uint8)
    voxels[tuple(slice(a, a + n) for a, n in zip(first, own.voxels.shape, strict=True))] = own.voxels
    return voxels


@settings(max_examples=12, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    start_kji=st.tuples(*[st.integers(0, 9)] * 3),
    size_kji=st.tuples(*[st.integers(4, 9)] * 3),
)
def test_where_the_scan_ends_its_mask_ends_and_is_the_same_before(angles, start_kji, size_kji):
    mask = Volume(np.ones((12, 12, 12), np.uint8), grid_round((0, 0, 0), 0.25, 3.0).affine_lps)
    wide = grid_round((0.03, 0.02, 0.01), 0.5, 9.0, angles)
    part = tuple(slice(start, start + size) for start, size in zip(start_kji, size_kji, strict=True))
    expected = on_all_voxels_of(wide, mask)[part]
    scan = Volume(np.zeros(wide.shape, np.uint8), wide.affine_lps).crop(start_kji, np.array(start_kji) + size_kji)
    seen = on_all_voxels_of(scan.grid, mask) if expected.any() else np.zeros_like(expected)
    np.testing.assert_array_equal(seen, expected)


@settings(max_examples=20, deadline=None)
@given(
    # Of a voxel's eight places none lies on the very edge of the mask.
    shift=st.tuples(*[st.floats(-0.25, 0.25).filter(lambda mm: abs(abs(mm) - 0.125) > 0.01)] * 3),
    signs=st.tuples(*[st.sampled_from((-1, 1))] * 3),
)
def test_a_mask_that_fills_its_grid_is_whole_on_other_voxels(shift, signs):
    mask = Volume(np.ones((12, 12, 12), np.uint8), grid_round((0, 0, 0), 0.25, 3.0).affine_lps)
    scan = grid_round(shift, 0.5, 6.0, signs=signs)
    centres = scan.to_lps(np.stack(np.indices(scan.shape)[::-1], -1))
    share = np.mean([np.abs(centres + part) <= 1.5 for part in (-0.125, 0.125)], axis=0).prod(-1)
    np.testing.assert_array_equal(on_all_voxels_of(scan, mask), share >= 0.5)
