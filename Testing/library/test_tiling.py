"""Tiles cover any volume; their weights are MONAI's."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map, dense_patch_slices

from InnerEarAILib.inference.tiling import tile_volume, tile_weight

SHAPES = st.tuples(*[st.integers(1, 60)] * 3)


@settings(deadline=None)
@given(shape=SHAPES, tile=st.integers(8, 24), data=st.data())
def test_tiles_cover_every_voxel_and_stay_inside(shape, tile, data):
    tiling = tile_volume(shape, tile, data.draw(st.integers(0, tile // 2)))
    seen = torch.zeros(tiling.padded_shape)
    for start in tiling.starts_kji:
        seen[tiling.window(start)] += 1
    assert seen.min() >= 1
    for start in tiling.starts_kji:
        assert all(0 <= first <= size - tile for first, size in zip(start, tiling.padded_shape, strict=True))
    assert len(set(tiling.starts_kji)) == len(tiling.starts_kji)


@settings(deadline=None)
@given(shape=SHAPES, tile=st.integers(4, 24), data=st.data())
def test_neighbours_share_at_least_the_overlap(shape, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    tiling = tile_volume(shape, tile, overlap)
    for axis in range(3):
        starts = sorted({start[axis] for start in tiling.starts_kji})
        assert all(first + tile - second >= overlap for first, second in itertools.pairwise(starts))


@settings(deadline=None)
@given(shape=SHAPES, tile=st.integers(4, 24), data=st.data())
def test_slabs_hold_every_tile_once_and_end_where_the_next_begins(shape, tile, data):
    tiling = tile_volume(shape, tile, data.draw(st.integers(0, tile - 1)))
    slabs = tiling.slabs
    assert [start for slab in slabs for start in slab.starts_kji] == list(tiling.starts_kji)
    assert [slab.final for slab in slabs] == [slab.first for slab in slabs[1:]] + [tiling.padded_shape[0]]
    for slab in slabs:
        assert slab.stop - slab.first <= 2 * tile
        assert all(slab.first <= start[0] and start[0] + tile <= slab.stop for start in slab.starts_kji)
        assert max(start[0] for start in slab.starts_kji) + tile == slab.stop


@settings(deadline=None)
@given(planes=st.integers(1, 200), tile=st.integers(4, 24), data=st.data())
def test_layers_are_one_slab_where_they_share_more_than_half_a_tile(planes, tile, data):
    slabs = tile_volume((planes, tile, tile), tile, data.draw(st.integers(0, tile - 1))).slabs
    layers = [[start[0] for start in slab.starts_kji] for slab in slabs]
    for own in layers:
        assert all(2 * (second - first) < tile for first, second in itertools.pairwise(own))
    for own, following in itertools.pairwise(layers):
        share_little = 2 * (following[0] - own[-1]) >= tile
        assert share_little or following[0] - own[0] > tile  # else they would be higher than two tiles


@settings(deadline=None)
@given(shape=SHAPES, tile=st.integers(8, 24))
def test_padding_and_its_removal_cancel(shape, tile):
    tiling = tile_volume(shape, tile, 0)
    voxels = torch.randn(shape)
    padded = tiling.pad(voxels)
    assert tuple(padded.shape) == tiling.padded_shape
    assert tiling.padded_shape == tuple(max(size, tile) for size in shape)
    assert all(0 <= after - before <= 1 for before, after in tiling.padding)
    assert torch.equal(tiling.unpad(padded), voxels)
    assert padded.abs().sum() == pytest.approx(voxels.abs().sum())


def test_a_volume_of_one_tile_is_one_tile():
    assert tile_volume((128, 128, 128), 128, 25).starts_kji == ((0, 0, 0),)


def test_paper_volume_is_cut_as_by_monai():
    shape = (405, 512, 512)
    expected = dense_patch_slices(shape, (128,) * 3, (103,) * 3, return_slice=False)
    starts = tile_volume(shape, 128, 25).starts_kji
    assert list(starts) == [tuple(int(first) for first, _ in block) for block in expected]


@pytest.mark.parametrize("tile", [1, 16, 31, 96])
def test_tile_weights_are_those_of_monai(tile):
    torch.testing.assert_close(tile_weight(tile), compute_importance_map((tile,) * 3, "gaussian", sigma_scale=0.125))


def test_tile_weights_do_not_depend_on_orientation():
    weight = tile_weight(9)
    for plane in ((0, 1), (0, 2), (1, 2)):
        torch.testing.assert_close(weight, torch.rot90(weight, 1, plane))


@pytest.mark.parametrize(
    ("shape", "tile", "overlap", "complaint"),
    [
        ((4, 4), 4, 0, "three sizes"),
        ((4, 0, 4), 4, 0, "at least 1"),
        ((4, 4, 4), 4, 4, "overlap"),
        ((4,) * 3, 4, -1, "overlap"),
    ],
)
def test_impossible_tilings_are_refused(shape, tile, overlap, complaint):
    with pytest.raises(ValueError, match=complaint):
        tile_volume(shape, tile, overlap)
