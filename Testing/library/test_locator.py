"""Marks on a coarse map become at most two ears."""

import numpy as np
import pytest
import torch

from InnerEarAILib.inference import locator
from InnerEarAILib.inference.locator import gather_candidates, locate_ears
from InnerEarAILib.inference.tiling import BLOCK_OVERLAP_MM, locator_blocks
from InnerEarAILib.model_store import load_card
from InnerEarAILib.networks.network_output import NetworkOutput
from InnerEarAILib.progress import Progress
from InnerEarAILib.volume import Grid, InputError, Volume

GRID = Grid.axis_aligned((60, 120, 150), 1.0, (-75.0, -60.0, 0.0))


def marked(*balls):
    """Probability 0.9 in balls (x, y, z, radius) in mm."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij")
    points = np.stack([x, y, z], -1) + GRID.origin_lps
    probability = np.zeros(GRID.shape, np.float32)
    for *centre, radius in balls:
        probability[((points - centre) ** 2).sum(-1) <= radius**2] = 0.9
    return probability


def test_two_ears_of_a_head_are_two_candidates():
    found = gather_candidates(marked((-45, 0, 30, 3.6), (45, 2, 30, 3.4)), GRID)
    assert len(found) == 2
    np.testing.assert_allclose(found[0].centre_lps, [-45, 0, 30], atol=0.2)
    np.testing.assert_allclose(found[1].centre_lps, [45, 2, 30], atol=0.2)
    assert found[0].probability == pytest.approx(0.9)


def test_pieces_of_one_labyrinth_are_one_candidate():
    pieces = marked((-45, 0, 30, 3.5), (-38, 0, 30, 2.0), (-44, 8, 30, 1.5))
    pieces[pieces > 0] = np.random.default_rng(0).uniform(0.5, 1, np.count_nonzero(pieces))
    (found,) = gather_candidates(pieces, GRID)
    places, weights = np.argwhere(pieces)[:, ::-1], pieces[pieces > 0]
    np.testing.assert_allclose(found.centre_lps, GRID.to_lps(np.average(places, axis=0, weights=weights)), atol=1e-4)
    assert found.volume_mm3 == pytest.approx(len(places))
    assert found.probability == pytest.approx(weights.mean())


@pytest.mark.parametrize(("apart_mm", "ears"), [(14, 1), (16, 2)])
def test_marks_further_apart_than_a_labyrinth_is_long_are_two(apart_mm, ears):
    assert len(gather_candidates(marked((-45, 0, 30, 3.5), (-45 + apart_mm, 0, 30, 3.5)), GRID)) == ears


def test_volumes_are_in_cubic_millimetres():
    ball = marked((0, 0, 30, 3.5))
    grid = Grid.axis_aligned(GRID.shape, 0.8, (0, 0, 0))
    (found,) = gather_candidates(ball, grid, least_volume_mm3=0)
    assert found.volume_mm3 == pytest.approx(np.count_nonzero(ball) * 0.8**3)
    assert gather_candidates(ball, grid, least_volume_mm3=found.volume_mm3 + 0.1) == ()


def test_what_is_half_marked_counts_and_less_does_not():
    ball = marked((0, 0, 30, 3.6)) / np.float32(0.9)
    assert len(gather_candidates(ball * np.float32(0.5), GRID)) == 1
    assert gather_candidates(ball * np.float32(0.49), GRID) == ()


def test_a_large_sure_mark_comes_before_a_larger_doubtful_one():
    doubtful = 0.6 * (marked((-45, 0, 30, 3.8)) > 0)
    found = gather_candidates(np.maximum(doubtful, marked((45, 0, 30, 3.6))), GRID)
    assert [c.centre_lps[0] > 0 for c in found] == [True, False]
    assert found[0].volume_mm3 < found[1].volume_mm3


def test_specks_are_no_ear():
    assert gather_candidates(marked((0, 0, 30, 1.5), (40, 10, 20, 1.0)), GRID) == ()
    assert gather_candidates(np.zeros(GRID.shape, np.float32), GRID) == ()


def test_of_three_marks_the_two_surest_remain():
    found = gather_candidates(marked((-45, 0, 30, 3.6), (45, 0, 30, 3.6), (0, 50, 10, 2.5)), GRID)
    assert sorted(round(float(c.centre_lps[0])) for c in found) == [-45, 45]


@pytest.mark.parametrize("spacing_mm", [0.7, 1.0, 1.5])
@pytest.mark.parametrize("shape", [(64, 64, 64), (65, 100, 200), (64, 128, 300)])
def test_every_labyrinth_lies_whole_in_some_block(shape, spacing_mm):
    overlap = int(BLOCK_OVERLAP_MM / spacing_mm)
    blocks = locator_blocks(shape, 64, spacing_mm)
    strides = [-(-(n - 64) // (64 - int(np.ceil(BLOCK_OVERLAP_MM / spacing_mm)))) for n in shape]
    assert len(blocks) == np.prod(np.array(strides) + 1)  # and no more blocks than that takes
    for axis, n in enumerate(shape):
        spans = {(b[axis].start, b[axis].stop) for b in blocks}
        assert all(start >= 0 and stop <= n and stop - start == 64 for start, stop in spans)
        for start in range(n - overlap + 1):
            assert any(a <= start and start + overlap <= b for a, b in spans), (axis, start)


def test_more_marks_than_ears_are_kept_where_they_are_wanted():
    seen = marked((-45, 0, 30, 3.6), (45, 0, 30, 3.5), (0, 50, 10, 3.4))
    assert len(gather_candidates(seen, GRID)) == 2
    assert [round(c.centre_lps[0]) for c in gather_candidates(seen, GRID, most=4)] == [-45, 45, 0]


class Marker(torch.nn.Module):
    """Marks what is bright; counts the blocks that it is shown."""

    shown = 0

    def forward(self, tiles):
        Marker.shown += len(tiles)
        return NetworkOutput(20 * (tiles - 2), None, (), ())


class FirstBlockMarker(Marker):
    """Marks what is bright in the first block alone."""

    def forward(self, tiles):
        seen = super().forward(tiles)
        return seen if Marker.shown == 1 else seen._replace(segmentation=torch.full_like(tiles, -20))


def test_what_one_of_two_blocks_marks_is_not_lost(monkeypatch):
    rng = np.random.default_rng(0)
    voxels = (60 + 20 * rng.normal(size=(60, 60, 100))).astype(np.float32)
    voxels[30:37, 30:37, 46:53] = 2500  # where the two blocks overlap
    scan = Volume(voxels, Grid.axis_aligned(voxels.shape, 1.0, (0, 0, 0)).affine_lps)
    monkeypatch.setattr(Marker, "shown", 0)
    monkeypatch.setattr(locator, "normalise", lambda values: np.nan_to_num(values) / 1000)
    (found,) = locate_ears(scan, FirstBlockMarker(), load_card("locator"), torch.device("cpu"), Progress())
    np.testing.assert_allclose(found.centre_lps, [49, 33, 33], atol=0.5)
    assert Marker.shown == 2


def test_a_block_of_one_value_is_passed_over(monkeypatch):
    def scaled(values):
        if np.nanmin(values) == np.nanmax(values):
            raise InputError("Every voxel of the scan has the same value there; choose a scan that shows tissue.")
        return np.nan_to_num(values) / 1000

    rng = np.random.default_rng(0)
    voxels = (60 + 20 * rng.normal(size=(64, 64, 100))).astype(np.float32)
    voxels[..., :65] = 60
    voxels[30:37, 30:37, 80:87] = 2500
    scan = Volume(voxels, Grid.axis_aligned(voxels.shape, 1.0, (0, 0, 0)).affine_lps)
    monkeypatch.setattr(Marker, "shown", 0)
    monkeypatch.setattr(locator, "normalise", scaled)
    (found,) = locate_ears(scan, Marker(), load_card("locator"), torch.device("cpu"), Progress())
    np.testing.assert_allclose(found.centre_lps, [83, 33, 33], atol=0.5)
    assert 0 < Marker.shown < len(locator_blocks((65, 65, 101), 64, 1.0))


class MarkerOfAll(torch.nn.Module):
    """Marks everything, the padding round a small scan too."""

    def forward(self, tiles):
        return NetworkOutput(torch.full_like(tiles, 20), None, (), ())


def test_beyond_the_scan_there_is_no_ear():
    voxels = np.random.default_rng(0).normal(size=(30, 40, 50)).astype(np.float32)
    scan = Volume(voxels, Grid.axis_aligned(voxels.shape, 1.0, (7, 8, 9)).affine_lps)
    (found,) = locate_ears(scan, MarkerOfAll(), load_card("locator"), torch.device("cpu"), Progress())
    assert found.volume_mm3 == pytest.approx(voxels.size, rel=0.01)
    np.testing.assert_allclose(found.centre_lps, scan.grid.centre_lps, atol=0.5)


def test_all_that_looks_like_an_ear_is_given_up_to_four(monkeypatch):
    voxels = np.random.default_rng(0).normal(60, 20, (60, 60, 60)).astype(np.float32)
    places = [(12, 12, 12), (12, 45, 45), (45, 12, 45), (45, 45, 12), (28, 28, 28)]
    for number, place in enumerate(places):
        edge = 9 - (number == 4)  # the last is the smallest
        voxels[tuple(slice(first, first + edge) for first in place)] = 2500
    scan = Volume(voxels, Grid.axis_aligned(voxels.shape, 1.0, (0, 0, 0)).affine_lps)
    monkeypatch.setattr(locator, "normalise", lambda values: np.nan_to_num(values) / 1000)
    found = locate_ears(scan, Marker(), load_card("locator"), torch.device("cpu"), Progress())
    centres_kji = {tuple(np.rint(candidate.centre_lps[::-1]).astype(int) - 4) for candidate in found}
    assert centres_kji == set(places[:4])


def test_air_is_not_searched_and_ears_at_the_edge_of_it_are_found(monkeypatch):
    rng = np.random.default_rng(0)
    card = load_card("locator")
    voxels = (-1000 + 20 * rng.normal(size=(70, 190, 190))).astype(np.float32)
    voxels[:, :70, :70] = 60 + 20 * rng.normal(size=(70, 70, 70))  # tissue, 70 mm of 190
    voxels[30:37, 50:57, 60:67] = 2500
    scan = Volume(voxels, Grid.axis_aligned(voxels.shape, 1.0, (0, 0, 0)).affine_lps)
    monkeypatch.setattr(Marker, "shown", 0)
    monkeypatch.setattr(locator, "normalise", lambda values: np.nan_to_num(values) / 1000)
    found = locate_ears(scan, Marker(), card, torch.device("cpu"), Progress())
    assert len(found) == 1
    np.testing.assert_allclose(found[0].centre_lps, [63, 53, 33], atol=0.5)
    assert 0 < Marker.shown < len(locator_blocks((70, 190, 190), 64, 1.0)) / 2
