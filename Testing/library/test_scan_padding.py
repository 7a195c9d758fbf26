"""What a scanner did not measure is air to the networks, in whatever value it says so."""

import numpy as np
import pytest

from InnerEarAILib.preprocessing import resample_measured
from InnerEarAILib.scan_checks import LEAST_PADDING_SHARE, measured_scan, without_padding
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


def test_a_few_low_voxels_are_no_padding():
    volume = scan(-32768, share=0.9 * LEAST_PADDING_SHARE)
    assert without_padding(volume)[0] is volume


def test_air_of_one_value_stays():
    volume = scan(0)
    volume = volume.with_voxels(np.where(volume.voxels < -500, np.int16(-1000), volume.voxels))
    assert without_padding(volume)[0] is volume
