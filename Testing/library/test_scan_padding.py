"""What a scanner did not measure is air to the networks, in whatever value it says so."""

import numpy as np
import pytest

from InnerEarAILib import scan_checks
from InnerEarAILib.preprocessing import resample_measured
from InnerEarAILib.scan_checks import LEAST_PADDING_SHARE, MeasuredScan, measured_scan, without_padding
from InnerEarAILib.volume import Grid, Volume

SHAPE = (30, 32, 34)


def scan(padding, share=0.28, dtype=np.int16):
    """Air, tissue and bone in Hounsfield units, with a share of the voxels padded."""
    rng = np.random.default_rng(0)
    voxels = rng.choice([-1000.0, 0.0, 1200.0], SHAPE) + rng.normal(0, 30, SHAPE)
    voxels.ravel()[rng.permutation(voxels.size)[: round(share * voxels.size)]] = padding
    return Volume(voxels.astype(dtype), np.diag([0.5, 0.5, 0.5, 1]))


@pytest.mark.parametrize("padding", [-1024, -2000, -3024])
def test_usual_padding_stays(padding):
    volume = scan(padding)
    again, unmeasured, note = without_padding(volume)
    assert again is volume
    assert note is None
    # A mark within the noise of air cannot be told from it.
    if padding == -1024:
        assert unmeasured is None
    else:
        np.testing.assert_array_equal(unmeasured.voxels, volume.voxels == padding)


@pytest.mark.parametrize("padding", [-10240, -32768])
@pytest.mark.parametrize("share", [0.01, 0.28, 0.9])
def test_padding_far_below_air_becomes_the_lowest_other_value(padding, share):
    volume = scan(padding, share)
    again, unmeasured, note = without_padding(volume)
    padded = volume.voxels == padding
    np.testing.assert_array_equal(unmeasured.voxels, padded)
    assert again.voxels.dtype == volume.voxels.dtype
    np.testing.assert_array_equal(again.voxels[~padded], volume.voxels[~padded])
    assert (again.voxels[padded] == volume.voxels[~padded].min()).all()
    assert (
        note == f"{100 * padded.mean():.3g} % of the voxels have the value {padding}: taken as lying outside the scan."
    )


@pytest.mark.parametrize(
    ("scale", "offset"), [(1e-9, 0), (0.02 / 1000, 0.02), (16, 200_000)], ids=["tiny", "attenuation", "offset"]
)
def test_the_unit_does_not_matter(scale, offset):
    for padding, is_raised in ((-3024, False), (-10240, True)):
        volume = scan(padding, dtype=np.float64)
        again, *_ = without_padding(volume.with_voxels(volume.voxels * scale + offset))
        assert (again.voxels.min() > scale * -2000 + offset) == is_raised


def test_what_interpolation_left_beside_the_padding_is_raised_with_it():
    volume = scan(-32768)
    volume.voxels[3, 4, 5] = -20000
    again, *_ = without_padding(volume)
    assert again.voxels.min() > -1200


def test_what_was_not_measured_is_known_on_any_grid():
    volume = scan(-1100)
    _, j, i = np.indices(SHAPE)
    padded = np.hypot(j - 16, i - 17) > 12
    seen = measured_scan(volume.with_voxels(np.where(padded, np.int16(-32768), volume.voxels)))
    grid = Grid.axis_aligned((20, 60, 80), 0.25, (-1.5, 0.5, 4.0))
    values, known = resample_measured(seen, grid)
    places = volume.grid.to_indices(grid.to_lps(np.stack(np.indices(grid.shape)[::-1], -1)))
    beyond = (places < -0.5).any(-1) | (places > np.array(SHAPE[::-1]) - 0.5).any(-1)
    radius = np.hypot(places[..., 1] - 16, places[..., 0] - 17)
    np.testing.assert_array_equal(np.isnan(values), beyond)
    assert known[~beyond & (radius < 10.5)].all()
    assert not known[beyond | (radius > 13.5)].any()


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("padding", [-3024, -32768])
def test_whole_slices_of_padding_are_padding_too(axis, padding):
    volume = scan(-1100)
    padded = np.isin(np.indices(SHAPE)[axis], (0, 1, 28))
    _, unmeasured, _ = without_padding(volume.with_voxels(np.where(padded, np.int16(padding), volume.voxels)))
    np.testing.assert_array_equal(unmeasured.voxels, padded)


@pytest.mark.parametrize("axis", range(3))
def test_between_voxels_the_unmeasured_ends_half_way(axis):
    volume = scan(-1100)
    unmeasured = np.indices(SHAPE)[axis] < 10
    seen = MeasuredScan(volume, volume.with_voxels(unmeasured))
    grid = Grid.axis_aligned((60, 60, 60), 0.1, (4.5, 4.5, 4.5))
    _, known = resample_measured(seen, grid)
    along = volume.grid.to_indices(grid.to_lps(np.stack(np.indices(grid.shape)[::-1], -1)))[..., 2 - axis]
    clear = np.abs(along - 9.5) > 0.05
    np.testing.assert_array_equal(known[clear], along[clear] > 9.5)
    assert 0 < known.mean() < 1


@pytest.mark.parametrize(
    ("widths_below", "is_mark", "is_raised"),
    [(0.09, False, False), (0.11, True, False), (1.95, True, False), (2.05, True, True)],
)
def test_a_mark_is_told_by_how_far_it_lies_below_all_other_values(widths_below, is_mark, is_raised):
    volume = scan(np.nan, dtype=np.float64)
    padded = np.isnan(volume.voxels)
    others = volume.voxels[~padded]
    low, high = np.quantile(others, (0.01, 0.99))
    mark = others.min() - widths_below * (high - low)
    volume = volume.with_voxels(np.where(padded, mark, volume.voxels))
    again, unmeasured, note = without_padding(volume)
    assert (unmeasured is not None) == is_mark
    assert (note is not None) == is_raised == (again is not volume)
    if is_mark:
        np.testing.assert_array_equal(unmeasured.voxels, padded)


@pytest.mark.parametrize(("times", "is_padding"), [(0.9, False), (1.1, True)])
def test_a_few_low_voxels_are_no_padding(times, is_padding):
    volume = scan(-32768, share=times * LEAST_PADDING_SHARE)
    assert (without_padding(volume)[0] is not volume) == is_padding


def test_padding_of_a_large_scan_is_told_by_a_part_of_its_voxels(monkeypatch):
    volume = scan(-32768, share=0.01)
    expected = without_padding(volume)
    monkeypatch.setattr(scan_checks, "SAMPLED_VOXELS", 4000)  # every second voxel along each axis
    seen = without_padding(volume)
    np.testing.assert_array_equal(seen.volume.voxels, expected.volume.voxels)
    np.testing.assert_array_equal(seen.unmeasured.voxels, expected.unmeasured.voxels)
    assert seen.note == expected.note


def test_air_of_one_value_stays():
    volume = scan(0)
    volume = volume.with_voxels(np.where(volume.voxels < -500, np.int16(-1000), volume.voxels))
    assert without_padding(volume)[0] is volume
